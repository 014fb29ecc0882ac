"""How an answer is decided: at a threshold of one class, by what mistakes cost, or for other shares of the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from foveal.errors import DataError, UsageError

Kind = Literal["sensitivity", "specificity", "youden", "threshold", "cost", "prevalence"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EXAMPLES = (
    '"CLASS: sensitivity 0.95", "CLASS: specificity 0.9", "CLASS: threshold 0.3", "CLASS: youden", '
    '"cost TRUE>SAID=10, ..." or "prevalence CLASS=0.02, ..."'
)
BY_LOWER_BOUND = ", lower bound"
OF_A_THRESHOLD = ("sensitivity", "specificity", "youden", "threshold")


@dataclass(frozen=True)
class Requirement:
    """What an operating point is to fulfil. ``str()`` says it in words, such as ``sensitivity >= 0.95``."""

    kind: Kind
    value: float | None = None  # the least sensitivity or specificity, or the stated threshold; else None
    lower_bound: bool = False  # whether the lower end of the 95 % interval had to reach the value

    def __str__(self) -> str:
        if self.kind == "threshold":
            return "stated threshold"
        if self.value is None:
            return self.kind
        return f"{self.kind} >= {self.value:g}{', by its lower confidence bound' if self.lower_bound else ''}"

    @classmethod
    def from_words(cls, words: str) -> tuple[str, Requirement]:
        """Return (class name, requirement) of words such as "melanoma: sensitivity 0.95"; UsageError for others.

        After the class come "sensitivity", "specificity" or "threshold" with a number from 0 to 1, or "youden". With
        ", lower bound" after a sensitivity or specificity, the lower end of its interval is to reach the number.
        """
        name, _, rest = (part.strip() for part in words.rpartition(":"))
        surely = rest.endswith(BY_LOWER_BOUND)
        kind, *values = rest.removesuffix(BY_LOWER_BOUND).split() or [""]
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if numbers and len(values) == 1 and kind in OF_A_THRESHOLD[:2] and not 0 < numbers[0] <= 1:
            raise UsageError(f'"{words}": a {kind} is a share above 0 and up to 1, such as 0.95, not {values[0]}.')
        fits = len(values) == (0 if kind == "youden" else 1) == len(numbers) and all(0 < one <= 1 for one in numbers)
        if not name or kind not in OF_A_THRESHOLD or not fits or (surely and kind in ("threshold", "youden")):
            raise UsageError(f'"{words}" is no operating point; write one like {EXAMPLES}.')
        return name, cls(kind, numbers[0] if numbers else None, surely)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Threshold:
    """The positive class wherever its probability reaches a threshold, else the most probable of the others."""

    positive: int  # index of the class
    threshold: float  # from 0 to 1; a probability equal to it is positive

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the index (N,) of the class decided for `probabilities` (N, C)."""
        others = probabilities.copy()  # (N, C)
        others[:, self.positive] = -1.0
        decided: np.ndarray = np.where(
            probabilities[:, self.positive] >= self.threshold, self.positive, others.argmax(axis=1)
        )
        return decided


