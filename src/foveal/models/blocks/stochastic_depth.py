"""Stochastic depth: residual branches left out at random while training.

G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger: "Deep networks with stochastic depth", ECCV 2016.

Deviations, both those of EfficientNet, ConvNeXt and torchvision: each image of a batch draws for itself, where
the paper draws once a batch; and a branch that is kept is divided by its survival probability in training, where
the paper multiplies by it in testing. The expectation is the same.
"""

from __future__ import annotations

from torch import Tensor, nn

from foveal.errors import UsageError


class StochasticDepth(nn.Module):
    """Puts the branch of an image at zero with `probability`: (B, …) → (B, …). In evaluation it is the identity."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise UsageError(f"A stochastic depth of {probability:g} is no probability from 0 to below 1.")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.probability == 0:
            return x
        survival = 1 - self.probability
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(survival)  # (B, 1, …)
        return x * kept.div_(survival)

    def extra_repr(self) -> str:  # noqa: D102
        return f"probability={self.probability:g}"
