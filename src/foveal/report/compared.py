"""A comparison of runs, as its page and the terminal tell it: one frozen record a noun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal.evaluation.comparison import PairedComparison
from foveal.evaluation.interval import Estimate
from foveal.report.results import Scores, Training
from foveal.report.wording import flat
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

    def run(self, letter: str) -> ComparedRun:
        """Return the run called `letter`."""
        return next(run for run in self.runs if run.letter == letter)


def recipe_in_words(recipe: Mapping[str, object]) -> dict[str, str]:
    """Return field → value of a recipe, inner tables as ``outer.inner``."""
    return dict(flat({name: value for name, value in recipe.items() if name not in OF_THE_FILE}))
