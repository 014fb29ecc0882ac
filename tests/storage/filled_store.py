"""A store with cases in every state, as a service leaves it."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import insert

from foveal.storage import jobs, tables
from foveal.storage.blobs import Blobs
from foveal.storage.cases import Predicted, Received, insert_answered, insert_waiting
from foveal.storage.database import Database
from foveal.storage.folder import DataFolder
from foveal.storage.heads import sign_last, signing_key
from foveal.storage.ids import new_id, now_us
from foveal.storage.problems import report_problem
from foveal.storage.reviews import add_review
from foveal.storage.trail import Event, append

NAME = "MUELLER-HANS.png"
SUBJECT = "PATIENT-0815"
REASON = "Herr Mueller was seen before"


def receive(database: Database, blobs: Blobs, content: bytes, *, answered: bool = True) -> str:
    """Receive one image as a service does, and return its case."""
    with blobs.lock:
        (sha256,) = blobs.put([content])
        received = Received(new_id(), new_id(), now_us(), "guest", "http", sha256, len(content), NAME, SUBJECT)
        rows, events = insert_waiting(received), [received.event()]
        if answered:
            predicted = Predicted(
                new_id(), received.case_id, received.image_id, now_us(), "c" * 64, "openvino", sha256, "p" * 64,
                "normal", 0.1 + 0.2, None, 0.3, {"normal": 0.1 + 0.2, "pneumonia": 1 / 3}, ["normal"], None, {}, 1.5,
            )  # fmt: skip
            rows = insert_answered(received, predicted, {"format": "PNG", "width": 3, "height": 2}, 0.5)
            events.append(predicted.event("service"))
        with database.write() as connection:
            for table, row in rows:
                connection.execute(insert(table), row)
            if not answered:
                jobs.add(connection, "predict", received.case_id, {"name": NAME})
            append(connection, events)
    return received.case_id


def explain(database: Database, blobs: Blobs, case_id: str, content: bytes) -> None:
    (sha256,) = blobs.put([content])
    with database.write() as connection:
        prediction = connection.execute(
            tables.predictions.select().where(tables.predictions.c.case_id == case_id)
        ).one()
        row = {
            "id": new_id(), "case_id": case_id, "prediction_id": prediction.id, "made_at": now_us(),
            "method": "grad_cam", "target": "normal", "map_sha256": sha256, "facts": json.dumps({}),
        }  # fmt: skip
        connection.execute(insert(tables.explanations), row)
        append(connection, [Event("explained", "guest", case_id, {"prediction": prediction.id, "map": sha256})])


def review(database: Database, case_id: str) -> None:
    with database.write() as connection:
        add_review(connection, case_id=case_id, reviewer="guest", verdict="reject", version=0, reason=REASON)
        report_problem(connection, reporter="guest", description=REASON, case_id=case_id)


def filled(database: Database, folder: DataFolder, count: int = 6) -> list[str]:
    """Fill the store; the first case is reviewed and explained, the last one still waits. The head is signed."""
    blobs = Blobs(folder.blobs)
    made = [receive(database, blobs, f"image {number}".encode() * 50) for number in range(count - 1)]
    explain(database, blobs, made[0], b"a map")
    review(database, made[0])
    made.append(receive(database, blobs, b"not answered yet", answered=False))
    with database.read() as connection:
        sign_last(connection, signing_key(folder.keys), folder.heads)
    return made


def everything(database: Database, blobs: Blobs) -> dict[str, object]:
    """All rows and all files that rows need."""
    found: dict[str, object] = {}
    with database.read() as connection:
        for table in tables.metadata.sorted_tables:
            wanted = table.select().order_by(*table.primary_key.columns)
            found[table.name] = [dict(row) for row in connection.execute(wanted).mappings()]
    found["files"] = {name: blobs.get(name) for name in blobs.names()}
    return found


def bytes_below(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
