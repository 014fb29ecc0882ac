"""The page of explanations: one file in which one walks through images, methods, classes, stages and what they see."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from foveal.explanation.colours import HEAT, SIGNED
from foveal.explanation.explanation import Explanation, Explanations
from foveal.explanation.sheets import as_rgb
from foveal.explanation.stage_views import StageView
from foveal.web import asset, page, templates
from foveal.web.svg import printable
from foveal.web.thumbnails import picture_address, thumbnail

HERE = "foveal.report"
MOST_IMAGES = 24  # in a page, so that it stays below some megabytes
LEVELS = 127  # of a value's magnitude in the page


def explanations_page(explanations: Explanations, views: Sequence[Sequence[StageView]], *, title: str) -> str:
    """Return the page of `explanations` as one HTML document that loads nothing.

    `views` are the stages of each image, in the order of `explanations.by_image()`; none where the network's inside
    is not known. The first MOST_IMAGES images are in the page.
    """
    rows = explanations.by_image()
    shown = rows[:MOST_IMAGES]
    images = [_image(row, views[at] if at < len(views) else ()) for at, row in enumerate(shown)]
    first = explanations[0]
    body = (
        templates(HERE)
        .get_template("explanations.html.jinja")
        .render(
            title=printable(title),
            images=images,
            left_out=len(rows) - len(shown),
            methods=list(dict.fromkeys(one.kind for one in explanations)),
            has_stages=any(image["stages"] for image in images),
            judged=first.faithfulness is not None,
            classifier_hash=first.classifier_hash[:12],
            data={"images": images, "heat": _table(HEAT), "signed": _table(SIGNED), "levels": LEVELS},
        )
    )
    return page(
        f"{title} · Foveal",
        Markup(body),
        style=asset(HERE, "report.css") + asset(HERE, "explanations.css"),
        script=asset(HERE, "explanations.js"),
        closed=True,
    )


def _image(row: Sequence[Explanation], views: Sequence[StageView]) -> dict[str, Any]:
    first = row[0]
    picture = Image.fromarray(as_rgb(first.picture))
    small = thumbnail(picture)
    return {
        "name": printable(first.input),
        "short": printable(first.input.rpartition("/")[2]),
        "answered": printable(first.answered),
        "abstain": printable(first.abstain),
        "picture": picture_address(picture),
        "thumbnail": [small.address, small.width, small.height],
        "size": [picture.height, picture.width],
        "maps": [_map(one) for one in row],
        "stages": [_stage(view) for view in views],
    }


def _map(one: Explanation) -> dict[str, Any]:
    values = one.grid
    limit = float(np.quantile(np.abs(values), 0.99)) if one.kind.of_pixels else 0.0
    figures = one.faithfulness
    return {
        "method": one.kind.title,
        "source": one.kind.source,
        "title": printable(one.title),
        "question": printable(one.question),
        "probability": one.probability,
        "smooth": not one.kind.of_pixels and one.grid.shape != one.picture.shape[:2],
        "caution": one.kind.caution,
        "empty": one.is_empty,
        "warnings": [printable(words) for words in one.warnings],
        "figures": [] if figures is None else _figures(one),
        **_numbers(values, limit),
    }


def _figures(one: Explanation) -> list[list[str]]:
    """Return (what, value, what it should be) of each figure that was measured."""
    f = one.faithfulness
    assert f is not None
    rows = [
        ("Deletion, area", f.deletion, f.moved_deletion, "should be below {:.3f}, as of the map moved elsewhere"),
        ("Insertion, area", f.insertion, f.moved_insertion, "should be above {:.3f}, as of the map moved elsewhere"),
        ("Stability under noise", f.stability, 1.0, "rank correlation, should be near {:.0f}"),
        ("With shuffled weights", f.randomised, 0.0, "rank correlation, should be near {:.0f}"),
        (f"Agreement with {f.agreement_with or 'another'}", f.agreement, 1.0, "rank correlation, at best {:.0f}"),
        ("Sparsity (Gini)", f.sparsity, 1.0, "0 spread evenly, {:.0f} in one place"),
    ]
    said = []
    for what, value, other, words in rows:
        if value is None or other is None:
            said.append([what, "–", "not measured: it asks too often, or answers only are known"])
        else:
            said.append([what, f"{value:.3f}", words.format(other)])
    return said


def _stage(view: StageView) -> dict[str, Any]:
    return {
        "name": printable(view.name),
        "shape": list(view.shape),
        "field": list(view.field),
        "stride": list(view.stride),
        "start": list(view.start),
        "mean": _spread(view.mean),
        "units": [{"unit": unit, **_spread(map_)} for unit, map_ in zip(view.units, view.maps, strict=True)],
    }


def _spread(values: np.ndarray) -> dict[str, Any]:
    """Return a map as `_numbers` does, drawn from its smallest value on where none is below zero."""
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or lowest == highest:
        return _numbers(values)
    return {**_numbers(values - lowest), "range": [lowest, highest]}


def _numbers(values: np.ndarray, limit: float = 0.0) -> dict[str, Any]:
    """Return a map (h, w) as int8 in base64, its size, and its smallest and largest value."""
    largest = limit or float(np.abs(values).max(initial=0.0))
    shares = np.clip(values / largest, -1, 1) if largest > 0 else np.zeros_like(values)
    content = base64.b64encode(np.rint(shares * LEVELS).astype(np.int8).tobytes()).decode("ascii")
    return {
        "size": list(values.shape),
        "values": content,
        "range": [float(values.min()), float(values.max())],
    }


def _table(stops: Sequence[str]) -> list[list[int]]:
    return [list(bytes.fromhex(stop)) for stop in stops]
