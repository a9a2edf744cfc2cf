"""The peers: what they are, how they are installed, and in a file each how they do the work."""

from typing import NamedTuple


class Peer(NamedTuple):
    """Another way to do the work.

    Arguments:
        name: that goals use.
        label: what a reader sees.
        package: whose version counts.
        install: arguments of the pip command that installs it, one command each; none where the
            suite's own dependencies are enough.
        note: how its work is done here, where that is not plain.
    """

    name: str
    label: str
    package: str
    install: tuple[tuple[str, ...], ...] = ()
    note: str = ""

    @property
    def module(self) -> str:
        """Where its work is."""
        return f"peers.with_{self.name}"


PEERS = (
    Peer(
        "pyro",
        "Pyro",
        "pyro-ppl",
        note="PyroModule, AutoNormal, Trace_ELBO and Pyro's Adam, as in its tutorials; the KL is "
        "estimated at the draw.",
    ),
    Peer(
        "tyxe",
        "TyXe",
        "tyxe",
        (("--no-deps", "tyxe"),),
        note="Installed without its pins. It calls pyro.util.deep_getattr, a name that Pyro 1.9 no "
        "longer has; it is given the function of that meaning.",
    ),
    Peer(
        "bayesian_torch",
        "bayesian-torch",
        "bayesian-torch",
        (("--no-deps", "bayesian-torch"),),
        note="Its KL term is a mean over the weights of a layer; here it is summed over them, so "
        "that both sides minimise the same loss.",
    ),
    Peer(
        "blitz",
        "BLiTZ",
        "blitz-bayesian-pytorch",
        (("--no-deps", "blitz-bayesian-pytorch"),),
        note="The KL is estimated at the draw.",
    ),
    Peer(
        "torch_uncertainty",
        "torch-uncertainty",
        "torch-uncertainty",
        (("torch-uncertainty", "lightning", "torchvision", "timm"),),
        note="The KL is estimated at the draw; it is summed over the layers, and a constant is "
        "added, so that both sides minimise the same loss.",
    ),
    Peer(
        "numpyro",
        "NumPyro",
        "numpyro",
        (("numpyro", "jax"),),
        note="Compiled, with the steps in a scan and the replicas under vmap; compilation is not "
        "counted in what is per step.",
    ),
    Peer(
        "torch",
        "torch",
        "torch",
        note="One network after the other, Adam(fused=True). The peak is that of a product of two "
        "1024 × 1024 matrices. End to end, mean field is bayesian-torch's.",
    ),
    Peer("numpy", "NumPy", "numpy", note="The formulas as they are written."),
    Peer(
        "bnn",
        "the prediction itself",
        "bnn",
        note="The suite's own outputs, of which their scores are to be a small share.",
    ),
)
