"""Show: what a source holds, in numbers and as a contact sheet, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from foveal.data.augment.policy import Augment, describe
from foveal.data.contact_sheet import sheet, strips
from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.data.sources.manifest import Columns
from foveal.data.summary import Summary, summarise
from foveal.files import write_text
from foveal.models.catalog import find
from foveal.models.weights.published import published_for
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.training.recipe import Recipe
from foveal.web import asset, page, templates
from foveal.workflows.place import free_page, refuse_existing_file
from foveal.workflows.prepare import choose_preprocess
from foveal.workflows.varied_sheet import varied

HERE = "foveal.workflows"
MOST_CHARACTERS = 4_200_000  # of all pictures together, so that the page stays below 5 MB
MOST_UNREADABLE = 200
SIDE, SMALL = 224, 64  # pixels at which variations are shown; up to which images are shown as they are
MOST_SOURCES = 8


@dataclass(frozen=True)
class Shown:
    """What was found, and where the page lies."""

    summary: Summary
    pictures: int
    page: Path


def show(
    source: object,
    *,
    out: str | Path | None = None,
    per_class: int = 12,
    columns: Columns | None = None,
    data_dir: str | Path | None = None,
    augment: str | None = None,
    size: tuple[int, int] | None = None,
    model: str | None = None,
    progress: bool = True,
) -> Shown:
    """Read every image of `source`, and write its contact sheet as one HTML file that needs nothing but itself.

    Args:
        source: anything that `foveal.load` takes.
        out: the page; ``<name>-contact-sheet.html`` in the current folder by default. It must not exist.
        per_class: how many images of each class the page shows, fewer where it would exceed 5 MB.
        columns: which column of a manifest holds what.
        data_dir: a folder with the files of a published data set.
        augment: as the field of that name in `Recipe`: the page then also shows what training would see.
        size: (height, width) at which that is shown; 224×224 by default, and smaller images as they are.
        model: the network to be trained: images are then fitted as its published weights, or it itself, want them.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: one of its classes, each saying what to do.
    """
    if out is not None:
        refuse_existing_file(Path(out))
    policy = Augment.parse(augment) if augment is not None else None
    with Progress(silent=not progress) as display:
        dataset = load(source, columns=columns, data_dir=data_dir, progress=display)
        target = Path(out) if out is not None else free_page(dataset.name, "contact-sheet")
        summary = summarise(dataset, dataset.scanned(display))
        drawn = strips(dataset, per_class=per_class, most_characters=MOST_CHARACTERS, progress=display)
        seen = _seen(dataset, model, size, display)
        versions = [] if policy is None else varied(dataset, policy, seen)
    pictures = [picture for strip in drawn for picture in strip.pictures]
    damaged = {one.record_id: one.reason for one in pictures if one.thumbnail is None}
    summary = replace(summary, unreadable=tuple({**dict(summary.unreadable), **damaged}.items()))
    body = templates(HERE).get_template("show.html.jinja").render(
        summary=summary,
        splits=list(summary.splits),
        sources=list(summary.sources) if len(summary.sources) <= MOST_SOURCES else [],
        unreadable=summary.unreadable[:MOST_UNREADABLE],
        pictures=len(pictures),
        sheet=sheet(drawn),
        varied=versions,
        policy=[] if policy is None else describe(policy),
        seen=seen,
    )  # fmt: skip
    style = asset("foveal.web", "card.css") + asset(HERE, "show.css")
    html = page(f"{summary.name}: contact sheet · Foveal", Markup(body), style=style, closed=True)
    write_text(target, html.encode("utf-8", "replace").decode("utf-8"))  # names that are not UTF-8
    return Shown(summary, len(pictures), target)


def _seen(dataset: Dataset, model: str | None, size: tuple[int, int] | None, progress: Progress) -> Preprocess:
    """Return how a network would see the images: the one called `model`, or any of `size`."""
    scan = dataset.scanned(progress)
    own, channels = scan.one_size(), 3 if (scan.channels == 3).any() else 1
    if model is not None:
        known = "default" if published_for(find(model).name) else None
        return choose_preprocess(own, channels, Recipe(model=model, size=size, pretrained=known))
    height, width = size or (own if own and max(own) <= SMALL else (SIDE, SIDE))
    none, one = (0.0,) * channels, (1.0,) * channels
    return Preprocess(channels, height, width, height, width, "letterbox", none, one)
