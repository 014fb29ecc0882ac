"""Flips, crops, rotation, translation and zoom: composed into one map from each output pixel to the source.

Where the policy moves whole pixels only, they are gathered, so that none is interpolated; otherwise one bilinear
sampling does everything, the elastic displacement too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.data.augment.draws import Draws, Lot
from foveal.data.augment.elastic import Elastic
from foveal.data.augment.policy import Augment, Fill

ASPECTS = (3 / 4, 4 / 3)  # Szegedy et al. 2015, sec. 6


@dataclass(frozen=True)
class Moves:
    """How each image of a batch is moved; pairs (B, 2) are across, down: x, y.

    The picture is first flipped, then shifted within its padding, then cropped and scaled to the full size, then
    rotated and zoomed about the middle, then translated.
    """

    flipped: Tensor  # (B, 2) bool: left to right, upside down
    padding: Tensor  # (B, 2) int64, pixels by which the picture moves to the left and up
    crop: Tensor  # (B, 2) float64, share of the side
    crop_middle: Tensor  # (B, 2) float64, from the middle of the picture, pixels
    radians: Tensor  # (B,) float64, anticlockwise as one sees it
    scale: Tensor  # (B,) float64
    translation: Tensor  # (B, 2) int64, pixels to the right and down


def draw_moves(policy: Augment, draws: Draws, height: int, width: int) -> Moves:
    """Return what chance makes of `policy` for images of `height` × `width`."""
    crop = _crop_shares(policy, draws, height / width)
    room = torch.stack([(1 - crop[:, 0]) * width, (1 - crop[:, 1]) * height], 1)  # (B, 2), pixels
    place = torch.stack([draws.between(Lot.CROP_X, -0.5, 0.5), draws.between(Lot.CROP_Y, -0.5, 0.5)], 1)
    most = policy.rotation_deg * math.pi / 180
    return Moves(
        flipped=torch.stack(
            [
                draws.chance(Lot.HORIZONTAL_FLIP, policy.horizontal_flip),
                draws.chance(Lot.VERTICAL_FLIP, policy.vertical_flip),
            ],
            1,
        ),
        padding=torch.stack(
            [
                draws.whole(Lot.PAD_X, round(policy.pad_crop * width)),
                draws.whole(Lot.PAD_Y, round(policy.pad_crop * height)),
            ],
            1,
        ),
        crop=crop,
        crop_middle=place * room,
        radians=draws.between(Lot.ROTATION, -most, most),
        scale=draws.between(Lot.ZOOM, 1 - policy.zoom, 1 + policy.zoom),
        translation=torch.stack(
            [
                draws.whole(Lot.TRANSLATION_X, round(policy.translation * width)),
                draws.whole(Lot.TRANSLATION_Y, round(policy.translation * height)),
            ],
            1,
        ),
    )


def _crop_shares(policy: Augment, draws: Draws, tall: float) -> Tensor:
    """Return the share of width and height that each crop takes, float64 (B, 2); `tall` is height / width.

    The logarithm of the aspect is uniform over what fits. Deviation: the usual code draws area and aspect until they
    fit, at most ten times.
    """
    if not policy.resized_crop:
        return draws.shares.new_ones(len(draws.shares), 2)
    area = draws.between(Lot.CROP_AREA, policy.resized_crop, 1)
    narrowest, widest = area / tall, 1 / (area * tall)  # the aspects, width / height, of full height, of full width
    low = torch.minimum(narrowest.clamp_min(ASPECTS[0]), widest).log()
    high = torch.maximum(widest.clamp_max(ASPECTS[1]), narrowest).log()
    aspect = (low + (high - low) * draws.share(Lot.CROP_ASPECT)).exp()
    return torch.stack([(area * aspect * tall).sqrt(), (area / (aspect * tall)).sqrt()], 1).clamp_max(1)


def source_map(moves: Moves) -> Tensor:
    """Return (B, 2, 3) float64: from x, y, 1 of an output pixel to x, y of its source, pixels from the middle."""
    cosine, sine = moves.radians.cos() / moves.scale, moves.radians.sin() / moves.scale
    unturned = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)  # y points down
    matrix = torch.where(moves.flipped, -moves.crop, moves.crop)[:, :, None] * unturned  # (B, 2, 2)
    across, down = moves.translation.double()[:, None].unbind(2)  # (B, 1) each
    middle = torch.where(moves.flipped, -moves.crop_middle, moves.crop_middle) + moves.padding
    start = middle - (matrix[:, :, 0] * across + matrix[:, :, 1] * down)
    return torch.cat([matrix, start[:, :, None]], 2)


class WholePixels:
    """Flips and shifts by whole pixels: a gathering of rows and columns, exact for any kind of number."""

    def __init__(self, policy: Augment, moves: Moves, height: int, width: int, device: torch.device) -> None:
        columns, columns_inside = _source_lines(moves, 0, width, policy.fill)
        rows, rows_inside = _source_lines(moves, 1, height, policy.fill)
        shifts = bool(policy.pad_crop or policy.translation)
        self.columns = columns.to(device) if shifts or policy.horizontal_flip else None  # (B, W)
        self.rows = rows.to(device) if shifts or policy.vertical_flip else None  # (B, H)
        leaves = shifts and policy.fill == "black"
        self.inside = (rows_inside[:, :, None] & columns_inside[:, None]).to(device) if leaves else None  # (B, H, W)

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return `x` (b, C, H, W), any dtype, moved as the images of `part` of the batch are."""
        if self.rows is not None:  # as lines of one long list, which are copied whole
            first = torch.arange(0, x.shape[:3].numel(), x.shape[2], device=x.device).view(*x.shape[:2], 1)
            lines = (first + self.rows[part, None]).flatten()
            x = x.flatten(0, 2).index_select(0, lines).view(x.shape)
        if self.columns is not None:
            x = x.gather(3, self.columns[part, None, None].expand_as(x))
        return x if self.inside is None else x.mul_(self.inside[part, None])


