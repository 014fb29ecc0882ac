"""The classifier that is being served: one at a time, exchanged as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from foveal.classifier.answers import Answers
from foveal.classifier.decisions import Decisions
from foveal.classifier.light import open_light
from foveal.engines.runner import thread_count
from foveal.engines.stored import read_engines
from foveal.preprocess import Preprocess

MOST_WORKERS = 4  # unless more are asked for: each holds a network of its own


class Answering(Protocol):
    """What a `LightClassifier` and a `Classifier` have in common."""

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def preprocess(self) -> Preprocess: ...  # noqa: D102
    @property
    def decisions(self) -> Decisions: ...  # noqa: D102
    @property
    def hash(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    def answer(self, pixels: np.ndarray) -> Answers: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Served:
    """An opened classifier: what answers, once for each thread that may ask it, and what is told of it."""

    name: str
    path: Path
    architecture: str
    answering: Sequence[Answering]
    measured: dict[str, Any] | None = None  # of a stored engine: how far it is from torch, as its export measured it

    @property
    def first(self) -> Answering:
        """One of those that answer; they are alike."""
        return self.answering[0]

    @property
    def hash(self) -> str:
        """The classifier's content hash."""
        return self.first.hash

    @property
    def engine(self) -> str:
        """What computes."""
        return self.first.engine

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order."""
        return self.first.classes

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes what the network takes."""
        return self.first.preprocess

    @property
    def threshold(self) -> str | None:
        """At which the label is decided, where that is not the most probable class."""
        operating = self.first.decisions.operating
        return None if operating is None else str(operating)

    def facts(self) -> dict[str, Any]:
        """Return what `/v1/models` and the table of classifiers tell of it."""
        decisions = self.first.decisions
        return {
            "name": self.name,
            "hash": self.hash,
            "engine": self.engine,
            "architecture": self.architecture,
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict(),
            "threshold": self.threshold,
            "calibrated": decisions.calibration is not None,
            "prediction_sets": decisions.sets is not None,
            "gate": decisions.gate is not None,
            "measured": self.measured,
        }


def open_served(path: Path, engine: str, *, workers: int = 1) -> Served:
    """Return the classifier at `path`, ready to answer from `workers` threads at once; 0: one a core, up to four.

    They share the cores between them: two that answer on one core each answer more images than one on both, since
    neither waits for the other. A stored engine is opened without torch, once for each worker; with torch itself one
    network answers alone.

    Raises ClassifierError, UsageError or MissingPartError, in one sentence, when it cannot be served.
    """
    name = path.resolve().parent.name if path.resolve().name == "classifier" else path.resolve().name
    cores = thread_count(None)
    workers = workers or min(cores, MOST_WORKERS)
    if light := open_light(path, engine, count=workers, threads=max(1, cores // workers)):
        first = light[0]
        record = read_engines(first.folder, first.hash)[first.engine]
        measured: dict[str, Any] = {
            key: record[key] for key in ("parity", "accuracy", "latency_ms", "hardware") if key in record
        }
        return Served(name, path, str(first.card.architecture.get("name")), light, measured)
    from foveal.classifier.classifier import Classifier

    whole = Classifier.load(path, device="cpu")
    whole.answer(np.zeros((1, whole.preprocess.height, whole.preprocess.width, whole.preprocess.channels), np.uint8))
    return Served(name, path, whole.architecture, [whole])


def card_text(served: Served) -> str:
    """Return the facts as JSON, as the table of classifiers keeps them."""
    return json.dumps(served.facts(), ensure_ascii=False)
