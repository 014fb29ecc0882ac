"""An ensemble: several classifiers of the same classes that answer together, by the mean of their probabilities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal.classifier.answers import Answers, Raw, answers_of, mean_probabilities
from foveal.classifier.calibration import SMALLEST_PROBABILITY
from foveal.classifier.card import FOLDS, REPEATS, holds_folds
from foveal.classifier.classifier import Classifier
from foveal.classifier.decisions import Decisions
from foveal.errors import ClassifierError


@dataclass(frozen=True, eq=False)
class Ensemble(Classifier):
    """Classifiers that see images at the same size and answer with the mean of their probabilities."""

    members: tuple[Classifier, ...] = ()

    def raw(self, pixels: np.ndarray, rows: np.ndarray | None = None, *, features: bool = False) -> Raw:
        """Return the mean of the members' calibrated probabilities (N, classes), each with its own normalisation."""
        del features  # of several networks there are none in common
        return _mean([member.probabilities(pixels, rows) for member in self.members])

    def answer(self, pixels: np.ndarray, rows: np.ndarray | None = None) -> Answers:
        """Return what the members say together; they abstain where more than half of them take an image for foreign."""
        said = [member.answer(pixels, rows) for member in self.members]
        mean = _mean([one.probabilities for one in said])
        own = answers_of(self.decisions, mean, lambda part: pixels[part if rows is None else rows[part]])
        known = [one.gate_scores for one in said if one.gate_scores is not None]
        if not known:
            return own
        scores: np.ndarray = np.median(np.stack(known), axis=0)  # (N,)
        reasons = np.stack([one.abstained for one in said])  # (members, N)
        abstained = own.abstained.astype(object)
        for row in np.flatnonzero(scores >= 1).tolist():
            abstained[row] = next((str(reason) for reason in reasons[:, row] if reason), abstained[row])
        return replace(own, abstained=abstained.astype(str), gate_scores=scores)

    @property
    def parameters(self) -> int:
        """The number of trainable parameters of all members."""
        return sum(member.parameters for member in self.members)

    def save(self, folder: str | Path) -> str:
        """Refuse: an ensemble lies where its folds lie."""
        raise ClassifierError(f"An ensemble is not saved, since its members are: {folder} is left as it is.")


def _mean(probabilities: Sequence[np.ndarray]) -> Raw:
    mean = mean_probabilities(probabilities)  # (N, classes)
    return Raw(mean, np.log(np.maximum(mean, SMALLEST_PROBABILITY)).astype(np.float32), None)


def together(members: Sequence[Classifier], decisions: Decisions | None = None) -> Ensemble:
    """Return `members` as one; ClassifierError unless they have the same classes and see images alike."""
    first = members[0]
    for other in members[1:]:
        alike = replace(other.preprocess, mean=first.preprocess.mean, std=first.preprocess.std) == first.preprocess
        if other.classes != first.classes or not alike:
            raise ClassifierError("Its members differ in their classes or in the size of images; train them anew.")
    whole = hashlib.sha256("".join(member.hash for member in members).encode()).hexdigest()
    return Ensemble(
        first.network, first.architecture, first.options, first.classes, first.preprocess, first.provenance, whole,
        first.engine, first.runner, decisions or Decisions(), tuple(members),
    )  # fmt: skip


def load_ensemble(
    path: Path, *, device: str = "auto", trust: str | None = None, engine: str = "torch", threads: int | None = None
) -> Ensemble:
    """Return the folds or repeats in `path` as one classifier; ClassifierError where one is missing or unfinished."""
    file, parts = (FOLDS, "folds") if holds_folds(path) else (REPEATS, "repeats")
    try:
        plan = json.loads((path / file).read_text("utf-8"))
        count = int(plan["folds"]) if parts == "folds" else len(plan["seeds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClassifierError(f"{path / file} is damaged: it does not say how many {parts} there are.") from error
    folders = [path / parts / str(number) for number in range(1, count + 1)]
    load = Classifier.load
    members = [load(one, device=device, trust=trust, engine=engine, threads=threads) for one in folders]
    try:
        decisions = Decisions.from_dict(plan.get("decisions", {}), members[0].classes, {})
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{path / file} is damaged: {error}.") from error
    return together(members, decisions)
