"""What each stage of a network sees in an image: its strongest maps, and how much of the image a cell sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.explanation.capture import capture
from foveal.explanation.stages import map_stages

STRONGEST = 8  # maps of a stage that are kept
LARGEST_SIDE = 28  # to which a map is averaged down


@dataclass(frozen=True, eq=False)
class StageView:
    """One stage's maps of one image."""

    name: str
    module: str
    shape: tuple[int, int, int]  # (K, h, w)
    field: tuple[int, int]  # pixels that a cell sees (rows, columns)
    stride: tuple[int, int]  # pixels between cells
    start: tuple[int, int]  # the first pixel that cell (0, 0) sees; below zero: in the padding
    mean: np.ndarray  # (h', w') float32: the mean of the maps' magnitudes
    units: tuple[int, ...]  # the maps with the largest means, largest first
    maps: np.ndarray  # (units, h', w') float32


def stage_views(network: nn.Module, x: Tensor) -> list[list[StageView]]:
    """Return, of each image of `x` (B, C, H, W), what the stages with a map see; nothing where there is no such stage.

    The network is left as it was found.
    """
    image = x.shape[1], x.shape[2], x.shape[3]
    places = map_stages(network, image)
    if not places:
        return [[] for _ in x]
    with capture(network, *(place.module for place in places)) as kept:
        network(x)
        outputs = {place.module: kept[place.module].float().cpu() for place in places}
    views: list[list[StageView]] = [[] for _ in x]
    for place in places:
        maps, sight = outputs[place.module], place.sight
        for own, view in zip(maps, views, strict=True):
            order = own.abs().mean(dim=(1, 2)).topk(min(STRONGEST, len(own))).indices
            mean = _small(own.abs().mean(dim=0)[None])[0]
            strongest = _small(own[order])
            units = tuple(order.tolist())
            seen = sight.field, sight.stride, sight.start
            view.append(StageView(place.name, place.module, place.shape, *seen, mean, units, strongest))
    return views


def _small(maps: Tensor) -> np.ndarray:
    """Return `maps` (n, h, w) averaged to at most LARGEST_SIDE a side."""
    size = min(LARGEST_SIDE, maps.shape[1]), min(LARGEST_SIDE, maps.shape[2])
    small: np.ndarray = F.adaptive_avg_pool2d(maps[:, None], size)[:, 0].numpy()
    return small


def views_of_batches(network: nn.Module, x: Tensor, at_once: int = 8) -> list[list[StageView]]:
    """Return `stage_views` of any number of images, `at_once` in memory."""
    return [view for part in torch.split(x, at_once) for view in stage_views(network, part)]
