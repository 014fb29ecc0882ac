"""An ensemble: several classifiers of the same classes that answer together, by the mean of their probabilities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal.classifier.artefact import FOLDS
from foveal.classifier.classifier import Classifier
from foveal.classifier.inference import DECIMALS
from foveal.errors import ClassifierError


@dataclass(frozen=True, eq=False)
class Ensemble(Classifier):
    """Classifiers that see images at the same size and answer with the mean of their probabilities."""

    members: tuple[Classifier, ...] = ()

    def probabilities(self, pixels: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the mean of the members' probabilities (N, classes), each with its own normalisation."""
        answers = np.stack([member.probabilities(pixels, rows) for member in self.members])  # (members, N, classes)
        mean: np.ndarray = np.round(answers.mean(axis=0), DECIMALS)
        return mean

    @property
    def parameters(self) -> int:
        """The number of trainable parameters of all members."""
        return sum(member.parameters for member in self.members)

    def save(self, folder: str | Path) -> str:
        """Refuse: an ensemble lies where its folds lie."""
        raise ClassifierError(f"An ensemble is not saved, since its members are: {folder} is left as it is.")


def together(members: Sequence[Classifier]) -> Ensemble:
    """Return `members` as one; ClassifierError unless they have the same classes and see images alike."""
    first = members[0]
    for other in members[1:]:
        alike = replace(other.preprocess, mean=first.preprocess.mean, std=first.preprocess.std) == first.preprocess
        if other.classes != first.classes or not alike:
            raise ClassifierError("The folds differ in their classes or in the size of images; train them anew.")
    whole = hashlib.sha256("".join(member.hash for member in members).encode()).hexdigest()
    return Ensemble(
        first.network, first.architecture, first.options, first.classes, first.preprocess, first.provenance, whole,
        first.engine, first.runner, tuple(members),
    )  # fmt: skip


def load_ensemble(
    path: Path, *, device: str = "auto", trust: str | None = None, engine: str = "torch", threads: int | None = None
) -> Ensemble:
    """Return the folds in `path` as one classifier; ClassifierError where one is missing or has not finished."""
    try:
        count = int(json.loads((path / FOLDS).read_text("utf-8"))["folds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClassifierError(f"{path / FOLDS} is damaged: it does not say how many folds there are.") from error
    folders = [path / "folds" / str(number) for number in range(1, count + 1)]
    load = Classifier.load
    return together([load(one, device=device, trust=trust, engine=engine, threads=threads) for one in folders])
