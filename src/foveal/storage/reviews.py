"""What people say of cases: accept, amend, reject, or ask for a second opinion.

A review names the version of the case that its author saw. Where another review was made since, it is refused with
what was made, so that two people never overwrite each other. A review is never changed, and the classifier's answer
stands beside it as it was: what people say goes into columns of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select

from foveal.errors import UsageError, nearest
from foveal.storage import jobs, trail
from foveal.storage.faults import refuse_nul
from foveal.storage.ids import new_id, now_us
from foveal.storage.tables import cases, predictions, reviews

ACCEPT, AMEND, REJECT, SECOND = "accept", "amend", "reject", "second-opinion"
VERDICTS = (ACCEPT, AMEND, REJECT, SECOND)
DECIDING = (ACCEPT, AMEND, REJECT)
LONGEST_REASON = 4000


@dataclass(frozen=True)
class Review:
    """One verdict of one person on one case."""

    id: str
    case_id: str
    version: int
    made_at: int
    reviewer: str
    verdict: str
    label: str | None
    reason: str | None
    prediction_id: str | None
    request_key: str | None


class ReviewRefusedError(UsageError):
    """A review that cannot be made as it is; `code` says why for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ReviewConflictError(ReviewRefusedError):
    """Others reviewed the case meanwhile; `newer` are their reviews, the oldest first."""

    def __init__(self, seen: int, version: int, newer: Sequence[Review]) -> None:
        count = len(newer)
        was = "a review was" if count == 1 else f"{count} reviews were"
        super().__init__("review_conflict", f"While you looked at version {seen} of this case, {was} made of it.")
        self.seen, self.version, self.newer = seen, version, tuple(newer)


def add_review(
    connection: Connection,
    *,
    case_id: str,
    reviewer: str,
    verdict: str,
    version: int,
    label: str | None = None,
    reason: str | None = None,
    request_key: str | None = None,
    classes: Sequence[str] = (),
) -> Review:
    """Write one review into the caller's write transaction, with the case's new state and a row of the trail.

    `version` is the case's version that the reviewer saw. The same `request_key` of the same reviewer gives back the
    review that it made, so that a signature sent twice signs once. `classes` name the labels of a case that no
    classifier has answered yet. Raises ReviewConflictError, ReviewRefusedError with a code, or UnfitError for a text
    that cannot be stored.
    """
    query = select(cases).where(cases.c.id == case_id).with_for_update()  # PostgreSQL: one reviewer at a time
    case = connection.execute(query).mappings().first()
    if case is None:
        raise ReviewRefusedError("no_case", "There is no such case.")
    label, reason = (label or "").strip() or None, (reason or "").strip() or None
    refuse_nul(reason, request_key)
    if request_key is not None:
        made = _made_before(connection, case_id, reviewer, request_key)
        if made is not None:
            return _same(made, verdict, label, reason)
    _check_version(connection, case, version)
    said = _label(connection, case, verdict, label, classes)
    _check_reason(verdict, reason)
    _check_person(connection, case, reviewer)
    review = Review(
        id=new_id(),
        case_id=case_id,
        version=version + 1,
        made_at=now_us(),
        reviewer=reviewer,
        verdict=verdict,
        label=said,
        reason=reason,
        prediction_id=case["prediction_id"],
        request_key=request_key,
    )
    connection.execute(reviews.insert().values(**vars(review)))
    changes: dict[str, object] = {"version": review.version, "review": verdict}
    if verdict != SECOND:
        changes["final_label"] = said
        if case["state"] == "quarantined":
            jobs.settle(connection, case_id)
    connection.execute(cases.update().where(cases.c.id == case_id).values(**changes))
    trail.append(connection, [trail.Event("reviewed", reviewer, case_id, _body(review))])
    return review


def reviews_of(connection: Connection, case_id: str, *, after_version: int = 0) -> list[Review]:
    """Return the reviews of a case, the oldest first."""
    query = select(reviews).where(reviews.c.case_id == case_id, reviews.c.version > after_version)
    return [_review(row) for row in connection.execute(query.order_by(reviews.c.version)).mappings()]


