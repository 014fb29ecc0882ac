"""The images of a dataset that excite a unit most, and the part of each that does."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.capture import capture
from foveal.explanation.receptive_field import Box, sight_of, window_on_image
from foveal.explanation.sheets import Tile, as_rgb, sheets

OUTLINE = (255, 140, 0)
TOP = 16
SIDE = 128  # of a picture on a sheet

Batch = tuple[np.ndarray, np.ndarray]  # rows (B,), uint8 pixels (B, H, W, C)


@dataclass(frozen=True, eq=False)
class Excited:
    """One image, and where it excites the unit most."""

    row: int  # in the dataset
    value: float  # the largest of the unit's map
    cell: tuple[int, int]  # row and column in the map
    box: Box  # what the cell sees of the image
    pixels: np.ndarray  # (H, W, C) uint8, as the network takes it


@dataclass(frozen=True, eq=False)
class Exciting:
    """The images that excite a unit most, strongest first."""

    stage: str
    unit: int
    seen: int  # images asked
    images: tuple[Excited, ...]

    def sheets(self, names: Callable[[int], str] = str) -> list[Image.Image]:
        """Return each image with the cell's field outlined, and the field alone; `names` says what a row is called."""
        tiles = []
        for one in self.images:
            top, left, bottom, right = one.box
            tiles.append(Tile(_outlined(one.pixels, one.box), f"{names(one.row)}\n{one.value:.3g}"))
            tiles.append(Tile(one.pixels[top:bottom, left:right], f"{bottom - top} by {right - left} pixels"))
        return sheets(
            tiles,
            heading=f"{self.stage} · channel {self.unit}: the images that excite it most, of {self.seen:,}",
            note="Each image with the field outlined that the strongest cell sees, and the field by itself.",
            columns=8,
            side=SIDE,
        )


def exciting(
    network: nn.Module,
    unit: int,
    stage: str | None,
    image: tuple[int, int, int],
    batches: Iterable[Batch],
    *,
    normalise: Callable[[Tensor], Tensor],
    top: int = TOP,
) -> Exciting:
    """Return the `top` images of `batches` whose map of channel `unit` has the largest values.

    One pass; no more than a batch and the images found are held. Of equal images the earlier ones are kept. What a cell
    sees is its theoretical receptive field, cut at the image's border. Zeiler, Fergus: "Visualizing and understanding
    convolutional networks", ECCV 2014, show units in this way, by a deconvolution of what the field holds instead of a
    crop alone.

    Args:
        network: any torch module; left as it was found.
        unit: a channel of the stage, from 0.
        stage: a stage's name of the paper, or a module's; it must have a map. None is the last map before pooling.
        image: the size (C, H, W) of the network's images.
        batches: rows and the pixels at them.
        normalise: makes of pixels (B, H, W, C) what the network takes (B, C, H, W).
        top: how many images are kept.

    Raises:
        UsageError: for a stage without a map, for a unit that there is not, or when there are no images.
    """
    place, sight = sight_of(network, stage, image)
    if not 0 <= unit < place.shape[0]:
        raise UsageError(f"There is no unit {unit} in {place.name}: it has {place.shape[0]:,}, from 0.")
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    best: list[tuple[float, int, Excited]] = []  # a heap, the weakest first; of equal ones the latest
    seen = 0
    for rows, pixels in batches:
        with capture(network, place.module) as captured:
            network(normalise(torch.from_numpy(np.ascontiguousarray(pixels)).to(device)))
            maps = captured[place.module][:, unit].float().cpu().numpy()  # (B, h, w)
        for row, values, picture in zip(rows.tolist(), maps, pixels, strict=True):
            strongest = float(values.max())
            if len(best) < top or (strongest, -seen) > best[0][:2]:
                cell = tuple(map(int, np.unravel_index(int(values.argmax()), values.shape)))
                at = cell[0], cell[1]
                box = window_on_image(sight, at, (image[1], image[2]))
                found = Excited(row, strongest, at, box, picture.copy())
                (heapq.heappush if len(best) < top else heapq.heapreplace)(best, (strongest, -seen, found))
            seen += 1
    if not seen:
        raise UsageError("There are no images to look for.")
    return Exciting(
        place.name, unit, seen, tuple(one[2] for one in sorted(best, key=lambda one: one[:2], reverse=True))
    )


def _outlined(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return `pixels` (H, W, C) in colour with `box` drawn."""
    drawn = as_rgb(pixels).copy()
    top, left, bottom, right = box
    inside = drawn[top:bottom, left:right]
    thick = max(1, round(min(pixels.shape[:2]) / SIDE))  # so that it is seen where the sheet reduces the image
    for edge in (np.s_[:thick], np.s_[-thick:], np.s_[:, :thick], np.s_[:, -thick:]):
        inside[edge] = OUTLINE
    return drawn
