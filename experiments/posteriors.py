"""What does every way to a posterior look like? Two moons, and a sine with a gap, side by side.

Hamiltonian Monte Carlo is the reference: what the others would show if they were exact. One replica
each, for these are pictures; the numbers beside them are of one split.
"""

from bnn import METHODS, MLP, Study, priors
from bnn.data import Dataset, sine, two_moons


def network(data: Dataset) -> MLP:
    """Two hidden layers of 20 units; for the sine, with a mean and a noise scale."""
    return MLP(data.x.shape[1], [20, 20], 2, "tanh")


study = Study(
    name="posteriors",
    question="What does every way to a posterior look like, beside Hamiltonian Monte Carlo?",
    datasets={"two_moons": two_moons, "sine": sine},
    network=network,
    methods=METHODS,
    prior=priors.Normal(1.0),
    seeds=1,
)

if __name__ == "__main__":
    study.main()