def who_may_not(connection: Connection, case_id: str) -> frozenset[str]:
    """Return who may not sign a case for which a second opinion is asked: who asked, and who signed before."""
    made = reviews_of(connection, case_id)
    if not made or made[-1].verdict != SECOND:
        return frozenset()
    barred = {made[-1].reviewer}
    for review in reversed(made):
        barred.add(review.reviewer)
        if review.verdict != SECOND:
            break
    return frozenset(barred)


def _check_version(connection: Connection, case: RowMapping, seen: int) -> None:
    if seen == case["version"]:
        return
    if not 0 <= seen < case["version"]:
        raise ReviewRefusedError(
            "no_such_version", f"The case has version {case['version']}; nobody can have seen version {seen}."
        )
    raise ReviewConflictError(seen, case["version"], reviews_of(connection, case["id"], after_version=seen))


def _label(
    connection: Connection, case: RowMapping, verdict: str, label: str | None, classes: Sequence[str]
) -> str | None:
    """Return the label that a verdict gives to a case."""
    if verdict not in VERDICTS:
        raise ReviewRefusedError(
            "unknown_verdict", f'There is no verdict "{verdict}"; there are {", ".join(VERDICTS)}.'
        )
    if case["state"] == "erased":
        raise ReviewRefusedError("erased", "The case was erased; there is nothing left to review.")
    if verdict == ACCEPT:
        if case["prediction_id"] is None:
            raise ReviewRefusedError("needs_prediction", "The classifier has not answered: there is nothing to accept.")
        if label is not None and label != case["leading"]:
            raise ReviewRefusedError(
                "label_of_accept", f'To accept is to say "{case["leading"]}"; to say something else is to amend.'
            )
        return str(case["leading"])
    if verdict == AMEND:
        return _amended(connection, case, label, classes)
    if label is not None:
        raise ReviewRefusedError("label_not_asked", f'A verdict of "{verdict}" gives no label.')
    return None


def _amended(connection: Connection, case: RowMapping, label: str | None, classes: Sequence[str]) -> str:
    if case["prediction_id"] is not None:
        query = select(predictions.c.probabilities).where(predictions.c.id == case["prediction_id"])
        classes = list(json.loads(connection.execute(query).scalar_one()))
    if label is None or label not in classes:
        near = nearest(label or "", classes)
        raise ReviewRefusedError("unknown_label", f"To amend needs one of the classifier's classes as a label.{near}")
    if case["prediction_id"] is not None and label == case["leading"]:
        raise ReviewRefusedError("label_of_amend", f'"{label}" is what the classifier says: accept it.')
    return label


def _check_reason(verdict: str, reason: str | None) -> None:
    if verdict in (AMEND, REJECT) and reason is None:
        raise ReviewRefusedError("needs_reason", f"To {verdict} needs a reason.")
    if reason is not None and len(reason) > LONGEST_REASON:
        raise ReviewRefusedError("reason_too_long", f"A reason has at most {LONGEST_REASON} characters.")


def _check_person(connection: Connection, case: RowMapping, reviewer: str) -> None:
    if case["review"] == SECOND and reviewer in who_may_not(connection, case["id"]):
        raise ReviewRefusedError("same_person", "A second opinion comes from another person than the first.")


def _made_before(connection: Connection, case_id: str, reviewer: str, request_key: str) -> Review | None:
    query = select(reviews).where(
        reviews.c.case_id == case_id, reviews.c.reviewer == reviewer, reviews.c.request_key == request_key
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else _review(row)


def _same(made: Review, verdict: str, label: str | None, reason: str | None) -> Review:
    if (made.verdict, made.reason) != (verdict, reason) or label not in (None, made.label):
        raise ReviewRefusedError("request_key_reused", "This request key has signed something else on this case.")
    return made


def _body(review: Review) -> dict[str, object]:
    """Return what the trail keeps: a reason may name a person, so only a hash that binds it to its review."""
    return {
        "review": review.id,
        "version": review.version,
        "verdict": review.verdict,
        "label": review.label,
        "prediction": review.prediction_id,
        "reason_hash": None if review.reason is None else reason_hash(review.id, review.reason),
    }


def reason_hash(review_id: str, reason: str) -> str:
    """Return the SHA-256 that binds a reason to its review."""
    return hashlib.sha256(f"{review_id}\n{reason}".encode()).hexdigest()


def _review(row: RowMapping) -> Review:
    return Review(**{name: row[name] for name in Review.__dataclass_fields__})
