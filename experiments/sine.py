"""Does a Bayesian network know where it has no data? A sine with a gap and uneven noise.

The network has two outputs: the mean, and the logarithm of a noise scale that depends on the input.
"""

from functools import partial

from bnn import MAP, MLE, MLP, DeepEnsemble, MCDropout, MeanField, Study, Training, priors
from bnn.data import Dataset, sine

early = Training(epochs=500, patience=50)
fixed = Training(epochs=500, decay=True)


def network(data: Dataset) -> MLP:
    """Two hidden layers of 20 units, with a mean and a noise scale."""
    return MLP(1, [20, 20], 2)


study = Study(
    name="sine",
    question="Does a Bayesian network know where it has no data?",
    datasets={"sine": partial(sine, points=1000)},
    network=network,
    methods=(
        MLE(early),
        MAP(fixed),
        MCDropout(rate=0.05, training=fixed),
        DeepEnsemble(members=5, member=MLE(early)),
        MeanField(training=Training(epochs=1000, decay=True)),
    ),
    prior=priors.Normal(1.0),
)

if __name__ == "__main__":
    study.main()
