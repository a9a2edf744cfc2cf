"""Networks that a user might bring."""

from __future__ import annotations

from torch import Tensor, nn


class Convolutions(nn.Module):
    """Images of one channel, 6 x 6, given as `[points, 1, 6, 6]`; channels and units dropped."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(1, 4, 3)
        self.channels = nn.Dropout2d(0.3)
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.GroupNorm(2, 4)
        self.units = nn.Dropout(0.2)
        self.head = nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.pool(self.channels(self.kernel(x).relu()))
        return self.head(self.units(self.norm(h).flatten(1)))


class Attention(nn.Module):
    """Six tokens of six features, given as `[points, 1, 6, 6]`."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, 0]
        h, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return self.head(self.drop(h + tokens).mean(1))


class Normalised(nn.Module):
    """A residual block with LayerNorm, an embedded buffer and a parameter of its own."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(36, 8)
        self.norm = nn.LayerNorm(8)
        self.drop = nn.Dropout(0.2)
        self.second = nn.Linear(8, 8)
        self.head = nn.Linear(8, outputs)
        self.gain = nn.Parameter(self.head.weight.new_zeros(8))
        self.register_buffer("portion", self.gain.detach().clone() + 0.5)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as a residual network is wont to: with the identity."""
        nn.init.zeros_(self.second.weight)
        nn.init.ones_(self.gain)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1)).relu()
        return self.head(h + self.gain * self.portion * self.second(self.drop(self.norm(h))))


USERS = (Convolutions, Attention, Normalised)
