"""Slices: the same figures for parts of the images, such as each scanner or age band, and whether they differ."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.errors import DataError, UsageError
from foveal.evaluation.bands import UNKNOWN, bands
from foveal.evaluation.class_metrics import FEWEST_UNITS
from foveal.evaluation.interval import Estimate
from foveal.evaluation.metrics import check_answers, measure, unit_numbers
from foveal.evaluation.permutation import Parts

DIGITS = "0123456789"
PERMUTATIONS = 2_000
SLICE_RESAMPLES = 1_000
MOST_NUMBERS = 10  # different numbers that are slices each; more are put into bands
MOST_VALUES = 50


@dataclass(frozen=True)
class Slice:
    """The images that share one value of a column. No figure where they are too few."""

    value: str
    n: int
    units: int  # independent ones
    too_small: bool  # fewer than FEWEST_UNITS units: no figure, and no part in the test
    accuracy: Estimate | None
    expected_accuracy: float | None  # what each class's accuracy over all slices gives, with this slice's classes
    balanced_accuracy: Estimate | None
    auc_macro: Estimate | None
    loss: Estimate | None


@dataclass(frozen=True)
class Gap:
    """The accuracies of the best and the worst slice, and what chance and the mix of classes alone would make."""

    best: str
    worst: str
    difference: float
    by_chance: float | None  # mean difference between the best and the worst under permutation
    p_value: float | None  # both None where no class has images in two slices, so that nothing can be exchanged
    permutations: int


@dataclass(frozen=True)
class SliceReport:
    """Figures by the values of one column."""

    column: str
    slices: tuple[Slice, ...]
    gap: Gap | None  # None with fewer than two slices that are not too small
    note: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of metrics.json."""
        return asdict(self) | {"slices": [asdict(one) for one in self.slices]}


def slices(
    column: str,
    values: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    permutations: int = PERMUTATIONS,
    resamples: int = SLICE_RESAMPLES,
    seed: int = 0,
) -> SliceReport:
    """Return the figures of the images by their `values` (N,) str of `column`; an empty value is "unknown".

    `labels` (N,), `probabilities` (N, C); `units` (N,) name patients, as in `measure`. The gap between the best and
    the worst accuracy is the largest of many differences, so it is never 0, and slices with more of a hard class
    are worse without any fault. Both are allowed for: the p-value is the share of permutations with a gap at least
    as large, where the values are exchanged among the units of a class only, so that each slice keeps its mix of
    classes (b + 1 of B + 1; Phipson, Smyth 2010); where every class lies in one slice, there
    is none. DataError where lengths differ; UsageError for no permutation.
    """
    check_answers(labels, probabilities, len(classes))
    if len(values) != len(labels):
        raise DataError(f'"{column}" has {len(values):,} values for {len(labels):,} images; give one for each.')
    if permutations < 1:
        raise UsageError(f"{permutations} permutations test nothing; take 1 or more, such as {PERMUTATIONS:,}.")
    named = np.array([str(value) if value not in (None, "") else UNKNOWN for value in values.tolist()])
    texts = sorted(set(named.tolist()), key=_natural)
    place = {text: index for index, text in enumerate(texts)}
    codes = np.array([place[text] for text in named.tolist()])  # (N,)
    numbers = unit_numbers(labels, units)
    right = probabilities.argmax(axis=1) == labels
    hits, images = np.bincount(labels, weights=right), np.bincount(labels)
    of_class = hits / np.maximum(images, 1)  # (classes up to the last one present,): accuracy over all slices
    found = []
    for code, text in enumerate(texts):
        here = codes == code
        count = len(np.unique(numbers[here]))
        if count < FEWEST_UNITS:
            found.append(Slice(text, int(here.sum()), count, True, None, None, None, None, None))
            continue
        one = measure(labels[here], probabilities[here], classes, numbers[here], resamples=resamples, seed=seed)
        mean = float(np.bincount(labels[here], minlength=len(of_class)) @ of_class / one.n)
        balanced, auc, loss = one.balanced_accuracy, one.auc_macro, one.intervals["loss"]
        found.append(Slice(text, one.n, count, False, one.accuracy, mean, balanced, auc, loss))
    judged = [code for code, one in enumerate(found) if not one.too_small]
    used = np.isin(codes, judged)
    parts = Parts.of(codes[used], numbers[used], labels[used], right[used]) if used.any() else None
    gap = _gap(found, parts, permutations, seed) if parts is not None and len(judged) > 1 else None
    return SliceReport(column, tuple(found), gap, _note(parts) if gap is not None and parts is not None else "")


def sliceable(column: str, values: np.ndarray) -> np.ndarray:
    """Return the `values` (N,) str of `column` as slices are made of them: many different numbers become four bands.

    DataError where there are more than 50 different values that are no numbers: each would be measured apart.
    """
    different = set(values.tolist()) - {""}
    if len(different) <= MOST_NUMBERS:
        return values
    try:
        return bands(values)
    except DataError as error:
        if len(different) <= MOST_VALUES:
            return values
        raise DataError(
            f'The column "{column}" has {len(different):,} different values; slices are made of {MOST_VALUES} at most, '
            f"or of numbers, which are put into bands{_stray(different)}."
        ) from error


def _stray(texts: set[str]) -> str:
    """Return which texts are no numbers, where most of `texts` are."""
    strange = sorted(text for text in texts if not re.fullmatch(r"\s*[-+]?[0-9]*\.?[0-9]+\s*", text))
    return f"; no numbers are {', '.join(strange[:5])}" if 2 * len(strange) < len(texts) else ""


def _natural(text: str) -> tuple[bool, list[tuple[bool, float, str]]]:
    """Return a key by which "5 to 9" comes before "10 to 19", and what is unknown last."""
    pieces = [part for part in re.split(r"([0-9]+(?:\.[0-9]+)?)", text) if part]
    return text == UNKNOWN, [(False, float(part), "") if part[0] in DIGITS else (True, 0.0, part) for part in pieces]


def _gap(found: list[Slice], parts: Parts, permutations: int, seed: int) -> Gap:
    judged = [(one.accuracy.value, one.value) for one in found if one.accuracy is not None]
    best, worst = max(judged, key=lambda one: one[0]), min(judged, key=lambda one: one[0])
    observed = parts.observed()
    if not parts.exchangeable:
        return Gap(best[1], worst[1], observed, None, None, permutations)
    drawn = parts.gaps(permutations, seed)
    beyond = int((drawn >= observed - 1e-12).sum())
    p_value = (beyond + 1) / (permutations + 1)
    return Gap(best[1], worst[1], observed, float(drawn.mean()), p_value, permutations)


def _note(parts: Parts) -> str:
    told = (
        "The p-value of the gap is that of a permutation test which exchanges values among units of the same class, so "
        "a different mix of classes does not count as a gap; what else differs between the slices does."
    )
    if parts.torn:
        told += " Some units have images in several slices; their images in each slice were exchanged as if units."
    return told