@dataclass(frozen=True)
class Costs:
    """The class whose expected cost is least: Bayes' decision, as good as the probabilities are calibrated."""

    matrix: tuple[tuple[float, ...], ...]  # (true, decided)

    def expected(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the expected cost (N, decided) of each decision for `probabilities` (N, C)."""
        costs, total = np.array(self.matrix), np.zeros(probabilities.shape)
        for true, row in enumerate(costs):  # not a matrix product, whose last bits depend on the number of images
            total += probabilities[:, true, None] * row
        return total

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the index (N,) of the class with the least expected cost; of equals the first in order."""
        decided: np.ndarray = self.expected(probabilities).argmin(axis=1)
        return decided


@dataclass(frozen=True)
class Prevalence:
    """The most probable class once the shares of the classes are others than where the probabilities were calibrated.

    Each probability is multiplied by stated share / former share, and a row divided by its sum (Saerens, Latinne,
    Decaestecker 2002, equation 2.4). It holds where images of a class look the same in both places.
    """

    stated: tuple[float, ...]  # (C,) shares where the classifier is used
    former: tuple[float, ...]  # (C,) shares where it was calibrated

    def adjusted(self, probabilities: np.ndarray) -> np.ndarray:
        """Return `probabilities` (N, C) at the stated shares; a row of which nothing is left stays as it is."""
        scaled = probabilities * (np.array(self.stated) / np.array(self.former))  # (N, C)
        sums = scaled.sum(axis=1, keepdims=True)
        shares: np.ndarray = np.where(sums > 0, scaled / np.where(sums > 0, sums, 1.0), probabilities)
        return shares

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the index (N,) of the class that is most probable at the stated shares."""
        decided: np.ndarray = self.adjusted(probabilities).argmax(axis=1)
        return decided


@dataclass(frozen=True)
class OperatingPoint:
    """A rule for deciding, what it was to fulfil, and the images on which it was chosen. ``str()`` says it in words."""

    classes: tuple[str, ...]
    rule: Threshold | Costs | Prevalence
    requirement: Requirement
    split: str | None  # the images that it was chosen on; None for a threshold or costs stated without looking at any
    n: int
    units: int  # independent ones among them
    sensitivity: float | None = None  # of a threshold, on those images: too hopeful for others, if slightly
    specificity: float | None = None

    @property
    def positive(self) -> str | None:
        """The name of the positive class; None where there is no threshold."""
        return self.classes[self.rule.positive] if isinstance(self.rule, Threshold) else None

    @property
    def threshold(self) -> float | None:
        """The threshold on the positive class's probability; None where the rule has none."""
        return self.rule.threshold if isinstance(self.rule, Threshold) else None

    def __str__(self) -> str:
        if isinstance(self.rule, Threshold):
            return f"{self.positive} from a probability of {self.rule.threshold:.4g} ({self.requirement})"
        return "least expected cost" if isinstance(self.rule, Costs) else "most probable at stated prevalences"

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the index (N,) of the class decided for calibrated `probabilities` (N, C); DataError for others."""
        p = np.asarray(probabilities, np.float64)
        if p.ndim != 2 or p.shape[1] != len(self.classes):
            raise DataError(f"This operating point is for {len(self.classes)} classes, not probabilities of {p.shape}.")
        if not ((p >= 0) & (p <= 1)).all():  # also where one is NaN
            raise DataError("An operating point takes probabilities, but some of these are not between 0 and 1.")
        return self.rule.decide(p)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json."""
        rule: dict[str, Any]
        if isinstance(self.rule, Threshold):
            rule = {"rule": "threshold", "positive": self.positive, "threshold": self.rule.threshold}
        elif isinstance(self.rule, Costs):
            rule = {"rule": "cost", "costs": [list(row) for row in self.rule.matrix]}
        else:
            rule = {"rule": "prevalence", "stated": list(self.rule.stated), "former": list(self.rule.former)}
        wanted = self.requirement
        told = {"kind": wanted.kind, "value": wanted.value, "lower_bound": wanted.lower_bound, "words": str(wanted)}
        chosen_on = {"split": self.split, "n": self.n, "units": self.units}
        return {
            **rule,
            "requirement": told,
            **chosen_on,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], classes: tuple[str, ...]) -> OperatingPoint:
        """Return the operating point that `to_dict` wrote, for `classes`; ValueError says what is wrong with it."""
        if not isinstance(value, Mapping):
            raise ValueError("the operating point is no object")
        missing = [name for name in ("rule", "requirement", "split", "n", "units") if name not in value]
        if missing:
            raise ValueError(f"the operating point has no {missing[0]}")
        rule, requirement = _rule(value, classes), _requirement(value["requirement"])
        kinds = {Threshold: OF_A_THRESHOLD, Costs: ("cost",), Prevalence: ("prevalence",)}
        if requirement.kind not in kinds[type(rule)]:
            raise ValueError(f'an operating point of the rule "{value["rule"]}" cannot require {requirement.kind}')
        split, n, units = value["split"], value["n"], value["units"]
        if not (split is None or isinstance(split, str)) or not _whole(n) or not _whole(units) or units > n:
            raise ValueError("the operating point does not say on which split, how many images and units it was chosen")
        found = [value.get(name) for name in ("sensitivity", "specificity")]
        if not all(one is None or _share(one) for one in found):
            raise ValueError("the sensitivity or specificity of the operating point is no share from 0 to 1")
        return cls(classes, rule, requirement, split, n, units, found[0], found[1])


