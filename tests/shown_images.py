"""Images with what a network makes of them, and the gate that is fitted to such: for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.classifier.gate import Gate
from foveal.evaluation import gate_fitting
from foveal.evaluation.gate_fitting import Seen


@dataclass(frozen=True, eq=False)
class Shown:
    """N images; `features` may be None."""

    pixels: np.ndarray  # (N, H, W, C) uint8
    features: np.ndarray | None  # (N, D)
    logits: np.ndarray  # (N, C)
    labels: np.ndarray  # (N,)

    @property
    def seen(self) -> Seen:
        return Seen.of(self.pixels, self.features, self.logits, self.labels)


def fit_gate(train: Shown, held: Shown, **options: Any) -> Gate:
    return gate_fitting.fit_gate(train.seen, held.seen, **options)
