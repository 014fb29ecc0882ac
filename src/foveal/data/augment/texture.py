"""Blur, noise and cutout: what is done to a picture after it has been moved."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foveal.data.augment.colour import mean_colours
from foveal.data.augment.draws import Draws, Lot, hashes, normal
from foveal.data.augment.geometry import mirrored


class Blur:
    """A Gaussian blur whose sigma is drawn from 0 to `largest` pixels, cut off at three times the largest.

    The picture is mirrored at its edges.
    """

    def __init__(self, draws: Draws, largest: float, device: torch.device) -> None:
        weights = blur_weights(draws.between(Lot.BLUR, 0, largest), math.ceil(3 * largest))
        self.weights = weights.to(device, torch.float32)  # (B, radius + 1)

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return float32 `x` (b, C, H, W) blurred as the images of `part` of the batch are."""
        for axis in (2, 3):
            x = weighted(x, axis, self.weights[part])
        return x


def blur_weights(sigma: Tensor, radius: int) -> Tensor:
    """Return the Gaussian's weights from the middle outwards, float64 (B, radius + 1); both sides sum to 1."""
    distance = torch.arange(radius + 1, dtype=torch.float64, device=sigma.device)
    weights = (-0.5 * (distance / sigma[:, None].clamp_min(0.01)) ** 2).exp()  # 0.01 pixels is no blur
    return weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1])


def weighted(x: Tensor, axis: int, weights: Tensor) -> Tensor:
    """Return `x` (b, C, H, W) smoothed along `axis` by symmetric `weights` (b, radius + 1)."""
    radius, count = weights.shape[1] - 1, x.shape[axis]
    lines = mirrored(torch.arange(-radius, count + radius, device=x.device), count)
    wide = x.index_select(axis, lines)
    weights = weights[:, :, None, None, None]
    total = wide.narrow(axis, radius, count) * weights[:, 0]
    for away in range(1, radius + 1):
        both = wide.narrow(axis, radius - away, count) + wide.narrow(axis, radius + away, count)
        total += both.mul_(weights[:, away])
    return total


class Noise:
    """Normally distributed noise on each pixel and channel, its standard deviation on the scale 0 to 1."""

    def __init__(self, draws: Draws, deviation: float, device: torch.device) -> None:
        self.keys = draws.keys(Lot.NOISE).to(device)  # (B, 2)
        self.deviation = 255 * deviation

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return float32 `x` (b, C, H, W), 0 to 255, with the noise of the images of `part` of the batch."""
        noise = normal(hashes(self.keys[part], x[0].numel()))
        noise *= self.deviation
        return noise.view(x.shape).add_(x)


class Cutout:
    """A square of the picture's mean colour laid over it: T. DeVries, G. Taylor, "Cutout", 2017.

    Its side is a share of the shorter side; its middle is any pixel, so that part of it may lie outside (sec. 3.2).
    The paper covers with 0 after the data set's mean is subtracted; the mean here is the picture's own.
    """

    def __init__(self, draws: Draws, share: float, height: int, width: int, device: torch.device) -> None:
        side = round(share * min(height, width))
        rows = _covered(draws.share(Lot.CUTOUT_Y), height, side)
        columns = _covered(draws.share(Lot.CUTOUT_X), width, side)
        self.covered = (rows[:, :, None] & columns[:, None]).to(device)  # (B, H, W)

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return uint8 `x` (b, C, H, W) with the squares of the images of `part` of the batch."""
        colours = mean_colours(x).round().to(x.device, torch.uint8)  # (b, C)
        return torch.where(self.covered[part, None], colours[:, :, None, None], x)


def _covered(share: Tensor, count: int, side: int) -> Tensor:
    """Return which of `count` lines a square of `side` covers whose middle lies at `share` of them, bool (B, count)."""
    first = (share * count).floor() - side // 2
    line = torch.arange(count, device=share.device)
    return (line >= first[:, None]) & (line < first[:, None] + side)
