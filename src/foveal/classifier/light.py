"""A classifier that a stored engine answers for: the same answers, without torch and without the network in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.classifier.answers import Answers, Raw, answers_of
from foveal.classifier.card import Card, find_folder, is_ensemble, read_card
from foveal.classifier.decisions import Decisions
from foveal.classifier.engine import engine_logits, engine_probabilities, refuse_unfit
from foveal.engines.kinds import AUTO, TORCH, checked_engine
from foveal.engines.runner import Runner, open_runner
from foveal.engines.stored import choose_stored, stored_contents
from foveal.errors import ClassifierError
from foveal.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class LightClassifier:
    """Answers as the `Classifier` in the same folder does with the same engine."""

    folder: Path
    card: Card
    hash: str
    engine: str
    runner: Runner

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.card.classes

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes what the network takes."""
        return self.card.preprocess

    @property
    def decisions(self) -> Decisions:
        """What is made of the network's probabilities."""
        return self.card.decisions

    def answer(self, pixels: np.ndarray) -> Answers:
        """Return all that is said of uint8 `pixels` (N, H, W, C), as the preprocessing gives them.

        Raises ClassifierError for answers that are no numbers.
        """
        logits = engine_logits(self.runner, self.preprocess, pixels)
        if not np.isfinite(logits).all():
            raise ClassifierError(
                f"{self.folder} answers with values that are no numbers; its weights are out of range."
            )
        raw = Raw(engine_probabilities(logits), logits, None)
        return answers_of(self.decisions, raw, lambda part: pixels[part])


@dataclass(frozen=True, eq=False)
class Stored:
    """A classifier and the stored engine that is to answer for it; nothing of its weights is read yet."""

    folder: Path
    card: Card
    hash: str
    engine: str


def find_stored(path: Path, engine: str = AUTO) -> Stored | None:
    """Return the classifier at `path` with the stored `engine` that answers for it.

    None where torch is to answer: it is asked for, or it is the fastest that is stored, or there are several
    classifiers that answer together.

    Raises ClassifierError when it is missing or damaged, UsageError for an unknown engine.
    """
    checked_engine(engine)
    if engine == TORCH or (engine == AUTO and is_ensemble(path)):
        return None
    folder = find_folder(path)
    card, _, digest = read_card(folder)
    chosen = choose_stored(folder, digest) if engine == AUTO else engine
    return None if chosen == TORCH else Stored(folder, card, digest, chosen)


def open_light(stored: Stored, threads: int | None = None) -> LightClassifier:
    """Return what `stored` names, opened, to compute on `threads` threads.

    Raises ClassifierError when the engine is missing, damaged, or of another classifier, MissingPartError when its
    package is not installed.
    """
    contents = stored_contents(stored.folder, stored.engine, stored.hash)
    runner = open_runner(stored.engine, contents, threads)
    refuse_unfit(runner, stored.engine, stored.card.preprocess, len(stored.card.classes))
    return LightClassifier(stored.folder, stored.card, stored.hash, stored.engine, runner)
