"""Where the subject of each image is, as masks or boxes tell it, brought to what the network sees."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from foveal.classifier.inputs import Input, opened
from foveal.data.sources.folders import image_files
from foveal.errors import DataError, UsageError, listed
from foveal.explanation.explanation import Explanation, Explanations
from foveal.explanation.located import Share, located, summarised
from foveal.preprocess import Preprocess, UnreadableImageError

COLUMNS = ("image", "left", "top", "right", "bottom")
HALF = 127  # grey above which a pixel of a mask, scaled, belongs to the subject

Subjects = dict[str, np.ndarray]  # image's name → (H, W) bool, as the network sees it


def read_subjects(
    images: Sequence[Input], preprocess: Preprocess, *, masks: str | Path | None, boxes: str | Path | None
) -> Subjects:
    """Return the subject of each of `images` that has one, in the frame that `preprocess` makes of it.

    Args:
        images: paths.
        preprocess: of the classifier.
        masks: a folder with a mask for an image of the same name (the ending may differ): white where the subject is,
            and as large as the image.
        boxes: a CSV file with the columns image (its name), left, top, right, bottom in pixels, the latter two
            exclusive; several rows of an image are joined.

    Raises:
        UsageError: for masks and boxes at once, or images that are no files.
        DataError: where a mask or a box does not fit its image, or no image has one.
    """
    if masks is not None and boxes is not None:
        raise UsageError("Give masks or boxes, not both.")
    paths = [Path(one) for one in images if isinstance(one, str | Path)]
    if len(paths) < len(images):
        raise UsageError("Masks and boxes are found by the names of files; give the images as paths.")
    known = _masks(Path(masks)) if masks is not None else _boxes(Path(str(boxes)))
    grey = replace(preprocess, channels=1, mean=(0.0,), std=(1.0,))
    subjects: Subjects = {}
    for path in paths:
        found = known.get(path.stem if masks is not None else path.name)
        if found is None:
            continue
        try:
            picture, _ = opened(path)
        except UnreadableImageError:  # said where the images are read
            continue
        drawn = _drawn(found, picture.size, path)
        subjects[str(path)] = grey.geometry(drawn)[:, :, 0] > HALF
    if not subjects:
        raise DataError(f"None of these {len(paths):,} images has a mask or a box in {masks or boxes}.")
    empty = [name for name, mask in subjects.items() if not mask.any()]
    if empty:
        raise DataError(f"What the network sees of these images holds nothing of their subject:\n{listed(empty)}")
    return subjects


def with_subjects(explanations: Iterable[Explanation], subjects: Subjects) -> Explanations:
    """Return `explanations` with how well each map lies on its subject, where that is known."""
    return Explanations(
        replace(one, located=located(one.map, subjects[one.input])) if one.input in subjects else one
        for one in explanations
    )


def located_by_method(explanations: Sequence[Explanation]) -> dict[str, dict[str, Share]]:
    """Return, by the title of each method, the means over images of how well its maps lie on their subjects."""
    titles = dict.fromkeys(one.kind.title for one in explanations if one.located is not None)
    return {
        title: summarised([one.located for one in explanations if one.kind.title == title and one.located is not None])
        for title in titles
    }


def _masks(folder: Path) -> dict[str, Path | list[tuple[float, ...]]]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} with masks.")
    return {file.stem: file for file in image_files(folder)}


def _boxes(file: Path) -> dict[str, Path | list[tuple[float, ...]]]:
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise DataError(f"{file} has no column {', '.join(missing)}; boxes have {', '.join(COLUMNS)}.")
    found: dict[str, Path | list[tuple[float, ...]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            box = tuple(float(row[name]) for name in COLUMNS[1:])
        except (TypeError, ValueError) as error:
            raise DataError(f"{file}, line {number}: a box is four numbers, {', '.join(COLUMNS[1:])}.") from error
        known = found.setdefault(row["image"], [])
        assert isinstance(known, list)
        known.append(box)
    return found


def _drawn(found: Path | list[tuple[float, ...]], size: tuple[int, int], image: Path) -> Picture.Image:
    """Return the mask of an image of `size` (width, height), white where its subject is."""
    if isinstance(found, Path):
        try:
            mask = opened(found)[0].convert("L").point(lambda value: 255 if value else 0)
        except UnreadableImageError as error:
            raise DataError(f"The mask {found} cannot be used: {error}.") from error
        if mask.size != size:
            raise DataError(
                f"The mask {found} is {mask.width}×{mask.height} pixels, its image {image} {size[0]}×{size[1]}."
            )
        return mask
    drawn = Picture.new("L", size)
    for left, top, right, bottom in found:
        if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
            box = f"{left:g}, {top:g}, {right:g}, {bottom:g}"
            raise DataError(f"The box {box} does not lie in {image}, which has {size[0]}×{size[1]} pixels.")
        drawn.paste(255, (round(left), round(top), round(right), round(bottom)))
    return drawn