def cost_fault(matrix: Sequence[Sequence[float]], classes: int) -> str | None:
    """Return what is wrong with a cost `matrix` (true, decided) for `classes` classes; None where nothing is.

    A mistake may not cost less than the right answer (the reasonableness condition of Elkan 2001), and some must cost
    more.
    """
    square = len(matrix) == classes and all(len(row) == classes for row in matrix)
    if not square:
        return f"the costs are not {classes} rows (true class) of {classes} numbers (decided class)"
    if not all(_number(cost) and cost >= 0 for row in matrix for cost in row):
        return "a cost is negative or no finite number"
    if any(cost < row[true] for true, row in enumerate(matrix) for cost in row):
        return "a mistake costs less than the right answer"
    if all(cost == row[true] for true, row in enumerate(matrix) for cost in row):
        return "no mistake costs anything"
    return None


def _rule(value: Mapping[str, Any], classes: tuple[str, ...]) -> Threshold | Costs | Prevalence:
    kind, names = value["rule"], {"threshold": ("positive", "threshold"), "cost": ("costs",)}
    if kind not in ("threshold", "cost", "prevalence"):
        raise ValueError(f"the rule {kind!r} of the operating point is none of threshold, cost, prevalence")
    missing = [name for name in names.get(kind, ("stated", "former")) if name not in value]
    if missing:
        raise ValueError(f"the operating point has no {missing[0]}")
    if kind == "threshold":
        if value["positive"] not in classes:
            raise ValueError(f"the positive class {value['positive']!r} of the operating point is no class")
        if not _share(value["threshold"]):
            raise ValueError("the threshold of the operating point is no number from 0 to 1")
        return Threshold(classes.index(value["positive"]), float(value["threshold"]))
    if kind == "cost":
        rows = value["costs"]
        fault = "the costs are no lists" if not _lists(rows) else cost_fault(rows, len(classes))
        if fault:
            raise ValueError(f"in the operating point {fault}")
        return Costs(tuple(tuple(float(cost) for cost in row) for row in rows))
    for name in ("stated", "former"):
        shares = value[name]
        lowest = 0.0 if name == "stated" else 1e-12  # former shares are divided by
        usable = isinstance(shares, list) and len(shares) == len(classes) and all(map(_share, shares))
        if not usable or min(shares) < lowest or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the {name} prevalences of the operating point are not {len(classes)} shares of 1")
    return Prevalence(tuple(map(float, value["stated"])), tuple(map(float, value["former"])))


def _requirement(value: Any) -> Requirement:
    if not isinstance(value, Mapping) or value.get("kind") not in KINDS:
        raise ValueError(f"the requirement of the operating point is none of {', '.join(KINDS)}")
    wanted, valued = value.get("value"), value["kind"] in ("sensitivity", "specificity", "threshold")
    if valued != (wanted is not None) or (valued and not _share(wanted)):
        raise ValueError(f"the {value['kind']} that the operating point requires is not as it must be")
    if not isinstance(value.get("lower_bound", False), bool):
        raise ValueError("lower_bound of the operating point is neither true nor false")
    return Requirement(value["kind"], wanted, value.get("lower_bound", False))


def _lists(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) for row in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: Any) -> bool:
    """Whether `value` is a finite number; NumPy's are."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1
