"""The maps of a convolution for one image, before and after the non-linearity, as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.capture import capture
from foveal.explanation.colours import heat, scaled, signed
from foveal.explanation.filters import SIDE, span
from foveal.explanation.nonlinearity import Rectified, find_rectified
from foveal.explanation.sheets import Tile, sheets
from foveal.models.anatomy.trace import values

COLUMNS = 8  # four pairs
BESIDE_ONE_ANOTHER = 32  # filters on a page, a pair of pictures each


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What a convolution sees in one image."""

    layer: str  # the convolution
    before: np.ndarray  # (K, h, w) float32: what enters the non-linearity
    after: np.ndarray | None  # (K, h, w) float32: what leaves it; None where none follows the convolution
    activation: str  # ``relu``; empty where there is none
    path: str  # ``conv1, then bn1, then relu``; where no non-linearity follows, what does

    def tiles(self) -> Iterator[Tile]:
        """Yield the maps, filter by filter: before the non-linearity, then after it.

        Maps that have negative values are blue below zero, white at zero and orange above, over their largest
        magnitude; all others run from their smallest value, black, to their largest, pale yellow.
        """
        for at, before in enumerate(self.before):
            name = f"{self.layer} · filter {at}"
            if self.after is None:
                yield _tile(name, before)
            else:
                yield _tile(f"{name} · before {self.activation}", before)
                yield _tile(f"{name} · after {self.activation}", self.after[at])

    def sheets(self, picture: np.ndarray | None = None) -> list[Image.Image]:
        """Return the maps on pages; `picture` uint8 (H, W, 1 or 3), the image as the network takes it, is the first."""
        shape = " by ".join(map(str, self.before.shape[1:]))
        first = [] if picture is None else [Tile(picture, "the image, as the network takes it"), _legend()]
        pair = 1 if self.after is None else 2
        return sheets(
            [*first, *self.tiles()],
            heading=f"{self.layer}: its {len(self.before)} maps of {shape}"
            + ("" if self.after is None else f", before and after {self.activation}"),
            note=f"{self.path}. Each map is scaled by itself; its numbers say from where to where it goes.",
            columns=COLUMNS,
            side=SIDE,
            most=BESIDE_ONE_ANOTHER * pair + COLUMNS,  # a row more, that begins with the image
        )


def feature_maps(network: nn.Module, x: Tensor, stage: str | None = None) -> FeatureMaps:
    """Return the maps that the convolution of `stage` makes of `x` (1, C, H, W), before and after the non-linearity.

    Before is what enters the non-linearity: the output of the convolution, or of what lies between the two, as a norm,
    the sum with a shortcut, or a pool; after is its output. Modules and functions serve alike, in-place or shared.
    The network answers in eval mode, on its own device, and is left as it was found.

    Args:
        network: any torch module.
        x: one normalised image.
        stage: see `nonlinearity.find_rectified`; the first convolution by default.

    Raises:
        UsageError: for several images, for a stage that there is not, or that has no convolution.
    """
    if x.ndim != 4 or len(x) != 1:
        raise UsageError(f"Give one image (1, channels, height, width) to show its maps, not {tuple(x.shape)}.")
    found = find_rectified(network, stage, (x.shape[1], x.shape[2], x.shape[3]))
    device = next((one.device for one in network.parameters()), x.device)
    wanted = [found.before] if found.after is None else [found.before, found.after]
    with capture(network):  # eval mode, and buffers written back
        try:
            maps = values(network, x.to(device), wanted)
        except ValueError as error:
            raise UsageError(f"The maps of {found.convolution.name} cannot be shown: {error}.") from error
    before, *after = (maps[node.index][0].float().cpu().numpy().copy() for node in wanted)
    return FeatureMaps(found.convolution.name, before, next(iter(after), None), found.activation, _path(found))


def _path(found: Rectified) -> str:
    chain = ", then ".join(one.name for one in (found.convolution, *found.between))
    if found.after is not None:
        return f"{chain}, then {found.after.name}"
    return f"{chain}; no non-linearity comes next ({found.next_layer} does), so there is no before and after"


def _tile(name: str, values: np.ndarray) -> Tile:
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return Tile(signed(scaled(values)), f"{name}\n{span(values)}")
    if high == 0:
        return Tile(heat(values), name, alarm="all zero")
    shares = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return Tile(heat(shares), f"{name}\n{span(values)}")


def _legend() -> Tile:
    """Return both scales of colours, one above the other."""
    width, height = 96, 24
    bars = [
        np.broadcast_to(one, (height, width, 3))
        for one in (signed(np.linspace(-1, 1, width)), heat(np.linspace(0, 1, width)))
    ]
    space = np.full((height // 2, width, 3), 255, np.uint8)
    picture = np.concatenate([space, bars[0], space, bars[1], space])
    return Tile(picture, "above: negative, 0, positive; below: smallest to largest")
