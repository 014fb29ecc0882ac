"""The page of an evaluation: the sections that every such page has, from what was measured and what was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain, zip_longest
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from foveal.audit.finding import Finding
from foveal.report import acting, confusion, doubtful, figures, intervals, reliability, wording
from foveal.report.bins import images_by_bin
from foveal.report.page_data import MOST_SHOWN, page_data
from foveal.report.results import Answer, Scores, Tested, estimate_of
from foveal.report.thumbnails import make_thumbnails
from foveal.web import asset, page, templates

HERE = "foveal.report"
MOST_MISTAKES = 24
SEVERITIES = {"block": "Blocking", "warn": "Warning", "note": "Note"}

Pictures = Callable[[str], Image.Image | None]  # from a record to its picture; None where it cannot be read


def evaluation_page(
    template: str,
    title: str,
    tested: Tested,
    pictures: Pictures,
    *,
    own: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
    style: str = "",
) -> str:
    """Return `template` as one HTML document, which includes ``contents.html.jinja`` and ``sections.html.jinja``.

    `own` is what the template reads beside the sections, `data` what the script of the page does.
    """
    shown = _sections(tested, pictures)
    shown["data"] |= data or {}
    body = _environment().get_template(template).render({**shown, **own})
    return page(
        f"{title} · Foveal",
        Markup(body),
        style=asset(HERE, "report.css") + style,
        script=asset(HERE, "report.js"),
        closed=True,
    )


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return `findings`, those that block first."""
    return sorted(findings, key=lambda finding: list(SEVERITIES).index(finding.severity))


def _sections(tested: Tested, pictures: Pictures) -> dict[str, Any]:
    """Return what the templates of the sections read."""
    test, answers, measured = tested.scores, tested.answers, tested.measured
    pairs = confusion.confused_pairs(test)
    cells = confusion.images_by_cell(test, answers)
    has_matrix = len(test.classes) <= confusion.MOST_CLASSES
    listed = pairs[: confusion.MOST_PAIRS]
    choosable = cells if has_matrix else {pair: cells[pair] for pair in listed if pair in cells}
    worst = confusion.worst_mistakes(answers, MOST_MISTAKES)
    bins = images_by_bin(measured["calibration"]["after"]["equal_width"], answers) if "calibration" in measured else []
    thumbnails = make_thumbnails(_by_importance(worst, [*choosable.values(), *bins]), pictures)
    wrong = sum(answer.label != answer.predicted for answer in answers)
    return {
        "tested": tested,
        "test": test,
        "measured": measured,
        "has_matrix": has_matrix,
        "matrix": _matrix(test) if has_matrix else [],
        "pairs": listed,
        "n_pairs": len(pairs),
        "contradicted": confusion.contradicted(test, cells),
        "worst": worst,
        "wrong": wrong,
        "thumbnails": thumbnails,
        "numbers": {record_id: index for index, record_id in enumerate(thumbnails)},
        "first_positive": _first_positive(tested),
        "sentences": {
            "confusion": wording.confusion(test, pairs),
            "mistakes": wording.mistakes(wrong, len(worst), len(answers)),
        },
        "data": {
            "first": "{}-{}".format(*(pairs[0] if pairs else (0, 0))),
            **page_data(tested, choosable, bins, thumbnails, {answer.record_id for answer in worst}),
        },
    }


@cache
def _environment() -> Environment:
    environment = templates(HERE)
    environment.filters["estimate"] = estimate_of
    environment.globals["say"] = wording
    environment.globals["severities"] = SEVERITIES
    environment.globals["interval_bar"] = intervals.interval_bar
    environment.globals["interval_scale"] = intervals.interval_scale
    for part in (figures, reliability, doubtful, acting):
        environment.globals[part.__name__.rpartition(".")[2]] = part
    return environment


def _first_positive(tested: Tested) -> int:
    """Return the class that the slider begins with: that of the operating point, else the rarest one."""
    test, positive = tested.scores, acting.positive_of(tested.measured)
    if positive in test.classes:
        return test.classes.index(str(positive))
    supports = [entry.support or test.n for entry in test.per_class]
    return supports.index(min(supports)) if supports else 0


def _by_importance(worst: Sequence[Answer], cells: Sequence[Sequence[Answer]]) -> list[str]:
    """Return record ids: the worst mistakes, then the first image of every cell, the second of every cell, …."""
    ranks = zip_longest(*(images[:MOST_SHOWN] for images in cells))
    return [answer.record_id for answer in chain(worst, *ranks) if answer is not None]


def _matrix(test: Scores) -> list[list[tuple[int, int]]]:
    """Return (number, shading) of every cell, rows by true class."""
    return [[(number, confusion.shading(number, sum(row))) for number in row] for row in test.confusion]
