"""The filters of a convolution: its weights, as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from foveal.errors import UsageError, nearest
from foveal.explanation.capture import MOST_NAMED
from foveal.explanation.colours import scaled, signed
from foveal.explanation.sheets import Tile, sheets
from foveal.models.lenet_1998 import PartialConv

IN_COLOUR = 3  # channels of a filter that can be drawn as red, green and blue
MOST_TILES = 2048  # on all pages; a deep layer has a million kernels
SIDE = 128
FAINT = 1e-3  # of the layer's largest weight, below which a filter that is drawn in full colour says so


@dataclass(frozen=True, eq=False)
class Filters:
    """The weights of one convolution."""

    layer: str  # the module
    weights: np.ndarray  # (K, C, h, w) float32; C is 1 where each filter sees one map only

    @property
    def in_colour(self) -> bool:
        """Whether a filter is one picture in colour: it sees three channels, as a first layer sees an image."""
        return bool(self.weights.shape[1] == IN_COLOUR)

    def tiles(self) -> Iterator[Tile]:
        """Yield a picture of each filter in colour, or of each filter's weights for each of its input channels.

        A picture in colour runs from the filter's smallest weight to its largest in all three channels, so that grey
        is no particular weight. The others are blue below zero, white at zero and orange above, over the largest
        magnitude in the filter, so that its channels can be compared.
        """
        channels, largest = self.weights.shape[1], np.abs(self.weights).max()
        for at, weights in enumerate(self.weights):  # (C, h, w)
            name = f"{self.layer} · filter {at}"
            alarm = "almost zero" if np.abs(weights).max() <= FAINT * largest else ""
            if self.in_colour:
                yield Tile(_between_extremes(weights.transpose(1, 2, 0)), f"{name}\n{span(weights)}", alarm)
                continue
            for channel, picture in enumerate(signed(scaled(weights))):  # (h, w, 3)
                seen = f" · channel {channel}" if channels > 1 else ""
                yield Tile(picture, f"{name}{seen}\n{span(weights[channel])}", alarm)

    def sheets(self) -> list[Image.Image]:
        """Return the filters on pages of 4 rows of 8, or of 8 rows of 8 where there is one for each channel."""
        count, channels, height, width = self.weights.shape
        total = count if self.in_colour else count * channels
        note = (
            "Each filter in colour, from its smallest weight (0) to its largest (full red, green or blue)."
            if self.in_colour
            else "Blue: negative weights; white: 0; orange: positive; over the largest magnitude in the filter."
        )
        if total > MOST_TILES:
            note += f" The first {MOST_TILES:,} of {total:,} are shown."
        size = f"{height} by {width}" + (f", {channels} input channels each" if channels > 1 else "")
        return sheets(
            list(islice(self.tiles(), MOST_TILES)),
            heading=f"{self.layer}: the weights of its {count} filters of {size}",
            note=note,
            side=SIDE,
            most=32 if self.in_colour else 64,
        )


def filters(network: nn.Module, layer: str | None = None) -> Filters:
    """Return the weights of the convolution `layer` (a module's name) of `network`; None is its first convolution.

    UsageError for a module that is no convolution over two dimensions, with those that there are.
    """
    found = convolutions(network)
    if not found:
        raise UsageError(f"This network ({type(network).__name__}) has no convolution, so it has no filters to show.")
    name = next(iter(found)) if layer is None else layer
    if name not in found:
        raise UsageError(f'"{name}" is no convolution; choose {listed_briefly(found)}.{nearest(name, found)}')
    return Filters(name, weights_of(found[name]))


def convolutions(network: nn.Module) -> dict[str, nn.Module]:
    """Return the convolutions over two dimensions of `network`, by name, in its own order."""
    return {name: one for name, one in network.named_modules() if isinstance(one, nn.Conv2d | PartialConv)}


def weights_of(convolution: nn.Module) -> np.ndarray:
    """Return the weights (K, C, h, w) float32 of one of `convolutions`, copied."""
    with torch.no_grad():
        weight = convolution.weight() if isinstance(convolution, PartialConv) else convolution.weight
    assert isinstance(weight, Tensor)
    copied: np.ndarray = weight.detach().float().cpu().numpy().copy()
    return copied


def listed_briefly(names: Iterable[str]) -> str:
    """Return `names`, each once, for a sentence; cut after `MOST_NAMED` with the number left out."""
    once = [*dict.fromkeys(names)]
    rest = len(once) - MOST_NAMED
    return ", ".join(once[:MOST_NAMED]) + (f", and {rest:,} more" if rest > 0 else "")


def span(values: np.ndarray) -> str:
    """Return the range of `values` in words: ``-0.21 to 0.34``, or ``0.34 everywhere``."""
    low, high = f"{values.min():.2g}", f"{values.max():.2g}"
    return f"{low} everywhere" if low == high else f"{low} to {high}"


def _between_extremes(values: np.ndarray) -> np.ndarray:
    """Return `values` as uint8: the smallest is 0, the largest 255; all 128 where they are one number."""
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.full(values.shape, 128, np.uint8)
    result: np.ndarray = np.rint((values - low) / (high - low) * 255).astype(np.uint8)
    return result
