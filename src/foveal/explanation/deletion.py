"""Deletion and insertion: what becomes of the probability when places go, or come, in the order of a map.

Petsiuk, Das, Saenko: "RISE: Randomized input sampling for explanation of black-box models", BMVC 2018, section 4.2.
Deletion takes the places that the map says count most away first (the image's mean colour comes in their stead): the
area under the falling probability should be small. Insertion puts them first into a blurred image: the area should be
large. Deviations: places are blocks of pixels, 14 a side, since class activation maps are coarse; the blur grows with
the image, since the paper's 5 pixels leave a small digit legible. And beside each area stands that of the same map
moved elsewhere eight times, without which the number says little: a map that does no better than the second best of
these does not tell where the class is seen. A map by chance does better twice in nine times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from foveal.explanation.ask import Ask
from foveal.explanation.target import Target

BLOCKS = 14  # a side, at most
STEPS = 10  # of equal shares of the image
MOVES = 8  # of the map, beside which its areas stand
BLUR = 0.1  # standard deviation, of the shorter side


@dataclass(frozen=True, eq=False)
class Curves:
    """The probability of an image's class as more of the image goes or comes: (STEPS + 1,) each, and of moved maps."""

    deletion: np.ndarray
    insertion: np.ndarray
    moved_deletion: np.ndarray  # (MOVES, STEPS + 1)
    moved_insertion: np.ndarray


def areas(curves: np.ndarray) -> np.ndarray:
    """Return the area under each of curves (…, n) over 0 … 1, by the trapezoid rule."""
    found: np.ndarray = np.asarray(np.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1))
    return found


def second_smallest(values: np.ndarray) -> float:
    """Return the second smallest of `values` (n,): one of many moves may hit on a place that counts as much."""
    return float(np.sort(values)[1])


def curves(ask: Ask, x: Tensor, target: Target, maps: np.ndarray, *, seed: int = 0) -> list[Curves]:
    """Return the curves of each image of `x` (B, C, H, W), normalised, under its map in `maps` (B, H, W).

    `target` names the class of each image. The network is asked 2 · (1 + MOVES) · (STEPS + 1) times an image.
    """
    found = []
    for at, (image, map_) in enumerate(zip(x, maps, strict=True)):
        chance = np.random.default_rng([seed, at])
        blocks = _in_blocks(map_)  # (h, w)
        orders = [_order(one, chance) for one in (blocks, *_moved(blocks, chance))]
        blurred = _blurred(image)
        rows = []
        for order in orders:
            seen = _shares(order, blocks.shape, image.shape[1:]).to(image)[:, None]  # (STEPS + 1, 1, H, W): 1 came
            for come, other in ((1 - seen, torch.zeros_like(image)), (seen, blurred)):
                variants = image * come + other * (1 - come)
                rows.append(target.of(at, len(variants)).probability(ask(variants)).cpu().numpy())
        table = np.stack(rows).reshape(len(orders), 2, -1)  # deletion, insertion
        found.append(Curves(table[0, 0], table[0, 1], table[1:, 0], table[1:, 1]))
    return found


def _in_blocks(map_: np.ndarray) -> np.ndarray:
    """Return the map's mean (h, w) in blocks, at most BLOCKS a side."""
    size = min(BLOCKS, map_.shape[0]), min(BLOCKS, map_.shape[1])
    blocks: np.ndarray = F.adaptive_avg_pool2d(torch.as_tensor(map_, dtype=torch.float64)[None], size)[0].numpy()
    return blocks


def _moved(blocks: np.ndarray, chance: np.random.Generator) -> list[np.ndarray]:
    """Return `blocks` rolled around its edges MOVES times, each time by a quarter of a side or more."""
    moved = []
    for _ in range(MOVES):
        down, right = (int(chance.integers(side // 4, side - side // 4 + 1)) for side in blocks.shape)
        moved.append(np.roll(blocks, (down, right), axis=(0, 1)))
    return moved


def _order(blocks: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Return the blocks' numbers, the largest value first; equal ones in an order by chance."""
    order: np.ndarray = np.lexsort((chance.random(blocks.size), -blocks.ravel()))
    return order


def _shares(order: np.ndarray, blocks: tuple[int, ...], size: tuple[int, ...] | torch.Size) -> Tensor:
    """Return (STEPS + 1, H, W): 1 where a pixel's block is among the first so many of `order`, else 0."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    counts = np.rint(np.linspace(0, len(order), STEPS + 1)).astype(np.int64)
    rows, columns = (np.arange(side) * number // side for side, number in zip(size, blocks, strict=True))
    ranks = rank.reshape(blocks)[rows[:, None], columns]  # (H, W)
    return torch.from_numpy((ranks < counts[:, None, None]).astype(np.float32))


def _blurred(image: Tensor) -> Tensor:
    """Return a normalised image (C, H, W) without its detail."""
    deviation = BLUR * min(image.shape[1:])
    return torch.from_numpy(gaussian_filter(image.cpu().numpy(), (0, deviation, deviation))).to(image)
