"""Calibration found: methods are fitted and compared, and the simplest is taken that cross-validation bears out.

The images it is found on must be those of no other use but validation: images that the classifier was trained on look
better known than others are, and those it is tested on are not for fitting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from foveal.classifier.calibration import (
    METHODS,
    Calibration,
    Method,
    floored_log,
)
from foveal.data.splits import deal_folds
from foveal.errors import DataError, UsageError, nearest
from foveal.evaluation.calibration import refuse_unlike
from foveal.evaluation.calibration_fits import fit_parameters

SIMPLEST_FIRST: tuple[Method, ...] = ("none", "temperature", "platt", "beta", "vector", "isotonic")
NAMES = {
    "none": "no calibration",
    "temperature": "temperature scaling",
    "platt": "Platt scaling",
    "beta": "beta calibration",
    "vector": "vector scaling",
    "isotonic": "isotonic regression",
}
FEWEST = 10  # independent units, to fit one parameter and see in cross-validation whether it helps
FEWEST_FOR_MORE = 30  # to fit some parameters a class
FEWEST_OF_A_CLASS = 5  # for the same
MOST_CLASSES = 100  # beyond it the methods class by class are slow, and rarely better than one temperature


@dataclass(frozen=True)
class Candidate:
    """What cross-validation says of one method: mean log loss, how far above the lowest, and the standard errors."""

    method: Method
    log_loss: float
    log_loss_se: float
    above_best: float
    above_best_se: float  # of the paired difference


def fit_calibration(
    method: Method, labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray | None = None
) -> Calibration:
    """Return `method` fitted to `probabilities` (N, C) of images with `labels` (N,).

    `units` (N,) name the independent unit of each image; they are only counted. Raises UsageError for an unknown
    method, DataError where labels or probabilities are none, or the method has no finite optimum on them.
    """
    _refuse_unknown([method])
    refuse_unlike(labels, probabilities, units, probabilities.shape[-1])
    if method != "none" and probabilities.shape[-1] < 2:
        raise DataError(f"{_title(method)} takes two classes or more.")
    facts = {
        "split": None,
        "n": len(labels),
        "groups": _groups(units),
        "log_loss_before": None,
        "log_loss_after": None,
        "reason": f"{_title(method)} was fitted as asked, without comparing it.",
    }
    return Calibration(method, fit_parameters(method, labels, np.asarray(probabilities, np.float64)), facts)


def choose_calibration(
    labels: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray | None = None,
    *,
    methods: Sequence[Method] | None = None,
    folds: int = 5,
    seed: int = 0,
    where: str = "validation",
) -> Calibration:
    """Return the simplest calibration whose log loss is as good as the best, fitted to all of the images.

    Every method is fitted on all folds but one and asked on that one, fold by fold; units (N,) are never torn, and
    classes are spread evenly. Of `methods` (all, where None) the simplest is taken whose mean log loss lies within
    one standard error, of the paired difference and between units, of the lowest one (the rule of Breiman, Friedman,
    Olshen, Stone 1984); "none" is taken only where it is no worse than that one, since what is deployed is to be
    calibrated. Methods that so few images cannot bear are not tried, and one without a finite optimum on
    them or in any fold is left out; if none remains, it is "none". `facts` say all of it; `where` names the split.
    Raises UsageError for an unknown method or fewer than two folds, DataError where labels or probabilities are none.
    """
    _refuse_unknown(methods or ())
    if folds < 2:
        raise UsageError(f"Choosing a calibration takes at least two folds, not {folds}.")
    classes = probabilities.shape[-1]
    refuse_unlike(labels, probabilities, units, classes)
    p = np.asarray(probabilities, np.float64)
    _, numbers = np.unique(units if units is not None else np.arange(len(labels)), return_inverse=True)
    asked = [method for method in SIMPLEST_FIRST if methods is None or method in methods]
    allowed, limit = bearable(labels, numbers, classes, any_number=methods is not None)
    left_out = {method: limit for method in asked if method not in allowed}
    tried = [method for method in asked if method in allowed]
    dealt = spread_folds(labels, numbers, folds, seed) if set(tried) - {"none"} else None
    before = log_losses(labels, p)  # (N,)
    fits: dict[Method, Calibration] = {}
    losses: dict[Method, np.ndarray] = {}
    for method in tried or ["none"]:
        try:
            fits[method] = fit_calibration(method, labels, p, units)
            losses[method] = _held_out(method, labels, p, dealt) if dealt is not None and method != "none" else before
        except DataError as error:
            left_out[method] = str(error)
    if not losses:
        fits["none"], losses["none"] = fit_calibration("none", labels, p, units), before
    candidates = _compared(losses, numbers)
    chosen = _simplest_of_the_best(candidates)
    fitted = fits[chosen.method]
    facts = {
        **fitted.facts,
        "split": where,
        "log_loss_before": float(before.mean()),
        "log_loss_after": chosen.log_loss,
        "folds": int(dealt.max()) + 1 if dealt is not None else None,
        "seed": seed,
        "candidates": [asdict(one) for one in candidates],
        "left_out": left_out,
    }
    return replace(fitted, facts={**facts, "reason": _reason(chosen, candidates, facts)})


def bearable(
    labels: np.ndarray, units: np.ndarray, classes: int, *, any_number: bool = False
) -> tuple[tuple[Method, ...], str]:
    """Return the methods that these images can bear, and a sentence that says why not the others.

    What counts are independent `units` (N,). One parameter takes 10 of them, and more than one class; parameters for
    every class take 30, and 5 of each. With more than 100 classes those are slow, and rarely better than one
    temperature (Guo et al. 2017); they are left out unless `any_number` of classes is fine.
    """
    count = len(np.unique(units))
    of_class = [len(np.unique(units[labels == label])) for label in range(classes)]
    if count < FEWEST:
        return ("none",), f"Fitting anything takes {FEWEST} independent images or groups; here are {count}."
    if len(np.unique(labels)) == 1:
        return ("none",), "All images are of one class, which tells nothing of the others."
    if count < FEWEST_FOR_MORE or min(of_class) < FEWEST_OF_A_CLASS:
        return ("none", "temperature"), (
            f"Parameters for every class take {FEWEST_FOR_MORE} independent images or groups, and {FEWEST_OF_A_CLASS} "
            f"of each class; here are {count:,}, and {min(of_class)} of the rarest class."
        )
    if classes > MOST_CLASSES and not any_number:
        return ("none", "temperature"), (
            f"With more than {MOST_CLASSES} classes, parameters for every class are fitted only when asked for."
        )
    return METHODS, ""


def spread_folds(labels: np.ndarray, units: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold (N,) of each image, from 0 on: no unit of `units` (N,) is torn, classes are spread evenly.

    Classes with fewer units than folds are dealt like the commonest class. Where units of several classes cannot be
    dealt so that all classes are in all folds, there are fewer folds; and where not even two will do, classes are not
    looked at. Raises DataError where there are no two units.
    """
    present, dealt_as = np.unique(labels, return_inverse=True)
    of_class = np.array([len(np.unique(units[dealt_as == one])) for one in range(len(present))])
    most = min(folds, len(np.unique(units)))
    if most < 2:
        raise DataError("Folds take at least two independent images or groups.")
    dealt_as = np.where((of_class < most)[dealt_as], of_class.argmax(), dealt_as)
    for count in range(most, 1, -1):
        dealt = deal_folds(dealt_as, units, count, seed)
        if dealt is not None:
            return dealt
    dealt = deal_folds(np.zeros(len(labels), np.int64), units, most, seed)
    assert dealt is not None  # with one class, any division will do
    return dealt


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return −ln (N,) of the probability of each true class, floored at 1e-9."""
    return -floored_log(probabilities[np.arange(len(labels)), labels])


def _held_out(method: Method, labels: np.ndarray, p: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """Return the log losses (N,) of `method`, each from the fit that did not see the image."""
    losses = np.empty(len(labels))
    for fold in range(int(dealt.max()) + 1):
        out = dealt == fold
        fitted = Calibration(method, fit_parameters(method, labels[~out], p[~out]), {})
        losses[out] = log_losses(labels[out], fitted.apply(p[out]))
    return losses


def _compared(losses: dict[Method, np.ndarray], units: np.ndarray) -> list[Candidate]:
    """Return what `losses` (N,) of each method say, the simplest first."""
    best = min(losses, key=lambda method: float(losses[method].mean()))
    rows = []
    for method in sorted(losses, key=SIMPLEST_FIRST.index):
        above = losses[method] - losses[best]
        means = float(losses[method].mean()), float(above.mean())
        rows.append(
            Candidate(method, means[0], _standard_error(losses[method], units), means[1], _standard_error(above, units))
        )
    return rows


def _simplest_of_the_best(candidates: Sequence[Candidate]) -> Candidate:
    """Return the simplest candidate within one standard error of the best; "none" where nothing lowers the loss."""
    near = [one for one in candidates if one.above_best <= one.above_best_se]
    fitted = next((one for one in near if one.method != "none"), near[0])
    return near[0] if near[0].log_loss <= fitted.log_loss else fitted


def _standard_error(values: np.ndarray, units: np.ndarray) -> float:
    """Return the standard error of the mean of `values` (N,) when whole `units` (N,) are what is independent."""
    sums = np.bincount(units, weights=values - values.mean())  # (units,)
    count = len(sums)
    return math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values) if count > 1 else 0.0


def _reason(chosen: Candidate, candidates: Sequence[Candidate], facts: Mapping[str, Any]) -> str:
    """Return in a few sentences why `chosen` was chosen."""
    title, where = _title(chosen.method), f"on {facts['n']:,} images of the {facts['split']} split"
    if facts["folds"] is not None:
        where = f"in {facts['folds']}-fold cross-validation {where}"
    best = min(candidates, key=lambda one: one.log_loss)
    before = facts["log_loss_before"]
    if len(candidates) == 1 and chosen.method == "none":
        said = f"{title}: there was nothing to compare it with {where}."
    elif len(candidates) == 1:
        said = f"{title}, the only choice: {where} the log loss goes from {before:.4f} to {chosen.log_loss:.4f}."
    elif chosen.method == "none" and best.method == "none":
        said = f"{title}: {where} nothing lowered the log loss of {before:.4f}."
    elif chosen.method == "none":
        said = f"{title}: {where} only a more flexible method lowered the log loss of {before:.4f}, within chance."
    else:
        said = f"{title}: {where} it takes the log loss from {before:.4f} to {chosen.log_loss:.4f}, " + (
            "the lowest that was found."
            if chosen.method == best.method
            else f"and no more flexible method is lower by more than one standard error of the difference "
            f"({NAMES[best.method]}: {best.log_loss:.4f})."
        )
    return " ".join([said, *_not_compared(facts["left_out"])])


def _not_compared(left_out: Mapping[Method, str]) -> list[str]:
    """Return a sentence for each reason why methods were left out."""
    by_reason: dict[str, list[str]] = {}
    for method, why in left_out.items():
        by_reason.setdefault(why, []).append(NAMES[method])
    return [f"Left out: {', '.join(names)}. {why}" for why, names in by_reason.items()]


def _title(method: Method) -> str:
    return NAMES[method][0].upper() + NAMES[method][1:]


def _groups(units: np.ndarray | None) -> int | None:
    """Return the number of independent units; None where every image is one of its own."""
    count = len(np.unique(units)) if units is not None else None
    return count if units is not None and count != len(units) else None


def _refuse_unknown(methods: Sequence[str]) -> None:
    for method in methods:
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise UsageError(f"There is no calibration {method!r}; there are {known}.{nearest(method, METHODS)}")
