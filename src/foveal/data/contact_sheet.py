"""The contact sheet: a few images of every class, as small pictures inside a page or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from foveal.data.dataset import Dataset
from foveal.data.images import in_threads
from foveal.data.summary import UNLABELLED, sizes_in_words, summarise
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress, Stage
from foveal.web import card, templates
from foveal.web.thumbnails import Thumbnail, thumbnail

IN_A_NOTEBOOK = 8  # images a class
MOST_CLASSES = 12  # with images, in a notebook
MOST_NAMES = 60  # without images
AT_ONCE = 64  # images between two looks at how much room is left
MOST_CHARACTERS = 240_000  # of all pictures together, in a notebook


@dataclass(frozen=True)
class Picture:
    """One image of the sheet; its thumbnail, or the reason why it has none."""

    record_id: str
    height: int
    width: int
    thumbnail: Thumbnail | None
    reason: str = ""


@dataclass
class Strip:
    """The pictures of one class."""

    name: str
    images: int
    rows: np.ndarray  # of the images that may be shown, spread over the class
    pictures: list[Picture] = field(default_factory=list)


def strips(
    dataset: Dataset, *, per_class: int, most_characters: int, progress: Progress, most_classes: int | None = None
) -> list[Strip]:
    """Return up to `per_class` pictures of each of the first `most_classes` classes, those without a label last.

    They are spread evenly over the records of the class. The first picture of every class is made before
    the second of any, and none is begun after the data addresses together have `most_characters`.
    """
    found = [Strip(name, len(rows), _spread(rows, per_class)) for name, rows in _classes(dataset)][:most_classes]
    queue = [(strip, int(strip.rows[turn])) for turn in range(per_class) for strip in found if turn < len(strip.rows)]
    characters = 0
    with progress.stage("drawing the contact sheet", len(queue)) as stage:
        for start in range(0, len(queue), AT_ONCE):
            if characters >= most_characters:
                break
            part = queue[start : start + AT_ONCE]
            for (strip, _), picture in zip(part, _drawn(dataset, [row for _, row in part], stage), strict=True):
                strip.pictures.append(picture)
                characters += len(picture.thumbnail.address) if picture.thumbnail else 0
    return found


def notebook_card(dataset: Dataset) -> str:
    """Return the card of `dataset`: its numbers, and a few images of its first classes. No other image is read."""
    shown = strips(
        dataset,
        per_class=IN_A_NOTEBOOK,
        most_characters=MOST_CHARACTERS,
        progress=Progress(silent=True),
        most_classes=MOST_CLASSES,
    )
    summary = summarise(dataset, dataset.__dict__.get("scan"))
    facts = dict(summary.facts())
    if "sizes" not in facts:
        drawn = [picture for strip in shown for picture in strip.pictures]
        heights, widths = (np.array([getattr(one, side) for one in drawn]) for side in ("height", "width"))
        facts = {"sizes, of the images shown": sizes_in_words(heights, widths), **facts} if drawn else facts
    others = summary.classes[len(shown) :]
    return card(
        "foveal.data",
        "contact_sheet.html.jinja",
        summary=summary,
        facts=facts,
        strips=shown,
        largest=max((one.images for one in summary.classes), default=1) or 1,
        others=others[:MOST_NAMES],
        left_out=len(others[MOST_NAMES:]),
    )


def sheet(drawn: list[Strip]) -> Markup:
    """Return the pictures of all classes as a piece of a page, to stand inside an element of class foveal-card."""
    largest = max((strip.images for strip in drawn), default=1) or 1
    return Markup(templates("foveal.data").get_template("sheet.html.jinja").render(strips=drawn, largest=largest))


def _classes(dataset: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, rows) of every class, and of the images without a label, if any."""
    order = np.argsort(dataset.labels, kind="stable")
    starts = np.searchsorted(dataset.labels[order], np.arange(len(dataset.classes) + 1))
    for label, name in enumerate(dataset.classes):
        yield name, order[starts[label] : starts[label + 1]]
    if starts[0]:
        yield UNLABELLED, order[: starts[0]]


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of `rows`, or all, spread evenly over them."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))
    return rows[places]


def _drawn(dataset: Dataset, rows: list[int], stage: Stage) -> list[Picture]:
    made: dict[int, Picture] = {}

    def draw(at: int) -> None:
        made[at] = _picture(dataset, rows[at])

    in_threads(draw, range(len(rows)), stage.advance)
    return [made[at] for at in range(len(rows))]


def _picture(dataset: Dataset, row: int) -> Picture:
    record_id = str(dataset.record_ids[row])
    try:
        image = dataset.images.picture(row)
        return Picture(record_id, image.height, image.width, thumbnail(image))
    except (UnreadableImageError, OSError) as error:
        return Picture(record_id, 0, 0, None, str(error))
