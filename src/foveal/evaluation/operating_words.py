"""The words that ask for an operating point: a class and what is required of it, what mistakes cost, or prevalences."""

from __future__ import annotations

import math

import numpy as np

from foveal.classifier.operating import EXAMPLES, OperatingPoint, Requirement
from foveal.errors import UsageError, nearest
from foveal.evaluation.choosing import (
    at_stated_threshold,
    for_cost,
    for_prevalence,
    for_sensitivity,
    for_specificity,
    for_youden,
)
from foveal.evaluation.class_metrics import check_whole_prevalence

COST, PREVALENCE = "cost ", "prevalence "


def refuse_operating_words(words: str, classes: tuple[str, ...]) -> None:
    """Raise UsageError where `words` ask for no operating point of these classes; no image is needed to tell."""
    if words.startswith(COST):
        for_cost(_costs(words, classes), classes)
    elif words.startswith(PREVALENCE):
        _prevalences(words, classes)
    else:
        positive, _ = Requirement.from_words(words)
        if positive not in classes:
            known = ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
            raise UsageError(
                f'"{positive}" is no class to choose an operating point for ({known}).{nearest(positive, classes)}'
            )


def choose(
    words: str,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    units: np.ndarray | None = None,
    *,
    split: str = "validation",
) -> OperatingPoint:
    """Return the operating point that `words` ask for, chosen on these images where it takes any.

    - ``"melanoma: sensitivity 0.95"``, ``specificity 0.9``, ``threshold 0.3``, ``youden``: a threshold of one
      class; after the first two ``, lower bound`` asks it of the lower end of the interval;
    - ``"cost melanoma>naevus=20"``: the least expected cost, where taking a melanoma for a naevus costs 20, any other
      mistake that is not named costs 1, and a right answer nothing;
    - ``"prevalence melanoma=0.02, naevus=0.98"``: the most probable class where the classes have these shares.

    UsageError for other words; DataError where these images give no such point.
    """
    known = (labels, probabilities, classes, units)
    if words.startswith(COST):
        return for_cost(_costs(words, classes), classes)
    if words.startswith(PREVALENCE):
        return for_prevalence(_prevalences(words, classes), labels, classes, units, split=split)
    positive, wanted = Requirement.from_words(words)
    if wanted.value is None:
        return for_youden(positive, *known, split=split)
    if wanted.kind == "threshold":
        return at_stated_threshold(wanted.value, positive, *known, split=split)
    by = for_sensitivity if wanted.kind == "sensitivity" else for_specificity
    return by(wanted.value, positive, *known, split=split, lower_bound=wanted.lower_bound)


def _costs(words: str, classes: tuple[str, ...]) -> list[list[float]]:
    """Return the table (true, decided) of ``cost A>B=10, …``."""
    pairs = {f"{true}>{said}": (i, j) for i, true in enumerate(classes) for j, said in enumerate(classes) if i != j}
    table = [[0.0 if i == j else 1.0 for j in range(len(classes))] for i in range(len(classes))]
    for name, number in _named_numbers(words, COST):
        if name not in pairs:
            raise UsageError(
                f'"{name}" in "{words}" is no mistake between two classes, written TRUE>SAID.{nearest(name, pairs)}'
            )
        if not (math.isfinite(number) and number >= 0):
            raise UsageError(f'"{name}={number:g}" in "{words}": a mistake costs 0 or more.')
        true, said = pairs[name]
        table[true][said] = number
    return table


def _prevalences(words: str, classes: tuple[str, ...]) -> dict[str, float]:
    """Return class → share of ``prevalence A=0.02, …``: one for every class, 1 together."""
    shares = dict(_named_numbers(words, PREVALENCE))
    check_whole_prevalence(shares, classes)
    return shares


def _named_numbers(words: str, kind: str) -> list[tuple[str, float]]:
    found = []
    for part in words.removeprefix(kind).split(","):
        name, _, text = part.rpartition("=")
        try:
            found.append((name.strip(), float(text)))
        except ValueError:
            name = ""
        if not name.strip():
            raise UsageError(f'"{words}" is no operating point; write one like {EXAMPLES}.')
    return found
