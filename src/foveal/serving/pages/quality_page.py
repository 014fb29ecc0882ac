"""Quality: how far people and the classifier agree, per class and over time, with how many cases that rests on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from markupsafe import Markup
from sqlalchemy import select

from foveal.evaluation.interval import Estimate, wilson
from foveal.serving.http.identity import Caller
from foveal.serving.pages import words
from foveal.serving.pages.arriving import viewer
from foveal.serving.pages.frame import PageRoute, show
from foveal.storage.agreement import Count, agreement_counts, review_counts
from foveal.storage.tables import classifiers
from foveal.web.svg import element

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PERIODS = {"30": "30 days", "90": "90 days", "365": "a year", "": "all time"}
FEW = 10  # cases, below which a proportion says little
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640.0, 220.0, 44.0, 44.0, 12.0
MOST_WEEKS = 52
LEAST_MATRIX, MOST_MATRIX = 2, 30


@dataclass(frozen=True)
class Share:
    """A number of cases among others, with its interval; none where there are no others."""

    hits: int
    n: int
    estimate: Estimate | None

    @property
    def few(self) -> bool:
        """Whether it rests on so few cases that it says little."""
        return self.n < FEW


@dataclass(frozen=True)
class Quality:
    """What the page shows."""

    overall: Share
    abstained: Share
    rejected: Share
    by_class: Sequence[tuple[str, Share, Share]]  # where the classifier said it; where people say it
    weeks: Sequence[tuple[int, Share]]
    labels: Sequence[str]
    confusion: dict[tuple[str, str], int]  # (leading, final) → cases


def share_of(counts: Iterable[Count], hit: Callable[[Count], bool]) -> Share:
    """Return how many of the cases in `counts` are hits."""
    listed = list(counts)
    n, hits = sum(one.cases for one in listed), sum(one.cases for one in listed if hit(one))
    return Share(hits, n, wilson(hits, n) if n else None)


def quality_of(counts: Sequence[Count]) -> Quality:
    """Return the figures of `counts`.

    Agreement is of cases that the classifier answered and people gave a label; those it abstained from, and those
    that were rejected as of no class, are counted apart.
    """
    labelled = [one for one in counts if one.label is not None]
    answered = [one for one in labelled if not one.abstained]
    labels = sorted({one.leading for one in labelled} | {one.label for one in labelled if one.label is not None})
    confusion: dict[tuple[str, str], int] = {}
    for one in answered:
        assert one.label is not None
        confusion[one.leading, one.label] = confusion.get((one.leading, one.label), 0) + one.cases
    weeks = sorted({one.week for one in answered})[-MOST_WEEKS:]
    return Quality(
        overall=share_of(answered, _agrees),
        abstained=share_of([one for one in labelled if one.abstained], _agrees),
        rejected=share_of(counts, lambda one: one.verdict == "reject"),
        by_class=[
            (
                name,
                share_of([one for one in answered if one.leading == name], _agrees),
                share_of([one for one in answered if one.label == name], _agrees),
            )
            for name in labels
        ],
        weeks=[(week, share_of([one for one in answered if one.week == week], _agrees)) for week in weeks],
        labels=labels,
        confusion=confusion,
    )


@router.get("/quality")
def quality(
    request: Request,
    caller: Annotated[Caller, Depends(viewer("read"))],
    period: Annotated[str, Query(max_length=8)] = "",
    classifier: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show the figures of a period and of one classifier or of all."""
    period = period if period in PERIODS else ""
    since = 0 if not period else int((time.time() - int(period) * 86_400) * 1e6)
    with request.app.state.service.database.read() as connection:
        counts = agreement_counts(connection, since=since, classifier_hash=classifier or None)
        standing = review_counts(connection)
        known = connection.execute(select(classifiers.c.hash, classifiers.c.name).order_by(classifiers.c.loaded_at))
        names = [(row.hash, row.name) for row in known]
    found = quality_of(counts)
    return show(
        request,
        "quality.html.jinja",
        caller,
        title="Quality",
        quality=found,
        chart=over_time(found.weeks),
        matrix=LEAST_MATRIX <= len(found.labels) <= MOST_MATRIX,
        standing=standing,
        periods=PERIODS,
        period=period,
        classifier=classifier,
        classifiers=names,
        few=FEW,
    )


def over_time(weeks: Sequence[tuple[int, Share]]) -> Markup:
    """Return the agreement of each week with its interval as a drawing."""
    inner = WIDTH - LEFT - 10
    height = HEIGHT - TOP - BOTTOM

    def at(share: float) -> float:
        return TOP + (1 - share) * height

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - 10, y1=at(tick), y2=at(tick)))
        label = f"{100 * tick:.0f} %"
        parts.append(element("text", label, class_="tick", x=LEFT - 8, y=at(tick) + 4, text_anchor="end"))
    every = max(1, len(weeks) // 6)
    points = []
    for number, (week, share) in enumerate(weeks):
        x = LEFT + inner * (number + 0.5) / len(weeks)
        if number % every == 0:
            day = words.moment(week)[5:10]
            parts.append(element("text", day, class_="tick", x=x, y=HEIGHT - 24, text_anchor="middle"))
            parts.append(element("text", f"n {share.n}", class_="tick", x=x, y=HEIGHT - 8, text_anchor="middle"))
        if share.estimate is None:
            continue
        said = f"week of {words.moment(week)[:10]}: {share.hits} of {share.n}"
        parts.append(
            element("line", class_="whisker", x1=x, x2=x, y1=at(share.estimate.low), y2=at(share.estimate.high))
        )
        points.append((x, at(share.estimate.value), said, share.few))
    if len(points) > 1:
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y, _, _ in points)
        parts.append(element("path", class_="line", d=path))
    for x, y, said, few in points:
        parts.append(element("circle", element("title", said), class_="dot few" if few else "dot", cx=x, cy=y, r=4))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        class_="frame",
        role="img",
        aria_label=f"Agreement by week, {len(weeks)} weeks; the same figures are in the table below.",
    )


def _agrees(one: Count) -> bool:
    return one.label == one.leading
