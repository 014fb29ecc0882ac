"""How far a cell sees: its window on the image, how much of it a trained network uses, and both drawn on the image.

The window (the theoretical receptive field) is a matter of the network's structure, see
`foveal.models.anatomy.receptive_field`. What a cell uses of it (the effective receptive field) is a matter of weights
and images, and is measured by gradients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.capture import capture
from foveal.explanation.colours import overlay
from foveal.explanation.lettering import font, lines
from foveal.explanation.sheets import FAINT, FONT_SIZE, INK, LINE, PAPER, as_rgb
from foveal.explanation.stages import Place, find_stage, map_stages
from foveal.models.anatomy.receptive_field import Sight

Box = tuple[int, int, int, int]  # (top, left, bottom, right) in pixels; bottom and right are the first ones outside

TWO_SIGMA = 0.9545  # of a normal distribution lie within two standard deviations
AT_ONCE = 8  # images in a pass

SIDE = 600  # pixels that an enlarged picture has at most, rows or columns
MOST_PADDING = 0.35  # of a side of the picture that is drawn around it where a window ends there
EDGE, TAG = 8, 17  # pixels around the drawing, and of a number's box
NARROWEST = 360  # pixels of a drawing with its words
GREY, HATCH, DARK = "#d9d9d9", "#b3b3b3", "#000000"
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#ffffff", "#cc79a7", "#00c090", "#ff7f50")  # light ones, on a dark line
DASHES = ((1, 0), (10, 5), (3, 4), (14, 4, 3, 4))  # pixels drawn and left out in turn


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """How much each pixel changes a cell of a stage: the mean magnitude of the gradient over channels and `n` images.

    `map` is divided by its largest value. `side` is the square root of the number of pixels above 1 - 0.9545 of that,
    and `share` is it divided by the side of a square as large as the window, which cannot reach 1 where the window is
    larger than the image. `outside` is the share of the whole sum that lies outside the window: it comes through what
    the window leaves out, squeeze-excitation gates and norms over the whole map.
    """

    map: np.ndarray  # (H, W) float32, 0 to 1
    side: float  # pixels
    share: float
    outside: float
    n: int
    stage: str
    cell: tuple[int, int]
    window: Box  # not cut off at the image's edges

    @property
    def is_empty(self) -> bool:
        """Whether the map is zero everywhere."""
        return not self.map.any()

    def __str__(self) -> str:
        where, images = f"cell {self.cell} of {self.stage}", f"{self.n} image{'s' if self.n > 1 else ''}"
        if self.is_empty:
            return (
                f"No pixel changes {where} in {images}: the gradient is zero everywhere, so there is nothing to show."
            )
        top, left, bottom, right = self.window
        said = (
            f"Effective field of {where}: {self.side:.1f} pixels a side, {100 * self.share:.0f} % of its window of "
            f"{bottom - top}×{right - left} (mean over {images})."
        )
        through = (
            f" {100 * self.outside:.1f} % of it lies outside the window, through gates or norms over the whole map."
        )
        return said + (through if self.outside >= 0.0005 else "")


def sight_of(network: nn.Module, stage: str | int | None, image: tuple[int, int, int]) -> tuple[Place, Sight]:
    """Return the stage that `find_stage` finds and what its cells see, for images (C, H, W). UsageError as there."""
    place = find_stage(network, stage, image)
    return place, place.sight


def window_on_image(sight: Sight, cell: tuple[int, int], image: tuple[int, int] | None = None) -> Box:
    """Return the pixels that `cell` (row, column) sees, with those in the padding; without them for an `image` (H, W).

    Where the window lies wholly in the padding, what is left on the image has no rows or no columns.
    """
    top, left = (start + at * apart for start, at, apart in zip(sight.start, cell, sight.stride, strict=True))
    box = (top, left, top + sight.field[0], left + sight.field[1])
    return box if image is None else _cut(box, (0, 0, *image))


def windows_around(
    network: nn.Module,
    image: tuple[int, int, int],
    *,
    stages: Sequence[str | int] | None = None,
    point: tuple[int, int] | None = None,
) -> dict[str, Box]:
    """Return by stage the window of the cell that looks at `point` (row, column), for images (C, H, W).

    It is the cell whose window has its centre nearest to the point, by default the image's centre. `stages` are all
    that have a map. UsageError for a stage that does not exist, or a point outside the image.
    """
    aim = (image[1] // 2, image[2] // 2) if point is None else point
    if not all(0 <= at < side for at, side in zip(aim, image[1:], strict=True)):
        raise UsageError(f"The point {aim} is not in the image of {image[1]}×{image[2]} pixels.")
    windows = {}
    for place in map_stages(network, image) if stages is None else [find_stage(network, one, image) for one in stages]:
        sight = place.sight
        row, column = (
            min(max(round((at - start - (field - 1) / 2) / apart), 0), cells - 1)
            for at, start, field, apart, cells in zip(
                aim, sight.start, sight.field, sight.stride, place.shape[1:], strict=True
            )
        )
        windows[place.name] = window_on_image(sight, (row, column))
    return windows


def effective_field(
    network: nn.Module, images: Tensor, stage: str | int | None = None, *, cell: tuple[int, int] | None = None
) -> EffectiveField:
    """Return how much the pixels of `images` (B, C, H, W), normalised, change a cell of a stage's map.

    The gradient of the sum over the channels of `cell` (row, column), by default the central one, by the pixels; its
    magnitude, averaged over channels and images. The network is left as it was. `stage` is as in `find_stage`.

    Luo, Li, Urtasun, Zemel: "Understanding the effective receptive field in deep convolutional neural networks", NIPS
    2016. Deviations: magnitudes are averaged, so that gradients of unlike sign do not cancel one another; weights are
    the network's own, where the paper also averages over weights drawn anew; and what counts as inside is measured from
    the largest value instead of the central pixel's, which in trained networks need not be the largest.

    Raises:
        UsageError: without images, for a stage or cell that does not exist, or without a gradient, or a finite one.
    """
    if images.ndim != 4 or not len(images):
        raise UsageError(f"An effective field needs images (B, C, H, W), at least one, not {tuple(images.shape)}.")
    channels, height, width = images.shape[1:]
    place, sight = sight_of(network, stage, (channels, height, width))
    rows, columns = place.shape[1:]
    row, column = cell = (rows // 2, columns // 2) if cell is None else cell
    if not (0 <= row < rows and 0 <= column < columns):
        raise UsageError(
            f"The map of {place.name} has {rows}×{columns} cells, from (0, 0) to ({rows - 1}, {columns - 1}); "
            f"{cell} is none of them."
        )
    total = torch.zeros(height, width, dtype=torch.float64)
    for first in range(0, len(images), AT_ONCE):
        x = images[first : first + AT_ONCE].detach().clone().requires_grad_()
        with capture(network, place.module, graph="whole") as kept:
            network(x)
            score = kept[place.module][:, :, row, column].sum()
            gradient = torch.autograd.grad(score, x, allow_unused=True)[0] if score.requires_grad else None
        if gradient is None:
            raise UsageError(f"{place.name} gives the pixels no gradient: the network computes its map without one.")
        total += gradient.abs().double().mean(dim=1).sum(dim=0).cpu()
    if not total.isfinite().all():
        raise UsageError(f"The gradient of {place.name} by the pixels is not finite, so it has no effective field.")
    return _measured(total.numpy(), sight, place.name, cell, len(images))


def draw_fields(
    picture: np.ndarray, windows: Mapping[str, Box], *, effective: EffectiveField | None = None, side: int = SIDE
) -> np.ndarray:
    """Return `picture` uint8 (H, W, 3) or (H, W) with `windows` as outlines and `effective` as heat: uint8 (h, w, 3).

    Windows are by name, in pixels of the picture, as `window_on_image` gives them without an image. Equal ones share
    an outline. Each has a number, a colour and a way of being dashed, told below the picture. Sides that lie in the
    padding are drawn on hatched grey, but not those further out than a third of the picture's. A picture that goes
    twice or more into `side` pixels is enlarged, in whole multiples. Under an effective field the picture is grey, and
    the heat is that of the square root of its values, so that weak ones are seen too; one of zeros is told, not drawn.

    Raises:
        UsageError: when the effective field is not of an image of the picture's size.
    """
    rgb = as_rgb(picture)
    if effective is not None:
        if effective.map.shape != rgb.shape[:2]:
            sizes = ["×".join(map(str, one.shape[:2])) for one in (effective.map, rgb)]
            raise UsageError(f"The effective field is that of an image of {sizes[0]} pixels, not {sizes[1]}.")
        grey = np.asarray(Image.fromarray(rgb).convert("L"))
        rgb = rgb if effective.is_empty else overlay(as_rgb(grey), np.sqrt(effective.map))
    by_box: dict[Box, list[str]] = {}
    for name, window in windows.items():
        by_box.setdefault(window, []).append(name)
    shown, times = _frame(list(by_box), rgb.shape[0], rgb.shape[1]), max(1, side // max(rgb.shape[:2]))
    page = _canvas(rgb, shown, times)
    draw = ImageDraw.Draw(page)
    boxes = {at: _on_page(box, shown, times) for at, box in enumerate(by_box) if _sides_within(box, shown)}
    order = sorted(boxes, key=lambda at: -_area(boxes[at]))  # small ones come to lie on top
    for at in order:
        _outline(draw, boxes[at], page.size, at)
    taken = [box for box in boxes.values() if box[2] - box[0] < 2 * TAG]
    for at in reversed(order):
        _tag(draw, boxes[at], taken, page.size, str(at + 1))
    legend: list[tuple[int | None, str]] = [
        (at if at in boxes else None, f"{at + 1}  {_told(names, box, rgb.shape[:2], shown)}")
        for at, (box, names) in enumerate(by_box.items())
    ]
    if effective is not None:
        legend.append((None, str(effective) + ("" if effective.is_empty else " Brighter pixels change it more.")))
    if shown != (0, 0, *rgb.shape[:2]):
        legend.append((None, "Hatched: padding around the image."))
    return np.asarray(_with_legend(page, legend))


def _measured(total: np.ndarray, sight: Sight, stage: str, cell: tuple[int, int], n: int) -> EffectiveField:
    window = window_on_image(sight, cell)
    top, left, bottom, right = window_on_image(sight, cell, (total.shape[0], total.shape[1]))
    largest, whole = float(total.max()), float(total.sum())
    shares = total / largest if largest > 0 else total
    side = math.sqrt(int((shares > 1 - TWO_SIGMA).sum()))
    outside = total.copy()
    outside[top:bottom, left:right] = 0
    return EffectiveField(
        map=shares.astype(np.float32),
        side=side,
        share=side / math.sqrt(_area(window)),
        outside=float(outside.sum()) / whole if whole > 0 else 0.0,
        n=n,
        stage=stage,
        cell=cell,
        window=window,
    )


# --- the drawing ---


def _cut(box: Box, to: Box) -> Box:
    top, left = min(max(box[0], to[0]), to[2]), min(max(box[1], to[1]), to[3])
    return top, left, max(top, min(box[2], to[2])), max(left, min(box[3], to[3]))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _frame(boxes: Sequence[Box], height: int, width: int) -> Box:
    """Return the pixels that are drawn: the picture, and of the padding as much as shows where windows end in it."""
    rows, columns = math.ceil(MOST_PADDING * height), math.ceil(MOST_PADDING * width)
    bound = (-rows, -columns, height + rows, width + columns)
    tops, lefts, bottoms, rights = zip((0, 0, height, width), *boxes, strict=True)
    return (
        min(top for top in tops if top >= bound[0]),
        min(left for left in lefts if left >= bound[1]),
        max(bottom for bottom in bottoms if bottom <= bound[2]),
        max(right for right in rights if right <= bound[3]),
    )


def _sides_within(box: Box, shown: Box) -> bool:
    """Whether at least one side of a box is drawn."""
    return any(first <= at <= last for at, first, last in zip(box, shown[:2] * 2, shown[2:] * 2, strict=True))


def _canvas(picture: np.ndarray, shown: Box, times: int) -> Image.Image:
    """Return the enlarged picture on hatched padding, with an empty edge around both."""
    height, width = (shown[2] - shown[0]) * times, (shown[3] - shown[1]) * times
    padding = Image.new("RGB", (width, height), GREY)
    draw = ImageDraw.Draw(padding)
    for x in range(-height, width, 10):
        draw.line((x, height, x + height, 0), fill=HATCH)
    image = Image.fromarray(picture)
    padding.paste(
        image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST),
        (-shown[1] * times, -shown[0] * times),
    )
    page = Image.new("RGB", (width + 2 * EDGE, height + 2 * EDGE), PAPER)
    page.paste(padding, (EDGE, EDGE))
    return page


def _on_page(box: Box, shown: Box, times: int) -> Box:
    top, left, bottom, right = (EDGE + (at - shown[side % 2]) * times for side, at in enumerate(box))
    return top, left, bottom, right


def _outline(draw: ImageDraw.ImageDraw, box: Box, size: tuple[int, int], number: int) -> None:
    """Draw a box's outline just outside of it: dashes on a dark line, which stand out on any picture."""
    top, left, bottom, right = box
    colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    draw.rectangle((left - 4, top - 4, right + 3, bottom + 3), outline=DARK, width=4)
    for start, stop in _dashes(max(left - 3, 0), min(right + 2, size[0]), dashes):
        for y in (top - 3, bottom + 1):
            draw.rectangle((start, y, stop, y + 1), fill=colour)
    for start, stop in _dashes(max(top - 3, 0), min(bottom + 2, size[1]), dashes):
        for x in (left - 3, right + 1):
            draw.rectangle((x, start, x + 1, stop), fill=colour)


