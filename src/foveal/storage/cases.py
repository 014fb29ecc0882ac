"""Cases: one image as it was received, what the classifier said of it, and where it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, or_, select, update

from foveal.storage import tables
from foveal.storage.trail import Event

WAITING, ANSWERED, QUARANTINED, ERASED = "waiting", "answered", "quarantined", "erased"
STATES = (WAITING, ANSWERED, QUARANTINED, ERASED)
LONGEST_LIST = 500

Rows = list[tuple[Table, dict[str, Any]]]


@dataclass(frozen=True)
class Received:
    """One image, before anything was made of it."""

    case_id: str
    image_id: str
    received_at: int
    sender: str
    via: str  # http, v2, page, watch
    sha256: str
    size: int  # bytes
    name: str | None = None
    subject: str | None = None

    def case(self) -> dict[str, Any]:
        """Return the row of `cases`, waiting."""
        return {
            "id": self.case_id, "received_at": self.received_at, "sender": self.sender, "via": self.via,
            "name": self.name, "subject": self.subject, "state": WAITING, "reason": None, "prediction_id": None,
            "leading": None, "probability": None, "abstained": None, "uncertainty": None, "urgency": 0.0,
            "version": 0, "review": None, "final_label": None,
        }  # fmt: skip

    def image(self) -> dict[str, Any]:
        """Return the row of `images`, not decoded yet."""
        return {
            "id": self.image_id, "case_id": self.case_id, "sha256": self.sha256, "size": self.size,
            "format": None, "width": None, "height": None, "kept": True,
        }  # fmt: skip

    def event(self) -> Event:
        """Return the event of the trail: ids and hashes, no name."""
        body = {"image": self.image_id, "sha256": self.sha256, "size": self.size, "via": self.via}
        return Event("received", self.sender, self.case_id, body)


@dataclass(frozen=True)
class Predicted:
    """What a classifier said of one image."""

    prediction_id: str
    case_id: str
    image_id: str
    made_at: int
    classifier_hash: str
    engine: str
    input_hash: str
    pixels_hash: str
    leading: str
    probability: float
    abstained: str | None
    uncertainty: float
    probabilities: Mapping[str, float]
    prediction_set: Sequence[str] | None
    threshold: str | None
    preprocessing: Mapping[str, Any]
    latency_ms: float

    def row(self) -> dict[str, Any]:
        """Return the row of `predictions`."""
        return {
            "id": self.prediction_id, "case_id": self.case_id, "image_id": self.image_id, "made_at": self.made_at,
            "classifier_hash": self.classifier_hash, "engine": self.engine, "input_hash": self.input_hash,
            "pixels_hash": self.pixels_hash, "leading": self.leading, "probability": self.probability,
            "abstained": self.abstained, "uncertainty": self.uncertainty,
            "probabilities": json.dumps(dict(self.probabilities), ensure_ascii=False),
            "prediction_set": None if self.prediction_set is None
            else json.dumps(list(self.prediction_set), ensure_ascii=False),
            "threshold": self.threshold, "preprocessing": json.dumps(dict(self.preprocessing), ensure_ascii=False),
            "latency_ms": self.latency_ms,
        }  # fmt: skip

    def case_values(self, urgency: float) -> dict[str, Any]:
        """Return what changes in the row of `cases`."""
        return {
            "state": ANSWERED, "reason": None, "prediction_id": self.prediction_id, "leading": self.leading,
            "probability": self.probability, "abstained": self.abstained, "uncertainty": self.uncertainty,
            "urgency": urgency,
        }  # fmt: skip

    def event(self, actor: str) -> Event:
        """Return the event of the trail, from which an altered row of `predictions` can be told."""
        body = {
            "prediction": self.prediction_id, "image": self.image_id, "classifier": self.classifier_hash,
            "engine": self.engine, "input": self.input_hash, "pixels": self.pixels_hash, "leading": self.leading,
            "probabilities": dict(self.probabilities), "abstained": self.abstained is not None,
            "threshold": self.threshold,
        }  # fmt: skip
        return Event("predicted", actor, self.case_id, body)


def insert_answered(received: Received, predicted: Predicted, form: Mapping[str, Any], urgency: float) -> Rows:
    """Return the rows of a case that was received and answered at once; `form` is the image's format and size."""
    return [
        (tables.cases, {**received.case(), **predicted.case_values(urgency)}),
        (tables.images, {**received.image(), **form}),
        (tables.predictions, predicted.row()),
    ]


