"""Whether the store still says what the trail says: every case, prediction, review and image held against its event.

The trail shows that its own rows are as they were written; here the other tables are held against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, select

from foveal.storage import tables
from foveal.storage.blobs import Blobs
from foveal.storage.reviews import SECOND, reason_hash, reviews_of

BATCH = 500


@dataclass(frozen=True)
class Disagreement:
    """A row that is not what the trail says it was."""

    table: str
    id: str
    sentence: str


@dataclass(frozen=True)
class Witness:
    """What was compared, and what does not agree."""

    predictions: int
    reviews: int
    images: int  # whose bytes were read, 0 where there was nothing to read from
    disagreements: tuple[Disagreement, ...]


def hear(connection: Connection, blobs: Blobs | None = None, *, most: int = 100) -> Witness:
    """Hold predictions and reviews against the trail, and the files in `blobs` against their names.

    Returns the first `most` disagreements: a prediction without an event, an event without its prediction, one
    that was changed, an image whose bytes are gone or altered though its row says that they are kept.
    """
    found: list[Disagreement] = []
    predictions = _hold(connection, found, "predicted", "prediction", tables.predictions, _of_prediction)
    reviews = _hold(connection, found, "reviewed", "review", tables.reviews, _of_review)
    _hold(connection, found, "received", "image", tables.images, _of_image)
    cases = tables.cases.c
    unheld = ~exists().where(cases.id == tables.images.c.case_id)
    bereft = connection.scalars(select(tables.images.c.case_id).where(unheld).distinct().order_by("case_id"))
    found += [Disagreement("cases", case_id, "its image is there, and it is not") for case_id in bereft]
    _hold_cases(connection, found)
    images = 0
    if blobs is not None:
        c = tables.images.c
        for row in connection.execute(select(c.id, c.sha256).where(c.kept.is_(True)).order_by(c.id)):
            images += 1
            try:
                blobs.get(row.sha256)
            except Exception as error:  # noqa: BLE001  # missing, altered, unreadable: all are told
                found.append(Disagreement("images", row.id, str(error)))
    return Witness(predictions, reviews, images, tuple(found[:most]))


def _hold(connection: Connection, found: list[Disagreement], kind: str, name: str, table: Any, told: Any) -> int:
    """Compare each row of `table` with the event of `kind` whose body names it; return how many rows there are."""
    events: dict[str, tuple[str, dict[str, Any]]] = {}
    c = tables.trail.c
    for row in connection.execute(select(c.subject, c.body).where(c.kind == kind)):
        body = json.loads(row.body)
        if name in body:
            events[body[name]] = (row.subject, body)
    count = 0
    for stored in _rows(connection, table):
        count += 1
        event = events.pop(stored["id"], None)
        if event is None:
            found.append(Disagreement(table.name, stored["id"], "it has no row in the trail"))
            continue
        subject, body = event
        if subject != stored["case_id"]:
            found.append(Disagreement(table.name, stored["id"], "the trail tells it of another case"))
        different = [key for key, value in told(stored).items() if body.get(key) != value]
        if different:
            found.append(Disagreement(table.name, stored["id"], f"it differs from the trail in {', '.join(different)}"))
    found += [Disagreement(table.name, one, "the trail tells of it, and it is not there") for one in events]
    return count


def _hold_cases(connection: Connection, found: list[Disagreement]) -> None:
    """Compare what a case's row repeats, for the worklist, with its newest prediction and its reviews."""
    predictions = tables.predictions.c
    for case in _rows(connection, tables.cases):
        made = connection.execute(
            select(predictions.id, predictions.leading, predictions.probability, predictions.abstained)
            .where(predictions.case_id == case["id"])
            .order_by(predictions.id.desc())
            .limit(1)
        ).first()
        told = (case["prediction_id"], case["leading"], case["probability"], case["abstained"])
        if told != (tuple(made) if made is not None else (None,) * 4):
            found.append(Disagreement("cases", case["id"], "it does not say what its newest prediction says"))
        said = reviews_of(connection, case["id"])
        deciding = [one.label for one in said if one.verdict != SECOND]
        expected = (len(said), said[-1].verdict if said else None, deciding[-1] if deciding else None)
        if (case["version"], case["review"], case["final_label"]) != expected:
            found.append(Disagreement("cases", case["id"], "it does not say what its reviews say"))


def _rows(connection: Connection, table: Any) -> Iterator[Any]:
    after = ""
    while True:
        rows = connection.execute(select(table).where(table.c.id > after).order_by(table.c.id).limit(BATCH))
        batch = list(rows.mappings())
        yield from batch
        if len(batch) < BATCH:
            return
        after = batch[-1]["id"]


def _of_prediction(row: Any) -> dict[str, Any]:
    return {
        "image": row["image_id"], "classifier": row["classifier_hash"], "engine": row["engine"],
        "input": row["input_hash"], "pixels": row["pixels_hash"], "leading": row["leading"],
        "probabilities": json.loads(row["probabilities"]), "threshold": row["threshold"],
        "abstained": row["abstained"] is not None,
    }  # fmt: skip


def _of_image(row: Any) -> dict[str, Any]:
    return {"sha256": row["sha256"], "size": row["size"]}


def _of_review(row: Any) -> dict[str, Any]:
    told = {
        "version": row["version"], "verdict": row["verdict"], "label": row["label"],
        "prediction": row["prediction_id"],
    }  # fmt: skip
    if row["reason"] is not None:  # an erasure takes the words, and nothing else may
        told["reason_hash"] = reason_hash(row["id"], row["reason"])
    return told
