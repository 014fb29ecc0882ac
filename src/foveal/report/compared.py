"""A comparison of runs, as its page and the terminal tell it: one frozen record a noun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal.evaluation.comparison import PairedComparison
from foveal.evaluation.interval import Estimate
from foveal.evaluation.paired_bootstrap import MeasureDifference
from foveal.report.results import Scores, Training
from foveal.report.wording import flat
from foveal.run import SCHEMA_VERSION
from foveal.training.history import EpochRow

ABSENT = "–"  # a field that one of the recipes does not have
OF_THE_FILE = ("schema_version",)


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison. `scores` are those of the evaluation that is compared, on all its images."""

    letter: str  # A, B, …: how the run is called in the comparison
    name: str  # its folder
    path: str
    model: str
    title: str
    dataset: str
    dataset_hash: str
    training: Training
    macs: int | None  # multiply-adds for one image
    seed: int | None
    machine: str  # what the times were taken on
    classifier_hash: str
    scores: Scores
    groups: int  # different groups among the images of the evaluation; 0 where the source names none
    leak: str  # what the audit knows against the figures; empty when nothing
    history: tuple[EpochRow, ...]
    recipe: Mapping[str, str]  # flat, in words
    folds: int = 0  # of which it consists; 0 for a single run

    @property
    def accuracy(self) -> Estimate | None:
        """Accuracy on all images of the evaluation, with its interval."""
        return self.scores.accuracy


@dataclass(frozen=True)
class ComparedPair:
    """Two runs on the images that both answered and neither learnt from. `result` is None when there is none."""

    first: str  # letter
    second: str
    result: PairedComparison | None
    sentences: tuple[str, ...]  # what was left out, and why
    measures: tuple[MeasureDifference, ...] = ()  # accuracy, macro AUC, log loss by resampling; two classes: DeLong


@dataclass(frozen=True)
class Said:
    """What one run said of an image."""

    letter: str
    predicted: str
    probability: float
    right: bool


@dataclass(frozen=True)
class Disagreement:
    """An image on which the runs do not agree."""

    record_id: str
    digest: str
    label: str
    said: tuple[Said, ...]

    @property
    def right(self) -> int:
        """How many runs are right."""
        return sum(one.right for one in self.said)


@dataclass(frozen=True)
class Comparison:
    """Runs compared on one evaluation. Returned by `foveal.compare`."""

    evaluation: str
    runs: tuple[ComparedRun, ...]
    pairs: tuple[ComparedPair, ...]
    common: int  # images that all runs answered and none learnt from
    disagreements: tuple[Disagreement, ...]  # among these; the most instructive first
    notes: tuple[str, ...]  # what must be said beside the figures
    page: Path | None = None  # where the page was written

    @property
    def differing(self) -> dict[str, tuple[str, ...]]:
        """Field of the recipes → its value in each run, for the fields in which the runs differ."""
        names = dict.fromkeys(name for run in self.runs for name in run.recipe)
        rows = {name: tuple(run.recipe.get(name, ABSENT) for run in self.runs) for name in names}
        return {name: values for name, values in rows.items() if len(set(values)) > 1}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON object: the runs, every pair, what must be said; no images, no curves."""
        return {
            "schema_version": SCHEMA_VERSION,
            "evaluation": self.evaluation,
            "runs": [_run_object(run) for run in self.runs],
            "pairs": [_pair_object(pair) for pair in self.pairs],
            "common": self.common,
            "disagreements": len(self.disagreements),
            "differing": {name: list(values) for name, values in self.differing.items()},
            "notes": list(self.notes),
        }

    def run(self, letter: str) -> ComparedRun:
        """Return the run called `letter`."""
        return next(run for run in self.runs if run.letter == letter)


def _run_object(run: ComparedRun) -> dict[str, Any]:
    return {
        "letter": run.letter,
        "path": run.path,
        "model": run.model,
        "dataset": run.dataset,
        "dataset_hash": run.dataset_hash,
        "classifier": run.classifier_hash,
        "folds": run.folds or None,
        "n": run.scores.n,
        "accuracy": run.accuracy.to_dict() if run.accuracy else None,
        "loss": run.scores.loss,
        "macro_f1": run.scores.macro_f1,
        "parameters": run.training.parameters,
        "seconds": run.training.seconds,
    }


def _pair_object(pair: ComparedPair) -> dict[str, Any]:
    result = pair.result
    return {
        "first": pair.first,
        "second": pair.second,
        "n": result.n if result else 0,
        "mcnemar": {**asdict(result), "n": result.n} if result else None,
        "measures": [one.to_dict() for one in pair.measures],
        "sentences": list(pair.sentences),
    }


def recipe_in_words(recipe: Mapping[str, object]) -> dict[str, str]:
    """Return field → value of a recipe, inner tables as ``outer.inner``."""
    return dict(flat({name: value for name, value in recipe.items() if name not in OF_THE_FILE}))
