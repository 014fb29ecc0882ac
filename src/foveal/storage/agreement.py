"""What people and classifiers said of the same cases, counted in the database.

Of each case the newest deciding review counts, against the prediction that it was made of. Whoever shows the counts
makes proportions and intervals of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from foveal.storage.reviews import DECIDING
from foveal.storage.tables import cases, predictions, reviews

WEEK_US = 7 * 86_400_000_000
MONDAY_US = 4 * 86_400_000_000  # 1970 began on a Thursday; weeks here begin on Mondays, UTC


@dataclass(frozen=True)
class Count:
    """How many cases of one week were led by one class and came to one verdict and label."""

    week: int  # its Monday, microseconds since 1970
    leading: str
    abstained: bool
    verdict: str
    label: str | None
    cases: int


def agreement_counts(connection: Connection, *, since: int = 0, classifier_hash: str | None = None) -> list[Count]:
    """Return the counts of the cases that were decided since `since`, the oldest week first."""
    newest = (
        select(reviews.c.case_id, func.max(reviews.c.version).label("version"))
        .where(reviews.c.verdict.in_(DECIDING))
        .group_by(reviews.c.case_id)
        .subquery()
    )
    week = ((reviews.c.made_at - MONDAY_US) // WEEK_US).label("week")
    abstained = predictions.c.abstained.isnot(None).label("abstained")
    keys = (week, predictions.c.leading, abstained, reviews.c.verdict, reviews.c.label)
    query = (
        select(*keys, func.count().label("cases"))
        .select_from(reviews)
        .join(newest, and_(newest.c.case_id == reviews.c.case_id, newest.c.version == reviews.c.version))
        .join(predictions, predictions.c.id == reviews.c.prediction_id)
        .where(reviews.c.made_at >= since)
        .group_by(*keys)
        .order_by(*keys)
    )
    if classifier_hash is not None:
        query = query.where(predictions.c.classifier_hash == classifier_hash)
    return [
        Count(row.week * WEEK_US + MONDAY_US, row.leading, bool(row.abstained), row.verdict, row.label, row.cases)
        for row in connection.execute(query)
    ]


def review_counts(connection: Connection) -> dict[str, int]:
    """Return how many answered cases stand where: unreviewed, second-opinion, and each verdict."""
    query = select(cases.c.review, func.count()).where(cases.c.state == "answered").group_by(cases.c.review)
    return {review or "unreviewed": count for review, count in connection.execute(query)}
