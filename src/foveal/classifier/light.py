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


def open_light(
    path: Path, engine: str = AUTO, *, count: int = 1, threads: int | None = None
) -> tuple[LightClassifier, ...]:
    """Return the classifier at `path`, answered by the stored `engine`, opened `count` times: for so many threads.

    Empty where torch is to answer: it is asked for, or it is the fastest that is stored, or there are several
    classifiers that answer together.

    Raises ClassifierError when it or its engine is missing, damaged, or one does not belong to the other, UsageError
    for an unknown engine, MissingPartError when the engine's package is not installed.
    """
    checked_engine(engine)
    if engine == TORCH or (engine == AUTO and is_ensemble(path)):
        return ()
    folder = find_folder(path)
    card, _, digest = read_card(folder)
    chosen = choose_stored(folder, digest) if engine == AUTO else engine
    if chosen == TORCH:
        return ()
    contents = stored_contents(folder, chosen, digest)
    runners = [open_runner(chosen, contents, threads) for _ in range(count)]
    for one in runners:
        refuse_unfit(one, chosen, card.preprocess, len(card.classes))
    return tuple(LightClassifier(folder, card, digest, chosen, one) for one in runners)
