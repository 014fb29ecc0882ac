"""How far an engine's answers are from torch's, on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from foveal.errors import FovealError

TOLERANCE = 1e-4  # of probabilities, between engines that compute in fp32
ROUNDS, MOST_SECONDS = 15, 3.0


@dataclass(frozen=True)
class Parity:
    """The largest differences over n images, and the share on which both name the same class."""

    n: int
    max_probability_difference: float
    max_logit_difference: float
    label_agreement: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of engines.json."""
        return asdict(self)


def measure_parity(reference: np.ndarray, answers: np.ndarray) -> Parity:
    """Compare logits (N, classes) of the same images, N more than none."""
    if not (np.isfinite(answers).all() and np.isfinite(reference).all()):
        return Parity(len(answers), 1.0, float(np.finfo(np.float32).max), 0.0)
    return Parity(
        len(reference),
        float(np.abs(softmax(reference) - softmax(answers)).max()),
        float(np.abs(reference.astype(np.float64) - answers).max()),
        float((reference.argmax(axis=1) == answers.argmax(axis=1)).mean()),
    )


def refuse_apart(parity: Parity, title: str, tolerance: float = TOLERANCE) -> None:
    """Raise FovealError when the probabilities differ by more than `tolerance`."""
    if parity.max_probability_difference > tolerance:
        raise FovealError(
            f"{title} answers differently from torch: probabilities differ by up to "
            f"{parity.max_probability_difference:.1e} on {parity.n:,} images, which is more than {tolerance:.0e}; "
            "nothing was kept."
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, classes) of `logits`, in float64."""
    values = logits.astype(np.float64)
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    result: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return result


def latencies_ms(ways: dict[str, Callable[[np.ndarray], Any]], image: np.ndarray) -> dict[str, float]:
    """Return the median milliseconds of each way for `image` (1, C, H, W), asked in turn, after one warm-up each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(image)
    began = time.perf_counter()
    for number in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(image)
            taken[name].append((time.perf_counter() - start) * 1e3)
        if number >= 2 and time.perf_counter() - began > MOST_SECONDS:
            break
    return {name: median(times) for name, times in taken.items()}
