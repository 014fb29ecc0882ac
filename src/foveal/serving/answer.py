"""An answer as it goes out: the same object from the request that made it and from the store, years later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from foveal.storage.cases import Case, Predicted, Received

DISCLAIMER = "Investigational; not for diagnosis."


def answer_json(
    received: Received, predicted: Predicted, form: Mapping[str, Any], *, name: str, repeated: bool = False
) -> dict[str, Any]:
    """Return the answer of one image; `form` is its format, width and height, `name` the classifier's."""
    abstained = predicted.abstained
    return {
        "case": received.case_id,
        "prediction": predicted.prediction_id,
        "label": None if abstained else predicted.leading,
        "leading": predicted.leading,
        "abstained": abstained,
        "probabilities": dict(predicted.probabilities),
        "prediction_set": None if predicted.prediction_set is None else list(predicted.prediction_set),
        "uncertainty": {"entropy_nats": predicted.uncertainty},
        "threshold": predicted.threshold,
        "explanation": f"/v1/explain/{received.case_id}",
        "classifier": {"name": name, "hash": predicted.classifier_hash, "engine": predicted.engine},
        "input": {"sha256": received.sha256, "size": received.size, **form},
        "preprocessing": dict(predicted.preprocessing),
        "latency_ms": round(predicted.latency_ms, 2),
        "received_at": iso(received.received_at),
        "repeated": repeated,
        "disclaimer": DISCLAIMER,
    }


def stored_answer(case: Case, *, name: str, repeated: bool = False) -> dict[str, Any] | None:
    """Return the answer of a stored case; None where it has none."""
    if case.prediction is None:
        return None
    row = case.prediction
    predicted = Predicted(
        row["id"], row["case_id"], row["image_id"], row["made_at"], row["classifier_hash"], row["engine"],
        row["input_hash"], row["pixels_hash"], row["leading"], row["probability"], row["abstained"],
        row["uncertainty"], json.loads(row["probabilities"]),
        None if row["prediction_set"] is None else json.loads(row["prediction_set"]),
        row["threshold"], json.loads(row["preprocessing"]), row["latency_ms"],
    )  # fmt: skip
    form = {key: case.image[key] for key in ("format", "width", "height")}
    return answer_json(_received(case), predicted, form, name=name, repeated=repeated)


def case_json(case: Case, *, name: str) -> dict[str, Any]:
    """Return all that is known of a case: where it stands, its answer, and what people made of it."""
    row = case.case
    return {
        "case": row["id"],
        "state": row["state"],
        "reason": row["reason"],
        "received_at": iso(row["received_at"]),
        "sender": row["sender"],
        "via": row["via"],
        "name": row["name"],
        "subject": row["subject"],
        "version": row["version"],
        "review": row["review"],
        "final_label": row["final_label"],
        "image": {key: case.image[key] for key in ("sha256", "size", "format", "width", "height", "kept")},
        "answer": stored_answer(case, name=name),
        "href": f"/v1/cases/{row['id']}",
    }


def iso(at_us: int) -> str:
    """Return microseconds since 1970 as an ISO 8601 time in UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _received(case: Case) -> Received:
    row, image = case.case, case.image
    return Received(
        row["id"], image["id"], row["received_at"], row["sender"], row["via"], image["sha256"], image["size"],
        row["name"], row["subject"],
    )  # fmt: skip
