"""What does every way to a posterior look like? Two moons, and a sine with a gap, side by side.

Hamiltonian Monte Carlo is the reference: what the others would show if they were exact. One replica
each, for these are pictures; the numbers beside them are of one split.
"""

from bnn import METHODS, MLP, Study, Training
from bnn.data import Dataset, sine, two_moons
from bnn.methods import HMC, NUTS, Flow, FullRank, Laplace, LowRank, MeanField

long = Training(epochs=0, steps=20_000, decay=True)
patient = (
    MeanField(training=long),
    LowRank(training=long),
    FullRank(training=long),
    Flow(training=long),
    Laplace("full"),
    HMC(chains=4, warmup=300, samples=250, thin=2, max_steps=64),
    NUTS(chains=2, warmup=150, samples=150, max_depth=7),
)


def network(data: Dataset) -> MLP:
    """One hidden layer of 20 units; for the sine, with a mean and a noise scale."""
    return MLP(data.x.shape[1], [20], 2, "tanh")


study = Study(
    name="posteriors",
    question="What does every way to a posterior look like, beside Hamiltonian Monte Carlo?",
    datasets={"two_moons": two_moons, "sine": sine},
    network=network,
    methods=[{m.name: m for m in (*METHODS, *patient)}[method.name] for method in METHODS],
    seeds=1,
)

if __name__ == "__main__":
    study.main()
