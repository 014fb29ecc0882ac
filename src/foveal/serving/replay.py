"""Replay: a stored case computed anew, by the classifier and engine that answered it, from the image that was kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from foveal.classifier.light import LightClassifier, find_stored, open_light
from foveal.errors import StorageError
from foveal.preprocess import decode
from foveal.serving.store import Store
from foveal.storage import tables
from foveal.storage.cases import find_case

if TYPE_CHECKING:
    from foveal.classifier.classifier import Classifier

TOLERANCE = 1e-6  # of a probability: the same engine on another processor rounds otherwise


@dataclass(frozen=True)
class Replayed:
    """What was said then and what is said now."""

    case_id: str
    classifier_hash: str
    engine: str
    then: dict[str, float]
    now: dict[str, float]
    same_pixels: bool

    @property
    def difference(self) -> float:
        """The largest difference of a probability."""
        return max(abs(self.then[name] - self.now[name]) for name in self.then)

    @property
    def holds(self) -> bool:
        """Whether the same is said."""
        return self.same_pixels and self.difference <= TOLERANCE


def replay(store: Store, case_id: str, classifier: Path | None = None) -> Replayed:
    """Answer the newest prediction of a case anew.

    Args:
        store: where it is kept.
        case_id: which case.
        classifier: where its classifier lies now; by default where it was loaded from.

    Raises StorageError in one sentence where that is not possible any more: the image was erased, the classifier is
    another one.
    """
    with store.database.read() as connection:
        case = find_case(connection, case_id)
        if case is None or case.prediction is None:
            raise StorageError(f"There is no answered case {case_id} in this store.")
        row = case.prediction
        c = tables.classifiers.c
        path = connection.execute(select(c.path).where(c.hash == row["classifier_hash"])).scalar_one_or_none()
    if not case.image["kept"]:
        raise StorageError(f"The image of case {case_id} was erased, so it cannot be computed anew.")
    content = store.blobs.get(case.image["sha256"])
    where = classifier or Path(str(path))
    if classifier is None and (path is None or not where.exists()):
        raise StorageError(f"The classifier of case {case_id} is not at {path} any more; name it with --classifier.")
    served = _opened(where, row["engine"])
    if served.hash != row["classifier_hash"]:
        raise StorageError(
            f"{where} is another classifier ({served.hash[:12]}) than the one that answered "
            f"({row['classifier_hash'][:12]})."
        )
    pixels = served.preprocess.geometry(decode(content))
    answers = served.answer(pixels[None])
    now = dict(zip(served.classes, answers.probabilities[0].tolist(), strict=True))
    return Replayed(
        case_id, row["classifier_hash"], row["engine"], json.loads(row["probabilities"]), now,
        hashlib.sha256(pixels.tobytes()).hexdigest() == row["pixels_hash"],
    )  # fmt: skip


def _opened(path: Path, engine: str) -> LightClassifier | Classifier:
    """Return the classifier at `path`, answered by `engine`: by a stored one without torch."""
    if stored := find_stored(path, engine):
        return open_light(stored)
    from foveal.classifier.classifier import Classifier

    return Classifier.load(path, device="cpu")
