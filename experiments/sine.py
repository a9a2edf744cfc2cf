"""Does a Bayesian network know where it has no data? A sine with a gap and uneven noise.

The network has two outputs: the mean, and the logarithm of a noise scale that depends on the input.
"""

from bnn import MLP, Study
from bnn.data import Dataset, sine


def network(data: Dataset) -> MLP:
    """One hidden layer of 50 units, smooth, with a mean and a noise scale."""
    return MLP(1, [50], 2, activation="tanh")


study = Study(
    name="sine",
    question="Does a Bayesian network know where it has no data?",
    datasets={"sine": sine},
    network=network,
)

if __name__ == "__main__":
    study.main()
