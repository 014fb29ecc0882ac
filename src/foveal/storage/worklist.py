"""The worklist: which cases people look at, and in which order.

Open cases stand in the order of urgency, and one that waits rises: an urgency of 1 counts as much as a day of
waiting. All cases age alike, so their order among each other does not change while nothing happens to them, and a
position stays where it is from page to page.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, or_, select, true
from sqlalchemy import cast as sql_cast
from sqlalchemy.types import Double

from foveal.storage.tables import cases, explanations, images, predictions

DAY_US = 86_400_000_000
LONGEST_PAGE = 200

_c = cases.c
_unsigned = or_(_c.review.is_(None), _c.review == "second-opinion")
VIEWS: Mapping[str, ColumnElement[bool]] = MappingProxyType(
    {
        "open": and_(_c.state == "answered", _unsigned),
        "reviewed": and_(_c.review.isnot(None), _c.review != "second-opinion", _c.state != "erased"),
        "waiting": _c.state == "waiting",
        "quarantined": and_(_c.state == "quarantined", _unsigned),
        "all": true(),
    }
)
_urgency = _c.urgency * float(DAY_US) - sql_cast(_c.received_at, Double)
_newest = sql_cast(_c.received_at, Double)


@dataclass(frozen=True)
class Wanted:
    """Which cases are shown."""

    view: str = "open"
    verdict: str | None = None  # accept, amend, reject, second-opinion
    leading: str | None = None  # the class that leads
    abstained: bool | None = None
    subject: str | None = None  # a part of the pseudonym


def page_of(connection: Connection, wanted: Wanted, *, after: str | None = None, limit: int = 50) -> list[RowMapping]:
    """Return rows of `cases` in order, those that come behind the case `after` only."""
    query = _ordered(wanted)
    if after is not None and (anchor := _place(connection, wanted, after)) is not None:
        query = query.where(_behind(wanted, anchor, after))
    return list(connection.execute(query.limit(min(limit, LONGEST_PAGE))).mappings())


def neighbours(connection: Connection, wanted: Wanted, case_id: str) -> tuple[str | None, str | None]:
    """Return the ids of the cases before and behind `case_id`, which need not be among those wanted itself."""
    anchor = _place(connection, wanted, case_id)
    if anchor is None:
        return None, None
    position = _position(wanted)
    behind = select(_c.id).where(_conditions(wanted), _behind(wanted, anchor, case_id))
    before = select(_c.id).where(_conditions(wanted), or_(position > anchor, and_(position == anchor, _c.id < case_id)))
    following = connection.execute(behind.order_by(position.desc(), _c.id).limit(1)).scalar()
    preceding = connection.execute(before.order_by(position, _c.id.desc()).limit(1)).scalar()
    return preceding, following


def shares_of(connection: Connection, rows: Sequence[RowMapping], classes: Collection[str]) -> dict[str, float]:
    """Return case → the probability that its answer gives to `classes` together, of those `rows` that have one."""
    answers = [row["prediction_id"] for row in rows if row["prediction_id"] is not None]
    if not classes or not answers:
        return {}
    query = select(predictions.c.case_id, predictions.c.probabilities).where(predictions.c.id.in_(answers))
    return {
        case_id: sum(share for name, share in json.loads(shares).items() if name in classes)
        for case_id, shares in connection.execute(query)
    }


def view_counts(connection: Connection) -> dict[str, int]:
    """Return how many cases each view holds."""
    columns = [func.count().filter(condition).label(name) for name, condition in VIEWS.items()]
    row = connection.execute(select(*columns).select_from(cases)).mappings().one()
    return {name: int(row[name]) for name in VIEWS}


def earlier_results(connection: Connection, case_id: str, *, limit: int = 20) -> list[RowMapping]:
    """Return other cases of the same subject or with the same image, the newest first."""
    own = connection.execute(
        select(_c.subject, images.c.sha256).join(images, images.c.case_id == _c.id).where(_c.id == case_id)
    ).first()
    if own is None:
        return []
    same_image = images.c.sha256 == own.sha256
    same = same_image if own.subject is None else or_(same_image, _c.subject == own.subject)
    query = (
        select(cases, same_image.label("same_image"))
        .join(images, images.c.case_id == _c.id)
        .where(same, _c.id != case_id, _c.state != "erased")
        .order_by(_c.received_at.desc(), _c.id.desc())
        .limit(limit)
    )
    return list(connection.execute(query).mappings())


def kept_maps(connection: Connection, prediction_id: str) -> list[RowMapping]:
    """Return the heat maps that were made of a prediction: method and target."""
    query = select(explanations.c.method, explanations.c.target, explanations.c.made_at)
    return list(connection.execute(query.where(explanations.c.prediction_id == prediction_id)).mappings())


def classes_seen(connection: Connection, *, limit: int = 200) -> list[str]:
    """Return the classes that some prediction was led by."""
    query = select(predictions.c.leading).distinct().order_by(predictions.c.leading).limit(limit)
    return list(connection.execute(query).scalars())


def _ordered(wanted: Wanted) -> Select[Any]:
    return select(cases).where(_conditions(wanted)).order_by(_position(wanted).desc(), _c.id)


def _position(wanted: Wanted) -> ColumnElement[float]:
    return _urgency if wanted.view == "open" else _newest


def _place(connection: Connection, wanted: Wanted, case_id: str) -> float | None:
    return connection.execute(select(_position(wanted)).where(_c.id == case_id)).scalar()


def _behind(wanted: Wanted, anchor: float, case_id: str) -> ColumnElement[bool]:
    position = _position(wanted)
    return or_(position < anchor, and_(position == anchor, _c.id > case_id))


def _conditions(wanted: Wanted) -> ColumnElement[bool]:
    found = [VIEWS[wanted.view]]
    if wanted.verdict is not None:
        found.append(_c.review == wanted.verdict)
    if wanted.leading is not None:
        found.append(_c.leading == wanted.leading)
    if wanted.abstained is not None:
        found.append(_c.abstained.isnot(None) if wanted.abstained else _c.abstained.is_(None))
    if wanted.subject is not None:
        found.append(_c.subject.icontains(wanted.subject, autoescape=True))
    return and_(*found)
