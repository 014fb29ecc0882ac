"""The classifier that is being served: one at a time, exchanged as a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from foveal.classifier.answers import Answers
from foveal.classifier.decisions import Decisions
from foveal.classifier.light import find_stored
from foveal.engines.runner import thread_count
from foveal.engines.stored import read_engines
from foveal.preprocess import Preprocess
from foveal.serving.children.answering import Answerer
from foveal.serving.giving_way import give_way

if TYPE_CHECKING:
    from foveal.classifier.classifier import Classifier

MOST_WORKERS = 4  # unless more are asked for: each holds a network of its own


class Answering(Protocol):
    """What answers one batch at a time."""

    @property
    def restarts(self) -> int:
        """How often its process was replaced; 0 of one without."""
        ...

    async def start(self) -> None:
        """Make it ready to be asked."""
        ...

    async def answer(self, pixels: np.ndarray) -> Answers:
        """Return all that is said of uint8 `pixels` (N, H, W, C)."""
        ...

    async def close(self) -> None:
        """Give up what it holds; it is not asked again."""
        ...


@dataclass(frozen=True, eq=False)
class Served:
    """A classifier to be served: what is told of it, and what answers, several at once."""

    name: str
    path: Path
    architecture: str
    hash: str  # the classifier's content hash
    engine: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    decisions: Decisions
    answering: Sequence[Answering]
    measured: dict[str, Any] | None = None  # of a stored engine: how far it is from torch, as its export measured it

    @property
    def restarts(self) -> int:
        """How often a process of the network was replaced."""
        return sum(one.restarts for one in self.answering)

    @property
    def threshold(self) -> str | None:
        """At which the label is decided, where that is not the most probable class."""
        operating = self.decisions.operating
        return None if operating is None else str(operating)

    async def start(self) -> None:
        """Make all that answers ready; where one cannot be, raise what was wrong, and nothing is left."""
        try:
            await all_of(*(one.start() for one in self.answering))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End what answers; nobody asks it any more."""
        await asyncio.gather(*(one.close() for one in self.answering))

    def facts(self) -> dict[str, Any]:
        """Return what `/v1/models` and the table of classifiers tell of it."""
        decisions = self.decisions
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


async def all_of(*starts: Awaitable[None]) -> None:
    """Wait for all of `starts`, then raise the first error among them: none is left half-way by another's failure."""
    for found in await asyncio.gather(*starts, return_exceptions=True):
        if isinstance(found, BaseException):
            raise found


def open_served(path: Path, engine: str, *, workers: int = 1) -> Served:
    """Return the classifier at `path`, to be answered by `workers` at once, once started; 0: one a core, up to four.

    They share the cores between them: two that answer on one core each answer more images than one on both, since
    neither waits for the other. A stored engine is opened without torch, by a process for each worker, when it is
    started; torch itself answers alone, by a thread of this process.

    Raises ClassifierError, UsageError or MissingPartError, in one sentence, when it cannot be served.
    """
    name = path.resolve().parent.name if path.resolve().name == "classifier" else path.resolve().name
    if stored := find_stored(path, engine):
        record = read_engines(stored.folder, stored.hash).get(stored.engine, {})
        measured: dict[str, Any] = {
            key: record[key] for key in ("parity", "accuracy", "latency_ms", "hardware") if key in record
        }
        cores = thread_count(None)
        workers = workers or min(cores, MOST_WORKERS)
        answering = [Answerer(stored, max(1, cores // workers)) for _ in range(workers)]
        card = stored.card
        architecture = str(card.architecture.get("name"))
        own = (card.classes, card.preprocess, card.decisions)
        return Served(name, path, architecture, stored.hash, stored.engine, *own, answering, measured)
    from foveal.classifier.classifier import Classifier

    whole = Classifier.load(path, device="cpu")
    whole.answer(np.zeros((1, whole.preprocess.height, whole.preprocess.width, whole.preprocess.channels), np.uint8))
    facts = (whole.architecture, whole.hash, whole.engine, whole.classes, whole.preprocess, whole.decisions)
    return Served(name, path, *facts, [Here(whole)])


@dataclass(frozen=True, eq=False)
class Here:
    """A classifier in this process, asked by a thread of its own."""

    classifier: Classifier
    restarts: int = 0
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "answer", initializer=give_way))

    async def start(self) -> None:
        """Do nothing: it was opened already."""

    async def answer(self, pixels: np.ndarray) -> Answers:
        """Return all that is said of uint8 `pixels` (N, H, W, C), when it is this one's turn."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.classifier.answer, pixels)

    async def close(self) -> None:
        """End the thread."""
        self.thread.shutdown(wait=False)


def card_text(served: Served) -> str:
    """Return the facts as JSON, as the table of classifiers keeps them."""
    return json.dumps(served.facts(), ensure_ascii=False)