def _dashes(start: int, stop: int, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last pixel of each dash from `start` to `stop`."""
    if lengths[1] == 0:
        yield start, stop
        return
    at, part = start, 0
    while at <= stop:
        if part % 2 == 0:
            yield at, min(at + lengths[part] - 1, stop)
        at, part = at + lengths[part], (part + 1) % len(lengths)


def _tag(draw: ImageDraw.ImageDraw, box: Box, taken: list[Box], size: tuple[int, int], words: str) -> None:
    """Write a number beside an outline, or further off with a line to it, where it covers no other number."""
    for top, left in _places(box):
        place = (top, left, top + TAG, left + TAG)
        inside = min(top, left) >= 0 and place[2] <= size[1] and place[3] <= size[0]
        if inside and not any(_area(_cut(place, one)) for one in taken):
            middle = (left + TAG / 2, top + TAG / 2)
            nearest = min(max(middle[0], box[1] - 3), box[3] + 2), min(max(middle[1], box[0] - 3), box[2] + 2)
            for colour, thick in ((DARK, 3), (PAPER, 1)):
                draw.line((*middle, *nearest), fill=colour, width=thick)
            draw.rectangle((left, top, left + TAG - 1, top + TAG - 1), fill=DARK, outline=PAPER)
            draw.text(middle, words, fill=PAPER, font=font(FONT_SIZE), anchor="mm")
            taken.append(place)
            return


def _places(box: Box) -> Iterator[tuple[int, int]]:
    """Yield corners (top, left) for a number around a box: above, below, beside it, inside, and further off."""
    top, left, bottom, right = box
    for off in range(5, 6 * TAG, TAG + 2):
        for y in (top - TAG - off, bottom + off):
            yield from ((y, x) for x in range(left - 4, max(right - TAG, left), TAG + 2))
        for x in (left - TAG - off, right + off):
            yield from ((y, x) for y in range(top - 4, max(bottom - TAG, top), TAG + 2))
        if off == 5:  # no room around an outline that encloses all
            yield from ((y, x) for y in (top + off, bottom - TAG - off) for x in (left + off, right - TAG - off))


def _told(names: Sequence[str], box: Box, picture: tuple[int, int], shown: Box) -> str:
    """Return what a window is called, and how large it is beside the picture."""
    inside = _area(_cut(box, (0, 0, *picture))) / (picture[0] * picture[1])
    share = f"{100 * inside:.1f}" if inside > 0.01 else f"{100 * inside:.2g}"
    part = "the whole picture" if inside == 1 else f"{share} % of the picture"
    beyond = "" if _cut(box, shown) == box else "; it reaches further than is drawn"
    return f"{', '.join(names)}: {box[2] - box[0]}×{box[3] - box[1]} pixels, {part}{beyond}"


def _with_legend(page: Image.Image, legend: Sequence[tuple[int | None, str]]) -> Image.Image:
    """Return the page with lines of words below it, behind the stroke of the outline of a number, or of none."""
    stroke, width, small = 34, max(page.width, NARROWEST), font(FONT_SIZE)
    rows = [
        (number if at == 0 else None, words)
        for number, said in legend
        for at, words in enumerate(lines(said, width - 2 * EDGE - stroke, small))
    ]
    whole = Image.new("RGB", (width, page.height + len(rows) * (LINE + 3) + EDGE), PAPER)
    whole.paste(page, (0, 0))
    draw = ImageDraw.Draw(whole)
    for at, (number, words) in enumerate(rows):
        y = page.height + at * (LINE + 3)
        if number is not None:
            draw.rectangle((EDGE, y + 4, EDGE + stroke - 8, y + 11), fill=DARK)
            for start, stop in _dashes(EDGE + 1, EDGE + stroke - 9, DASHES[number % len(DASHES)]):
                draw.rectangle((start, y + 6, stop, y + 9), fill=COLOURS[number % len(COLOURS)])
        draw.text((EDGE + stroke, y), words, fill=INK if number is not None else FAINT, font=small)
    return whole
