"""What does going Bayesian change where there are no data? Two classes in the plane."""

from bnn import MAP, MLE, MLP, DeepEnsemble, MCDropout, MeanField, Study, Training
from bnn.data import Dataset, two_moons


def network(data: Dataset) -> MLP:
    """Two hidden layers of 50 units."""
    return MLP(2, [50, 50], len(data.classes))


study = Study(
    name="two_moons",
    question="What does going Bayesian change where there are no data?",
    datasets={"two_moons": two_moons},
    network=network,
    methods=(
        MLE(),
        MAP(),
        MCDropout(rate=0.1),
        DeepEnsemble(members=5),
        MeanField(training=Training(epochs=2000, decay=True)),
    ),
)

if __name__ == "__main__":
    study.main()