def _source_lines(moves: Moves, axis: int, count: int, fill: Fill) -> tuple[Tensor, Tensor]:
    """Return of `count` columns (axis 0) or rows (1) where each comes from, int64, and whether it is inside, (B, n)."""
    line = torch.arange(count, device=moves.padding.device) - moves.translation[:, axis, None]
    line = torch.where(moves.flipped[:, axis, None], count - 1 - line, line) + moves.padding[:, axis, None]
    inside = (line >= 0) & (line < count)
    if fill == "reflect":
        return mirrored(line, count), inside
    return line.clamp(0, count - 1), inside


def mirrored(line: Tensor, count: int) -> Tensor:
    """Return which of `count` lines stands at each number of `line` when the picture is mirrored at its edges.

    The last line is repeated: … 1 0 0 1 2 … n-1 n-1 n-2 …
    """
    line = line.remainder(2 * count)
    return torch.minimum(line, 2 * count - 1 - line)


class Sampling:
    """One bilinear sampling of the picture through `source_map`, and the elastic displacement where there is one."""

    def __init__(
        self, moves: Moves, elastic: Elastic | None, height: int, width: int, fill: Fill, device: torch.device
    ) -> None:
        to_sides = torch.tensor([2 / width, 2 / height], dtype=torch.float64, device=moves.scale.device)  # to -1 … 1
        self.map = (source_map(moves) * to_sides[:, None]).to(device, torch.float32)  # (B, 2, 3)
        self.x = torch.arange(width, device=device) - (width - 1) / 2  # (W,)
        self.y = torch.arange(height, device=device)[:, None] - (height - 1) / 2  # (H, 1)
        self.elastic = elastic
        self.padding = "zeros" if fill == "black" else "reflection"

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return `x` (b, C, H, W), float32, sampled as the images of `part` of the batch are."""
        return torch.nn.functional.grid_sample(x, self.grid(part), "bilinear", self.padding, align_corners=False)

    def grid(self, part: slice) -> Tensor:
        """Return where each pixel comes from, (b, H, W, 2), from -1 to 1 over the whole sides."""
        along_x, along_y, start = self.map[part, :, :, None, None].unbind(2)  # (b, 2, 1, 1) each
        places = (along_x * self.x + start) + along_y * self.y  # (b, 2, H, W)
        if self.elastic is not None:
            across, down = self.elastic(part)[:, :, None].unbind(1)  # (b, 1, H, W) each
            places += along_x * across
            places += along_y * down
        return places.permute(0, 2, 3, 1)