def insert_waiting(received: Received) -> Rows:
    """Return the rows of a case that waits for its answer."""
    return [(tables.cases, received.case()), (tables.images, received.image())]


def answer_waiting(connection: Connection, predicted: Predicted, form: Mapping[str, Any], urgency: float) -> None:
    """Write the answer of a case that was waiting."""
    connection.execute(tables.predictions.insert(), predicted.row())
    connection.execute(update(tables.images).where(tables.images.c.id == predicted.image_id).values(**dict(form)))
    connection.execute(
        update(tables.cases).where(tables.cases.c.id == predicted.case_id).values(**predicted.case_values(urgency))
    )


@dataclass(frozen=True)
class Case:
    """A case with its image and its newest prediction, as they are stored."""

    case: RowMapping
    image: RowMapping
    prediction: RowMapping | None


def find_case(connection: Connection, case_id: str) -> Case | None:
    """Return the case with this id; None where there is none."""
    case = connection.execute(select(tables.cases).where(tables.cases.c.id == case_id)).mappings().first()
    if case is None:
        return None
    image = connection.execute(select(tables.images).where(tables.images.c.case_id == case_id)).mappings().one()
    prediction = None
    if case["prediction_id"] is not None:
        wanted = select(tables.predictions).where(tables.predictions.c.id == case["prediction_id"])
        prediction = connection.execute(wanted).mappings().first()
    return Case(case, image, prediction)


def classifier_names(connection: Connection) -> dict[str, str]:
    """Return hash → name of every classifier that answered here."""
    c = tables.classifiers.c
    return {row.hash: row.name for row in connection.execute(select(c.hash, c.name))}


@dataclass(frozen=True)
class Wanted:
    """Which cases are listed: of each choice, None is any."""

    state: str | None = None
    review: str | None = None  # a verdict; "open" is those without one
    label: str | None = None  # the class that leads
    sender: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    abstained: bool | None = None
    subject: str | None = None


def list_cases(
    connection: Connection, wanted: Wanted, *, limit: int = 100, before: str | None = None
) -> list[RowMapping]:
    """Return rows of `cases`, newest first, those with an id below `before` only: ids sort by the time of receipt."""
    chosen = select(tables.cases).where(*conditions(wanted)).order_by(tables.cases.c.id.desc())
    if before is not None:
        chosen = chosen.where(tables.cases.c.id < before)
    return list(connection.execute(chosen.limit(min(limit, LONGEST_LIST))).mappings())


def conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return the conditions on `cases` that `wanted` makes."""
    c = tables.cases.c
    made: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        made.append(c.state == wanted.state)
    if wanted.review == "open":
        made.append(and_(c.state == ANSWERED, or_(c.review.is_(None), c.review == "second-opinion")))
    elif wanted.review is not None:
        made.append(c.review == wanted.review)
    if wanted.label is not None:
        made.append(c.leading == wanted.label)
    if wanted.sender is not None:
        made.append(c.sender == wanted.sender)
    if wanted.since_us is not None:
        made.append(c.received_at >= wanted.since_us)
    if wanted.until_us is not None:
        made.append(c.received_at < wanted.until_us)
    if wanted.abstained is not None:
        made.append(c.abstained.is_not(None) if wanted.abstained else c.abstained.is_(None))
    if wanted.subject is not None:
        made.append(c.subject == wanted.subject)
    return made


def requested_before(connection: Connection, sender: str, key: str) -> tuple[str, list[Any]] | None:
    """Return (hash of the request, what became of its images) where `sender` used the idempotency `key` already."""
    c = tables.request_keys.c
    row = connection.execute(select(c.request_hash, c.case_ids).where(c.sender == sender, c.key == key)).first()
    return None if row is None else (row.request_hash, json.loads(row.case_ids))


def request_key(sender: str, key: str, request_hash: str, outcomes: Sequence[Any], at: int) -> dict[str, Any]:
    """Return the row of `request_keys` by which a repeated request is known.

    An outcome is the id of a case, or an object with the code and the sentence of a refusal.
    """
    return {
        "sender": sender, "key": key, "request_hash": request_hash, "case_ids": json.dumps(list(outcomes)),
        "made_at": at,
    }  # fmt: skip
