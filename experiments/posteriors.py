"""What does every way to a posterior look like? Two moons, and a sine with a gap, side by side.

Hamiltonian Monte Carlo is the reference: what the others would show if they were exact. One replica
each, for these are pictures; the numbers beside them are of one split.
"""

from bnn import METHODS, MLP, Study, Training, priors
from bnn.data import Dataset, sine, two_moons
from bnn.methods import (
    HMC,
    MLE,
    NUTS,
    SGHMC,
    CyclicalSGMCMC,
    DeepEnsemble,
    Flow,
    FullRank,
    Laplace,
    LowRank,
    MCDropout,
    MeanField,
)

# A sine takes thousands of steps to find, so nothing stops early but by a validation loss that has
# not fallen for a thousand of them.
long = Training(epochs=0, steps=10_000, decay=True)
stopped = Training(epochs=0, steps=10_000, learning_rate=3e-3, patience=500)
patient = (
    MLE(stopped),
    MCDropout(rate=0.01, training=long),
    DeepEnsemble(5, MLE(stopped)),
    MeanField(training=long),
    LowRank(training=long),
    FullRank(training=long),
    Flow(training=long),
    Laplace("full"),
    SGHMC(learning_rate=0.002),
    CyclicalSGMCMC(learning_rate=0.005),
    HMC(chains=4, warmup=300, samples=500, thin=2, max_steps=64),
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
    # Inputs are standardised: their weights' scale says how fast a function may turn.
    prior=priors.Normal({"layers.0.*": 5.0, "*": 1.0}),
    seeds=1,
)

if __name__ == "__main__":
    study.main()
