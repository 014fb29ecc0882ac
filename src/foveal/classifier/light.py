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


def stored_engine(path: Path, engine: str = AUTO) -> str:
    """Return the engine that `engine` means for the classifier at `path`: ``torch`` where no other is stored.

    Raises ClassifierError where there is no classifier, UsageError for an unknown engine.
    """
    checked_engine(engine)
    if engine != AUTO or is_ensemble(path):
        return TORCH if engine == AUTO else engine
    folder = find_folder(path)
    return choose_stored(folder, read_card(folder)[2])


def open_light(path: Path, engine: str, *, threads: int | None = None) -> LightClassifier:
    """Return the classifier at `path`, answered by the stored `engine`.

    Raises ClassifierError when it or its engine is missing, damaged, or one does not belong to the other;
    MissingPartError when the engine's package is not installed.
    """
    folder = find_folder(path)
    card, _, digest = read_card(folder)
    runner = open_runner(engine, stored_contents(folder, engine, digest), threads)
    refuse_unfit(runner, engine, card.preprocess, len(card.classes))
    return LightClassifier(folder, card, digest, engine, runner)
