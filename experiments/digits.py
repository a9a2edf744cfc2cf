"""Does going Bayesian help on handwritten digits, by how much, how surely, at what cost?

Eight digits are learnt; two are held out, to see who notices that it has never seen them.
Twenty re-drawn splits, a network with one hidden layer of 50 units, prior Normal(0, 1).
"""

from bnn import CORE, MLP, MeanField, Study, Under, priors
from bnn.data import Dataset, digits


def network(data: Dataset) -> MLP:
    """One hidden layer of 50 units."""
    return MLP(data.x.shape[1], [50], len(data.classes))


study = Study(
    name="digits",
    question="Does going Bayesian help on handwritten digits, how surely, and at what cost?",
    datasets={"digits": digits},
    network=network,
    methods=(
        *CORE,
        Under(MeanField(), priors.Normal(1.0, fan_in=True), "fan_in", "prior 1/√fan-in"),
    ),
    prior=priors.Normal(1.0),
)

if __name__ == "__main__":
    study.main()
