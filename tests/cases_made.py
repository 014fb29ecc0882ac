"""Cases made up row by row, for tests of what is done with them."""

from __future__ import annotations

import json

from sqlalchemy import Connection

from foveal.storage.ids import new_id, now_us
from foveal.storage.tables import cases, images, predictions

CLASSES = ("normal", "effusion", "pneumonia")


def make_case(
    connection: Connection,
    *,
    probabilities: dict[str, float] | None = None,
    abstained: str | None = None,
    state: str = "answered",
    classifier_hash: str = "c" * 64,
    sha256: str = "a" * 64,
    size: tuple[int, int] = (224, 224),
    **columns: object,
) -> str:
    """Insert a case, with a prediction where it is answered, and return its id."""
    case_id, image_id, prediction_id = new_id(), new_id(), new_id()
    shares = probabilities or dict(zip(CLASSES, (0.7, 0.2, 0.1), strict=True))
    leading = max(shares, key=shares.__getitem__)
    answered = {
        "prediction_id": prediction_id, "leading": leading, "probability": shares[leading], "abstained": abstained,
        "uncertainty": 0.8,
    }  # fmt: skip
    row = {"received_at": now_us(), "sender": "guest", "via": "page", "name": "a.png", "subject": None, "urgency": 0.3}
    row |= {"id": case_id, "state": state, "version": 0} | (answered if state == "answered" else {}) | columns
    connection.execute(cases.insert().values(**row))
    connection.execute(
        images.insert().values(
            id=image_id, case_id=case_id, sha256=sha256, size=1000, format="PNG", width=size[0], height=size[1],
            kept=True,
        )
    )  # fmt: skip
    if state == "answered":
        connection.execute(
            predictions.insert().values(
                id=prediction_id, case_id=case_id, image_id=image_id, made_at=now_us(),
                classifier_hash=classifier_hash, engine="openvino", input_hash=sha256, pixels_hash="b" * 64,
                leading=leading, probability=shares[leading], abstained=abstained, uncertainty=0.8,
                probabilities=json.dumps(shares), prediction_set=json.dumps([leading]), threshold=None,
                preprocessing=json.dumps({"resized": "224×224"}), latency_ms=12.5,
            )
        )  # fmt: skip
    return case_id
