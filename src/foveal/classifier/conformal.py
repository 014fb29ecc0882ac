"""Prediction sets as they are applied: all classes that fit an image well enough, at a stored quantile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from foveal.errors import DataError

Kind = Literal["lac", "aps"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class ConformalSets:
    """Which classes are in an image's set: those whose score is at most the quantile. Low scores fit well.

    A set may be empty. It then means that no class fits the image as well as the labels of 1 − alpha of the images
    fitted theirs: "I don't know". To fill it would be to hide that. Kinds of score:

    - lac (least ambiguous sets; Sadinle, Lei, Wasserman 2019): 1 − the class's probability;
    - aps (adaptive sets; Romano, Sesia, Candès 2020): the sum of all probabilities that are at least the class's. It is
      without their random part, so sets are somewhat larger than need be; equally probable classes go in together.
    """

    kind: Kind
    class_conditional: bool  # whether each class has a quantile of its own, and so is covered on its own
    alpha: float  # at most this share of images may have a set without their class
    quantiles: tuple[float | None, ...]  # one, or one a class; None: too few units, every class is let in
    split: str  # the images whose scores gave the quantiles
    n: int
    units: int  # independent ones among them
    method: str  # how they were found, and what is guaranteed, in a sentence
    note: str = ""  # what is wrong with them, such as too few units; empty where nothing is

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which classes are in the set of each image, (N, C) bool, for calibrated `probabilities` (N, C).

        Raises DataError when they are no probabilities, or not of as many classes as the quantiles are for.
        """
        p = np.asarray(probabilities, np.float64)
        if p.ndim != 2 or (self.class_conditional and p.shape[1] != len(self.quantiles)):
            raise DataError(f"These prediction sets are for other classes than those of probabilities of {p.shape}.")
        if not ((p >= 0) & (p <= 1)).all():  # also where one is NaN
            raise DataError("Prediction sets are made of probabilities, but some of these are not between 0 and 1.")
        highest = np.array([math.inf if one is None else one for one in self.quantiles])  # (1,) or (C,)
        inside: np.ndarray = scores(self.kind, p) <= highest
        return inside

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json."""
        return asdict(self) | {"quantiles": list(self.quantiles)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], classes: int) -> ConformalSets:
        """Return the sets that `to_dict` wrote, for `classes` classes; ValueError says what is wrong with them."""
        names = ("kind", "class_conditional", "alpha", "quantiles", "split", "n", "units", "method", "note")
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                raise ValueError(f"the prediction sets have no {name}")
        of = {name: value[name] for name in names}
        if of["kind"] not in KINDS:
            raise ValueError(f"the kind {of['kind']!r} of the prediction sets is none of {', '.join(KINDS)}")
        if not isinstance(of["class_conditional"], bool):
            raise ValueError("class_conditional of the prediction sets is neither true nor false")
        if not _number(of["alpha"]) or not 0 < of["alpha"] < 1:
            raise ValueError("alpha of the prediction sets is no number between 0 and 1")
        quantiles, wanted = of["quantiles"], classes if of["class_conditional"] else 1
        if not isinstance(quantiles, list) or len(quantiles) != wanted:
            raise ValueError(f"the prediction sets have not {wanted} quantiles")
        if not all(one is None or (_number(one) and 0 <= one <= 1 + 1e-6) for one in quantiles):
            raise ValueError("a quantile of the prediction sets is no number from 0 to 1")
        if not all(isinstance(of[name], str) for name in ("split", "method", "note")):
            raise ValueError("split, method or note of the prediction sets is no text")
        counts = of["n"], of["units"]
        if (
            not all(isinstance(one, int) and not isinstance(one, bool) for one in counts)
            or not 0 <= counts[1] <= counts[0]
        ):
            raise ValueError("n and units of the prediction sets are no numbers of images and units")
        return cls(**{**of, "quantiles": tuple(quantiles)})


def scores(kind: Kind, probabilities: np.ndarray) -> np.ndarray:
    """Return how badly each class fits each image, (N, C), from `probabilities` (N, C). See `ConformalSets`."""
    if kind == "lac":
        return 1 - probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)  # (N, C), highest first
    sums = np.minimum(np.cumsum(ranked, axis=1), 1.0)
    sums[:, -1] = 1.0  # whatever it is rounded to
    last = np.ones(ranked.shape, bool)  # whether a class is the last of those as probable as itself
    last[:, :-1] = ranked[:, :-1] != ranked[:, 1:]
    of_ties = np.minimum.accumulate(np.where(last, sums, np.inf)[:, ::-1], axis=1)[:, ::-1]
    found: np.ndarray = np.empty_like(sums)
    np.put_along_axis(found, order, of_ties, axis=1)
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
