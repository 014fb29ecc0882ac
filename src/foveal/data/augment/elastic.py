"""Elastic distortion: a smooth random displacement of every pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foveal.data.augment.draws import hashes

SPREAD = 151 / 315  # mean of the sum of the four squared weights of a cubic B-spline, over its phase


class Elastic:
    """P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks", ICDAR 2003, sec. 2.

    The paper draws a uniform number for each pixel and axis, smooths them by a Gaussian of σ and scales by α. Here the
    numbers are drawn for a lattice √3 σ wide and smoothed by the cubic B-spline over it, whose standard deviation is
    σ: four products a pixel and axis, whatever σ is. And they are scaled to the displacement's standard deviation
    in pixels, since α means another for each σ (α 34 and σ 4, the paper's best for digits, are 1.4 pixels).

    `keys` (B, 2) give each image its numbers.
    """

    def __init__(self, keys: Tensor, deviation: float, sigma: float, height: int, width: int) -> None:
        spacing = math.sqrt(3) * sigma
        self.rows, self.columns = (_spline(count, spacing, keys.device) for count in (height, width))
        down, across = (math.floor((count - 1) / spacing) + 4 for count in (height, width))
        words = hashes(keys, 2 * down * across)
        uniform = ((words >> 8) & 0xFFFFFF).float() * 2.0**-23 - 1  # -1 … 1, standard deviation 1 / √3
        self.lattice = (uniform * (deviation * math.sqrt(3) / SPREAD)).view(-1, 2, down, across)

    def __call__(self, part: slice) -> Tensor:
        """Return by how many pixels each is displaced across and down, float32 (b, 2, H, W), in `part` of the batch."""
        (row, row_weight), (column, column_weight) = self.rows, self.columns  # (4, H) and (4, W)
        lines = sum_of_four(self.lattice[part], 2, row, row_weight[:, :, None])  # (b, 2, H, lattice)
        return sum_of_four(lines, 3, column, column_weight)


def _spline(count: int, spacing: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return which four nodes of a lattice `spacing` pixels wide bear on each of `count` pixels, and by which weight.

    int64 and float32, (4, count) each.
    """
    place = torch.arange(count, dtype=torch.float64) / spacing
    first = place.floor()
    t = place - first
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    nodes = first.long() + torch.arange(4)[:, None]
    return nodes.to(device), (torch.stack(weights) / 6).float().to(device)


def sum_of_four(x: Tensor, axis: int, nodes: Tensor, weights: Tensor) -> Tensor:
    """Return Σ weights[k] · x[nodes[k]] along `axis`; a product and a sum at a time, which rounds alike everywhere."""
    total = x.index_select(axis, nodes[0]) * weights[0]
    for k in range(1, 4):
        total += x.index_select(axis, nodes[k]) * weights[k]
    return total
