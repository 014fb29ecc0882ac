"""What is made of a network's probabilities: calibrated, decided at a threshold, widened to a set, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.calibration import Calibration
from foveal.classifier.conformal import ConformalSets
from foveal.classifier.gate import Gate
from foveal.classifier.operating import OperatingPoint


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a classifier was given beside its weights; None where it was given none."""

    calibration: Calibration | None = None
    operating: OperatingPoint | None = None
    sets: ConformalSets | None = None
    gate: Gate | None = None
    missed: str | None = None  # why there is no operating point although one was asked for

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Return `probabilities` (N, C) as they are deployed."""
        return self.calibration.apply(probabilities) if self.calibration is not None else probabilities

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the index (N,) of the class that is answered for calibrated `probabilities` (N, C)."""
        if self.operating is None:
            most: np.ndarray = probabilities.argmax(axis=1)
            return most
        return self.operating.decide(probabilities)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json; the gate's arrays are stored beside it."""
        parts = {"calibration": self.calibration, "operating": self.operating, "sets": self.sets, "gate": self.gate}
        told = {name: part.to_dict() for name, part in parts.items() if part is not None}
        return told if self.missed is None else {**told, "operating_missed": self.missed}

    @classmethod
    def from_dict(
        cls, value: Mapping[str, Any], classes: tuple[str, ...], arrays: Mapping[str, np.ndarray]
    ) -> Decisions:
        """Return the decisions in a JSON object; KeyError, TypeError or ValueError say what is wrong with it."""
        count = len(classes)
        return cls(
            Calibration.from_dict(value["calibration"], count) if "calibration" in value else None,
            OperatingPoint.from_dict(value["operating"], classes) if "operating" in value else None,
            ConformalSets.from_dict(value["sets"], count) if "sets" in value else None,
            Gate.from_dict(value["gate"], arrays) if "gate" in value else None,
            str(value["operating_missed"]) if "operating_missed" in value else None,
        )
