"""From the answers to held-out images to what is made of answers: calibration, a threshold, prediction sets, a gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foveal.classifier.answers import Raw
from foveal.classifier.calibration import Calibration
from foveal.classifier.conformal import ConformalSets
from foveal.classifier.decisions import Decisions
from foveal.classifier.gate import Gate
from foveal.classifier.operating import OperatingPoint
from foveal.errors import DataError
from foveal.evaluation.calibrating import choose_calibration
from foveal.evaluation.conformal_fitting import split_conformal
from foveal.evaluation.gate_fitting import Seen, fit_gate
from foveal.evaluation.operating_words import choose
from foveal.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Held:
    """What the network says of images that it did not learn from."""

    split: str
    raw: Raw
    labels: np.ndarray  # (N,)
    units: np.ndarray  # (N,) numbers: images of one patient, and copies, share one


def decide(
    recipe: Recipe,
    classes: tuple[str, ...],
    validation: Held,
    calibration: Held | None,
    seen: Callable[[str], Seen],
) -> Decisions:
    """Return what `recipe` makes of the answers of a network; `seen` gives what it saw of a split, for the gate.

    Validation, which also stopped the training, serves calibration and the threshold; prediction sets are made on the
    calibration split, which served nothing else, and are left out without one. The thresholds of the gate are set on
    the calibration split, too, and without one on validation.
    """
    found = _calibration(recipe, validation)
    deployed = found.apply(validation.raw.probabilities)
    operating, missed = _operating(recipe, classes, deployed, validation)
    held = calibration or validation
    return Decisions(found, operating, _sets(recipe, classes, found, calibration), _gate(recipe, held, seen), missed)


def _calibration(recipe: Recipe, held: Held) -> Calibration:
    methods = None if recipe.calibrate == "auto" else (recipe.calibrate,)
    known = (held.labels, held.raw.probabilities, held.units)
    return choose_calibration(*known, methods=methods, seed=recipe.seed, where=held.split)


def _operating(
    recipe: Recipe, classes: tuple[str, ...], deployed: np.ndarray, held: Held
) -> tuple[OperatingPoint | None, str | None]:
    """Return the operating point that the recipe asks for, or why these images give none: training is not lost."""
    if recipe.operating_point is None:
        return None, None
    try:
        return choose(recipe.operating_point, held.labels, deployed, classes, held.units, split=held.split), None
    except DataError as error:
        return None, str(error)


def _sets(recipe: Recipe, classes: tuple[str, ...], found: Calibration, held: Held | None) -> ConformalSets | None:
    if held is None:
        return None
    deployed = found.apply(held.raw.probabilities)
    return split_conformal(
        held.labels, deployed, held.units, alpha=round(1 - recipe.coverage, 9), split=held.split, classes=classes
    )


def _gate(recipe: Recipe, held: Held, seen: Callable[[str], Seen]) -> Gate | None:
    """Return the gate, whose thresholds are set on `held`; None where the recipe wants none."""
    if not recipe.false_alarms:
        return None
    return fit_gate(
        seen("train"),
        seen(held.split),
        held_units=held.units,
        false_alarm_rate=recipe.false_alarms,
        split=held.split,
        seed=recipe.seed,
    )
