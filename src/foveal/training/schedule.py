"""The learning rate of every step: where it is decided.

All but `plateau` are functions of the step alone (and of the time gone, where time is limited), so a
resumed run needs no state for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

WARMUP_SHARE = 0.1
ONE_CYCLE_RISE = 0.3
STEPS_DOWN = (0.5, 0.75)


@dataclass
class Schedule:
    """The learning rate over `total_steps`, at most `peak`.

    ==========  ==========================================================================
    one_cycle   cosine from peak / 25 up to peak over the first 30 %, then down to
                peak / 250,000 (Smith, Topin 2018; the shape of torch's OneCycleLR)
    cosine      linear warm-up over 10 %, then half a cosine to 0 (Loshchilov, Hutter 2017)
    step        peak, a tenth of it after half, a hundredth after three quarters
    plateau     peak, divided by 10 each time `plateau_patience` epochs bring no better
                validation loss
    constant    peak
    ==========  ==========================================================================
    """

    name: str
    peak: float
    total_steps: int
    plateau_patience: int = 3
    plateau: dict[str, float] = field(default_factory=lambda: {"factor": 1.0, "best": math.inf, "waited": 0.0})

    def rate(self, step: float, time_share: float = 0.0) -> float:
        """Return the learning rate of `step`, counted from 0.

        Where a time limit has it that `time_share` of the time for learning is gone, and that is ahead of
        the steps, the time decides: the schedule ends when the time does.
        """
        step = max(step, time_share * (self.total_steps - 1))
        part = step / max(self.total_steps - 1, 1)
        if self.name == "one_cycle":
            if part < ONE_CYCLE_RISE:
                return _cosine(self.peak / 25, self.peak, part / ONE_CYCLE_RISE)
            return _cosine(self.peak, self.peak / 250_000, (part - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))
        if self.name == "cosine":
            warmup = max(1, round(self.total_steps * WARMUP_SHARE))
            if step < warmup:
                return self.peak * (step + 1) / warmup
            return _cosine(self.peak, 0, (step - warmup) / max(self.total_steps - warmup, 1))
        if self.name == "step":
            return float(self.peak * 0.1 ** sum(step >= share * self.total_steps for share in STEPS_DOWN))
        if self.name == "plateau":
            return self.peak * self.plateau["factor"]
        return self.peak

    def epoch_ended(self, validation_loss: float) -> None:
        """Tell `plateau` how the epoch went; the others do not care."""
        state = self.plateau
        if validation_loss < state["best"]:
            state["best"], state["waited"] = validation_loss, 0
            return
        state["waited"] += 1
        if state["waited"] >= self.plateau_patience:
            state["factor"], state["waited"] = state["factor"] / 10, 0


def _cosine(start: float, end: float, part: float) -> float:
    """Return the value at `part` (0 to 1) of half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
