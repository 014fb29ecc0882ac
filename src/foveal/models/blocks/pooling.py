"""Ways to make a map smaller other than torch's maximum and average: (B, C, H, W) → (B, C, H', W').

============================  ==========================================================================
`MinPool2d`                   the smallest of each window, -max(-x)
`StochasticPool2d`            one of each window, drawn in proportion to its size (Zeiler, Fergus 2013)
`FractionalMaxPool2d`         maxima over windows that shrink the side by 1.5 or so (Graham 2014)
`GlobalAvgPool`               the mean over the whole map, (B, C)
`GlobalMaxPool`               the maximum over the whole map, (B, C)
============================  ==========================================================================
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.errors import UsageError


class GlobalAvgPool(nn.AdaptiveAvgPool2d):
    """The mean of each map: (B, C, H, W) → (B, C). M. Lin, Q. Chen, S. Yan: "Network in network", 2013."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        mean: Tensor = super().forward(input)  # (B, C, 1, 1)
        return mean.flatten(1)


class GlobalMaxPool(nn.Module):
    """The maximum of each map: (B, C, H, W) → (B, C). Pixels that tie share the gradient evenly."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.amax((2, 3))


class MinPool2d(nn.MaxPool2d):
    """The minimum of each window, min x = -max(-x); padding, where asked for, never wins."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        highest: Tensor = super().forward(-input)
        return -highest


class StochasticPool2d(nn.Module):
    """Pooling by lot: M. Zeiler, R. Fergus, "Stochastic pooling for regularization", ICLR 2013.

    With activations a ≥ 0 in a window, pixel i has the probability p = a_i / Σ a (eq. 4). Training draws one pixel
    by it and passes its value and its gradient (eq. 5); evaluation gives the mean weighted by it, Σ p_i a_i (eq. 6).
    A window without activation gives 0. The paper pools after a ReLU; here negative values count as 0.

    Windows are `kernel` × `kernel`, `stride` apart (the kernel where nothing is said), without padding.
    """

    def __init__(self, kernel: int, stride: int | None = None) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = kernel if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.drawn(x) if self.training else self.expected(x)

    def drawn(self, x: Tensor) -> Tensor:
        """Return one value of each window. The race of a_i / e_i with e_i exponential is won with p_i."""
        windows = x.relu().unfold(2, self.kernel, self.stride).unfold(3, self.kernel, self.stride).flatten(-2)
        with torch.no_grad():
            winner = (windows / torch.empty_like(windows).exponential_()).argmax(-1, keepdim=True)
        return windows.gather(-1, winner).squeeze(-1)  # (B, C, H', W')

    def expected(self, x: Tensor) -> Tensor:
        """Return Σ p_i a_i = Σ a_i² / Σ a_i of each window."""
        a = x.relu().float()  # squares of half floats overflow
        mean = nn.functional.avg_pool2d(a, self.kernel, self.stride)
        of_squares = nn.functional.avg_pool2d(a * a, self.kernel, self.stride)
        return (of_squares / mean.clamp_min(torch.finfo(mean.dtype).tiny)).to(x.dtype)

    def extra_repr(self) -> str:  # noqa: D102
        return f"kernel={self.kernel}, stride={self.stride}"


class FractionalMaxPool2d(nn.Module):
    """Max pooling that shrinks by a fraction: B. Graham, "Fractional max-pooling", 2014. H' = ⌊H / ratio⌋.

    Overlapping 2×2 windows whose first pixels are 1 or 2 apart, in the paper's pseudorandom sequence
    ⌊α (i + u)⌋ - ⌊α u⌋. Training draws u anew for each image and channel; it is torch's own layer. With a ratio near
    2, α is above 2 on small sides, and a pixel may be left between two windows.

    Deviation: in evaluation u = ½ for all, so that an image always gets the same answer, alone or in a batch. The
    paper averages the answers to several draws.
    """

    def __init__(self, ratio: float = 1.5) -> None:
        super().__init__()
        if not 1 < ratio <= 2:
            raise UsageError(f"Fractional max pooling shrinks by more than 1 and at most 2, not by {ratio:g}.")
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        height, width = (self.output_size(size) for size in x.shape[2:])
        if self.training:
            pooled: Tensor = nn.functional.fractional_max_pool2d(x, 2, (height, width))
            return pooled
        for axis, outputs in ((2, height), (3, width)):
            first = torch.tensor(first_pixels(x.shape[axis], outputs), device=x.device)
            x = torch.maximum(x.index_select(axis, first), x.index_select(axis, first + 1))
        return x

    def output_size(self, size: int) -> int:
        """Return the side that is left of a side of `size` pixels; 0 where there are too few."""
        return int(size / self.ratio)

    def extra_repr(self) -> str:  # noqa: D102
        return f"ratio={self.ratio:g}"


def first_pixels(size: int, outputs: int) -> list[int]:
    """Return where the windows of 2 begin on a side of `size` pixels, for u = ½. The last one ends with the side."""
    last, gaps = size - 2, max(1, outputs - 1)  # α = last / gaps, in whole numbers: no rounding decides
    return [(2 * index + 1) * last // (2 * gaps) - last // (2 * gaps) for index in range(outputs - 1)] + [last]
