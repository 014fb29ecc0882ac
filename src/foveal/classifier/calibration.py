"""Calibration as it is applied: stored probabilities in, probabilities that say how often they are right out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from foveal.errors import DataError

Method = Literal["none", "temperature", "vector", "platt", "isotonic", "beta"]
METHODS: tuple[Method, ...] = get_args(Method)

SMALLEST_PROBABILITY = 1e-9  # probabilities are stored to nine decimals
DECIMALS = 9  # of a probability, as it is answered and stored
STEEPEST = 40.0  # beyond it a logistic curve is 0 or 1 to all stored decimals
SLACK = 1e-3  # by which a probability of another tool may exceed 1, having been rounded
LARGEST = 1e9  # of a parameter: beyond it nothing is fitted, and sums would overflow

_PARAMETERS: dict[str, tuple[str, ...]] = {  # what each method must come with, and nothing else
    "none": (),
    "temperature": ("temperature",),
    "vector": ("weights", "biases"),
    "platt": ("slopes", "intercepts"),
    "isotonic": ("knots", "values", "floor"),
    "beta": ("a", "b", "c"),
}


@dataclass(frozen=True, eq=False)
class Calibration:
    """A map from probabilities (N, C) to calibrated ones, and what is known of how it was found.

    With p the probabilities, floored at 1e-9, and C classes, `parameters` are those of

    - none: p as it is;
    - temperature (Guo, Pleiss, Sun, Weinberger 2017): softmax(ln p / T);
    - vector (the same): softmax(w ∘ ln p + b), `weights` and `biases` (C);
    - platt (Platt 1999), one class against the rest: σ(slope · ln(p / (1 − p)) + intercept);
    - isotonic (Zadrozny, Elkan 2002), one class against the rest: a rising line through (`knots`, `values`);
    - beta (Kull, Silva Filho, Flach 2017), one class against the rest: σ(a · ln p − b · ln(1 − p) + c), a, b ≥ 0.

    The last three have one entry a class, and their answers are divided by their sum; with two classes they have one
    entry, that of the second class, and the first gets the complement. Isotonic answers are at least `floor`.

    `facts` are plain JSON: `split`, `n`, `groups`, `log_loss_before`, `log_loss_after`, `reason` and, where methods
    were compared, `folds`, `seed`, `candidates` and `left_out`.
    """

    method: Method
    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated `probabilities` (N, C) in float64, rounded to nine decimals; rows sum to 1.

        "none" returns them as they are, rounded. A row's result depends on that row alone. Raises DataError when
        they are no probabilities, or not of as many classes as the calibration is for.
        """
        p: np.ndarray = np.ascontiguousarray(probabilities, dtype=np.float64)  # (N, C)
        self._refuse(p)
        if self.method == "none":
            return np.round(p, DECIMALS)
        if self.method == "temperature":
            return np.round(_softmax(floored_log(p) / self.parameters["temperature"]), DECIMALS)
        if self.method == "vector":
            weights, biases = np.array(self.parameters["weights"]), np.array(self.parameters["biases"])  # (C,), (C,)
            return np.round(_softmax(weights * floored_log(p) + biases), DECIMALS)
        answers = self._one_against_rest(against_rest(p))  # (N, C), or (N, 1) of two classes
        if p.shape[1] == 2:
            answers = np.hstack((1 - answers, answers))  # (N, 2)
        answers = np.maximum(answers, self.parameters.get("floor", SMALLEST_PROBABILITY))
        calibrated: np.ndarray = np.round(answers / answers.sum(axis=1, keepdims=True), DECIMALS)
        return calibrated

    def _one_against_rest(self, p: np.ndarray) -> np.ndarray:
        """Return the chance (N, K) of each of K classes against the rest, each from its own column of `p` (N, K)."""
        of = self.parameters
        if self.method == "isotonic":
            curves = zip(p.T, of["knots"], of["values"], strict=True)
            return np.column_stack([np.interp(column, knots, values) for column, knots, values in curves])
        log, log_rest = floored_log(p), floored_log(1 - p)
        if self.method == "platt":
            return _logistic(np.array(of["slopes"]) * (log - log_rest) + np.array(of["intercepts"]))
        return _logistic(np.array(of["a"]) * log - np.array(of["b"]) * log_rest + np.array(of["c"]))

    def _refuse(self, p: np.ndarray) -> None:
        if p.ndim != 2:
            raise DataError(f"A calibration takes a row of probabilities for each image, not an array of {p.shape}.")
        first = _PARAMETERS[self.method][0] if _PARAMETERS[self.method] else ""
        wanted = len(self.parameters[first]) if first not in {"", "temperature"} else None
        given = 1 if p.shape[1] == 2 and self.method in {"platt", "isotonic", "beta"} else p.shape[1]
        if wanted is not None and given != wanted:
            raise DataError(f"This calibration was fitted for other classes than these {p.shape[1]}.")
        if not ((p >= 0) & (p <= 1 + SLACK)).all():  # also where one is NaN
            raise DataError("A calibration takes probabilities, but some of these are not between 0 and 1.")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json."""
        return {"method": self.method, "parameters": dict(self.parameters), "facts": dict(self.facts)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], classes: int) -> Calibration:
        """Return the calibration that `to_dict` wrote, for `classes` classes; ValueError says what is wrong with it."""
        for name in ("method", "parameters", "facts"):
            if not isinstance(value, Mapping) or name not in value:
                raise ValueError(f"the calibration has no {name}")
        method, parameters, facts = value["method"], value["parameters"], value["facts"]
        if method not in METHODS:
            raise ValueError(f"the calibration {method!r} is none of {', '.join(METHODS)}")
        if not isinstance(parameters, Mapping) or set(parameters) != set(_PARAMETERS[method]):
            wanted = ", ".join(_PARAMETERS[method]) or "nothing"
            raise ValueError(f"the parameters of {method} calibration must be: {wanted}")
        if not isinstance(facts, Mapping) or not _plain(facts):
            raise ValueError("the facts of the calibration are not plain, finite values")
        _CHECKS[method](parameters, classes)
        return cls(method, dict(parameters), dict(facts))


def floored_log(p: np.ndarray) -> np.ndarray:
    """Return ln of `p` floored at 1e-9, the smallest probability that is stored."""
    log: np.ndarray = np.log(np.maximum(p, SMALLEST_PROBABILITY))
    return log


def against_rest(p: np.ndarray) -> np.ndarray:
    """Return the columns (N, K) of `p` (N, C) that are taken against the rest: all, or the second of two."""
    return p[:, 1:] if p.shape[1] == 2 else p


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))  # (N, C)
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _logistic(x: np.ndarray) -> np.ndarray:
    shares: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -STEEPEST, STEEPEST)))
    return shares


def _check_none(_parameters: Mapping[str, Any], _classes: int) -> None:
    """Nothing can be wrong with no parameters."""


def _check_temperature(parameters: Mapping[str, Any], _classes: int) -> None:
    if not _usable(parameters["temperature"]) or parameters["temperature"] < 1 / LARGEST:
        raise ValueError("the temperature of the calibration is no number above 0")


def _check_vector(parameters: Mapping[str, Any], classes: int) -> None:
    for name in ("weights", "biases"):
        _check_numbers(parameters[name], name, classes)


def _check_platt(parameters: Mapping[str, Any], classes: int) -> None:
    for name in ("slopes", "intercepts"):
        _check_numbers(parameters[name], name, _entries(classes))


def _check_beta(parameters: Mapping[str, Any], classes: int) -> None:
    for name in ("a", "b", "c"):
        _check_numbers(parameters[name], name, _entries(classes))
    if min(*parameters["a"], *parameters["b"]) < 0:
        raise ValueError("a and b of the beta calibration must not be below 0")


def _check_isotonic(parameters: Mapping[str, Any], classes: int) -> None:
    knots, values, floor = parameters["knots"], parameters["values"], parameters["floor"]
    if (
        not isinstance(knots, list)
        or not isinstance(values, list)
        or not len(knots) == len(values) == _entries(classes)
    ):
        raise ValueError(f"the isotonic calibration does not have {_entries(classes)} lists of knots and of values")
    for x, y in zip(knots, values, strict=True):
        _check_numbers(x, "knots", max(1, len(x)) if isinstance(x, list) else 1)
        _check_numbers(y, "values", len(x))
        if (np.diff(x) <= 0).any() or (np.diff(y) < 0).any() or min(x[0], y[0]) < 0 or max(x[-1], y[-1]) > 1:
            raise ValueError("the knots of the isotonic calibration do not rise from 0 to 1 at most")
    if not _usable(floor) or not 0 < floor <= 0.5:
        raise ValueError("the floor of the isotonic calibration is no number above 0 and up to 0.5")


_CHECKS: dict[str, Callable[[Mapping[str, Any], int], None]] = {
    "none": _check_none,
    "temperature": _check_temperature,
    "vector": _check_vector,
    "platt": _check_platt,
    "isotonic": _check_isotonic,
    "beta": _check_beta,
}


def _entries(classes: int) -> int:
    """Return how many classes are taken against the rest."""
    return 1 if classes == 2 else classes


def _check_numbers(values: Any, name: str, count: int) -> None:
    if not isinstance(values, list) or len(values) != count or not all(map(_usable, values)):
        raise ValueError(f"the {name} of the calibration are not a list of {count} finite numbers")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _usable(value: Any) -> bool:
    return _finite(value) and bool(abs(value) <= LARGEST)


def _plain(value: Any) -> bool:
    """Whether `value` is JSON without NaN or infinities."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _plain(one) for name, one in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | bool) or _finite(value)
