"""The ledger: what a service acknowledged, written down by who was told, and held against its store afterwards.

    python -m tests.serving.ledger [--kills 50] [--only kills disk-full …] [--seconds 10] [--classifier RUN]

Each line is in the file, fsynced, before the next request of its sender goes out. Nothing lost means: everything
acknowledged is in the store exactly once, with the bytes, the answer and the trail that belong to it; what was never
acknowledged is sent again under the same key, until it is.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLOSE = 1e-6  # between probabilities of the same image in batches of another size

Expected = Callable[[Sequence[bytes], str], list[dict[str, float]]]  # (images, classifier's hash) → probabilities


class Ledger:
    """An fsynced file of what was acknowledged, and the bytes of what was sent."""

    def __init__(self, file: Path) -> None:
        self.entries: list[dict[str, Any]] = []
        self.contents: dict[str, bytes] = {}  # by SHA-256
        self._file, self._lock = file, threading.Lock()

    def sent(self, content: bytes) -> str:
        """Remember what is about to be sent."""
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            self.contents[digest] = content
        return digest

    def acknowledged(self, way: str, key: str, **facts: Any) -> None:
        """Write down what the service has said is kept."""
        entry = {"way": way, "key": key, **facts}
        with self._lock:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.entries.append(entry)

    def of(self, *ways: str) -> list[dict[str, Any]]:
        with self._lock:
            return [one for one in self.entries if one["way"] in ways]


@dataclass
class Comparison:
    """What the store holds of the ledger. Every list must be empty."""

    acknowledged: int = 0
    cases: int = 0
    predictions: int = 0
    reviews: int = 0
    trail_rows: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    untraced: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    trail: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        found = []
        for name in ("lost", "doubled", "untraced", "differing", "unlisted", "trail"):
            several = getattr(self, name)
            found += [f"{name}: {one}" for one in several[:3]]
            found += [f"{name}: … {len(several) - 3} more"] if len(several) > 3 else []
        return found

    def counts(self) -> dict[str, int]:
        return {
            "acknowledged": self.acknowledged,
            "cases": self.cases,
            "predictions": self.predictions,
            "reviews": self.reviews,
            "trail_rows": self.trail_rows,
            **{name: len(getattr(self, name)) for name in ("lost", "doubled", "untraced", "differing")},
        }


@dataclass(frozen=True)
class Stored:
    """All of a store, read at once."""

    cases: Mapping[str, Any]
    images: Mapping[str, list[Any]]  # by case
    predictions: Mapping[str, list[Any]]  # by case
    reviews: Mapping[str, Any]
    traced: Mapping[tuple[str, str], int]  # (kind, id of the prediction, review or case) → rows of the trail
    trail_rows: int


def read_store(url: str) -> Stored:
    from sqlalchemy import select

    from foveal.storage import tables
    from foveal.storage.database import open_database

    database = open_database(url)
    try:
        with database.read() as connection:
            cases = {row.id: row for row in connection.execute(select(tables.cases))}
            images, predictions = collections.defaultdict(list), collections.defaultdict(list)
            for row in connection.execute(select(tables.images)):
                images[row.case_id].append(row)
            for row in connection.execute(select(tables.predictions)):
                predictions[row.case_id].append(row)
            reviews = {row.id: row for row in connection.execute(select(tables.reviews))}
            traced: collections.Counter[tuple[str, str]] = collections.Counter()
            rows = 0
            for row in connection.execute(select(tables.trail)):
                rows += 1
                body = json.loads(row.body)
                traced[
                    row.kind, str(body.get("prediction" if row.kind == "predicted" else "review") or row.subject)
                ] += 1
        return Stored(cases, images, predictions, reviews, traced, rows)
    finally:
        database.close()


def compare(
    ledger: Ledger, data: Path, *, url: str = "", expected: Expected | None = None, others: int = 0
) -> Comparison:
    """Hold `ledger` against the store in `data`; `others` cases more than it lists may be there."""
    url = url or f"sqlite:///{data / 'foveal.db'}"
    stored = read_store(url)
    told = Comparison(
        len(ledger.entries), len(stored.cases), sum(map(len, stored.predictions.values())), len(stored.reviews),
        stored.trail_rows,
    )  # fmt: skip
    _compare_images(ledger, stored, data, told)
    _compare_reviews(ledger, stored, told)
    _compare_trail(stored, told)
    listed = {one["case"] for one in ledger.of("now", "later", "watch", "kept")}
    unlisted = sorted(stored.cases.keys() - listed)
    if len(unlisted) > others:
        told.unlisted += unlisted
    if expected is not None:
        _compare_scores(ledger, stored, expected, told)
    where = url if "postgres" in url else data
    verified = subprocess.run(
        [sys.executable, "-c", "from foveal.cli import run; run()", "trail", "verify", where],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if verified.returncode:
        told.trail.append(verified.stderr.strip())
    return told


def _compare_images(ledger: Ledger, stored: Stored, data: Path, told: Comparison) -> None:
    from foveal.errors import StorageError
    from foveal.storage.blobs import Blobs

    blobs = Blobs(data / "blobs")
    claimed: collections.Counter[str] = collections.Counter()
    for one in ledger.of("now", "later", "watch"):
        case, name = one["case"], f"{one['way']} {one['key']} ({one['case']})"
        claimed[case] += 1
        if case not in stored.cases:
            told.lost.append(f"{name} has no case")
            continue
        images, predictions = stored.images[case], stored.predictions[case]
        if [row.sha256 for row in images] != [one["sha256"]]:
            told.lost.append(f"{name} has other images")
        try:
            if blobs.get(one["sha256"]) != ledger.contents[one["sha256"]]:
                told.lost.append(f"{name} has another file")
        except StorageError as error:
            told.lost.append(f"{name}: {error}")
        if stored.cases[case].state != "answered" or not predictions:
            told.lost.append(f"{name} is {stored.cases[case].state} with {len(predictions)} predictions")
            continue
        if one.get("prediction"):
            same = [row for row in predictions if row.id == one["prediction"]]
            if not same:
                told.lost.append(f"{name}: its prediction is not there")
            elif json.loads(same[0].probabilities) != one["probabilities"]:
                told.differing.append(f"{name}: told {one['probabilities']}, stored {same[0].probabilities}")
            elif same[0].classifier_hash != one["classifier"]:
                told.differing.append(f"{name}: another classifier than told")
    told.doubled += [f"the case {case} was told for {count} keys" for case, count in claimed.items() if count > 1]
    of_image = collections.Counter(row.sha256 for rows in stored.images.values() for row in rows)
    once = {one["sha256"] for one in ledger.of("now", "later", "watch")} - {one["sha256"] for one in ledger.of("kept")}
    told.doubled += [f"{of_image[one]} cases of one image {one[:12]}" for one in once if of_image[one] > 1]
    for case, rows in stored.predictions.items():
        if len(rows) > 1:
            told.doubled.append(f"{len(rows)} predictions of {case}")


def _compare_reviews(ledger: Ledger, stored: Stored, told: Comparison) -> None:
    listed = [one["review"] for one in ledger.of("review")]
    told.lost += [f"review {one}" for one in listed if one not in stored.reviews]
    told.doubled += [f"review {one}" for one, count in collections.Counter(listed).items() if count > 1]
    told.unlisted += [f"review {one}" for one in stored.reviews.keys() - set(listed)]


def _compare_trail(stored: Stored, told: Comparison) -> None:
    for rows in stored.predictions.values():
        for row in rows:
            if (count := stored.traced["predicted", row.id]) != 1:
                told.untraced.append(f"prediction {row.id}: {count} rows of the trail")
    for case in stored.cases:
        if (count := stored.traced["received", case]) != 1:
            told.untraced.append(f"case {case}: {count} rows of the trail")
    made = {row.id for rows in stored.predictions.values() for row in rows}
    told.untraced += [f"a row tells of the prediction {one}, which is not there"
                      for kind, one in stored.traced if kind == "predicted" and one not in made]  # fmt: skip


def _compare_scores(ledger: Ledger, stored: Stored, expected: Expected, told: Comparison) -> None:
    """Hold every stored score against what the same classifier says of the same bytes, undisturbed."""
    by_hash: dict[str, list[tuple[Any, bytes]]] = collections.defaultdict(list)
    for case, rows in stored.predictions.items():
        for row in rows:
            content = ledger.contents.get(stored.images[case][0].sha256)
            if content is not None:
                by_hash[row.classifier_hash].append((row, content))
    for digest, several in by_hash.items():
        for (row, _), should in zip(several, expected([content for _, content in several], digest), strict=True):
            is_ = json.loads(row.probabilities)
            if is_.keys() != should.keys() or any(abs(is_[name] - should[name]) > CLOSE for name in should):
                told.differing.append(f"prediction {row.id}: {is_}, undisturbed {should}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from serving.scenarios import main

    main()
