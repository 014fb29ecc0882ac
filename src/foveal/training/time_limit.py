"""A limit on the time of training: the schedule is fitted to it, and training ends within it."""

from __future__ import annotations

import math
import re
import time

VALIDATION_COST = 0.5  # of learning from as many images, until it has been measured: it has no backward pass
SPARE = 1.1  # the last validation pass may take so much longer than the one before

UNITS_S = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
NUMBER = r"\d+(?:\.\d+)?"
DURATION = re.compile(rf"(?:{NUMBER}(?:h|min|m|s))+|{NUMBER}", re.ASCII)
PART = re.compile(rf"({NUMBER})(h|min|m|s|$)", re.ASCII)


def parse_duration(value: object) -> object:
    """Return seconds for ``"90"``, ``"90s"``, ``"10m"`` or ``"1h30m"``, anything but text as it is; else ValueError."""
    if not isinstance(value, str):
        return value
    text = value.lower().replace(" ", "")
    parts = PART.findall(text)
    units = [unit for _, unit in parts]
    if not DURATION.fullmatch(text) or len(set(units)) < len(units):
        raise ValueError("write a time like 90s, 10m or 1h30m")
    return sum(float(number) * UNITS_S.get(unit, 1.0) for number, unit in parts)


class TimeLimit:
    """How much of the time of a training is gone, over all its resumptions. Without a limit: nothing, ever.

    The end of training takes time too: the last validation pass and its checkpoint, `closing_s` when it
    was last measured. What remains is for learning, and `share` says how much of that is gone.
    """

    def __init__(self, limit_s: float | None, elapsed_s: float, closing_s: float, *, validation_images: int) -> None:
        self.limit_s, self.closing_s, self.validation_images = limit_s, closing_s, validation_images
        self._started = time.monotonic() - elapsed_s
        self._step_began = time.monotonic()
        self._step_s, self._image_s = 0.0, math.inf

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, validation passes included."""
        return time.monotonic() - self._started

    @property
    def left_s(self) -> float:
        """Seconds until the limit; infinitely many without one."""
        return math.inf if self.limit_s is None else self.limit_s - self.elapsed_s

    @property
    def share(self) -> float:
        """How much of the time for learning is gone, from 0 to 1."""
        if self.limit_s is None:
            return 0.0
        return min(1.0, self.elapsed_s / max(self.limit_s - self._reserve_s, 1e-9))

    @property
    def is_over(self) -> bool:
        """Whether one more step would leave too little time to end the epoch."""
        return self.left_s < self._step_s + self._reserve_s

    def steps_begin(self) -> None:
        """Start the clock of the epoch's first step."""
        self._step_began = time.monotonic()

    def step_ended(self, images: int) -> None:
        """Note that a step on `images` is done. Steps differ, and the first is the slowest: the fastest counts."""
        now = time.monotonic()
        self._step_s, self._step_began = now - self._step_began, now
        self._image_s = min(self._image_s, self._step_s / images)

    @property
    def _reserve_s(self) -> float:
        """Seconds to keep for ending the epoch at hand."""
        if self.closing_s:
            return SPARE * self.closing_s
        return 0.0 if math.isinf(self._image_s) else VALIDATION_COST * self._image_s * self.validation_images
