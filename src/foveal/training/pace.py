"""When a stage of training writes and speaks."""

from __future__ import annotations

import math
import time

from foveal.progress import Progress
from foveal.training.history import EpochRow
from foveal.training.stage import TrainingStage

QUICK_EVERY_S = 2.0


class Pace:
    """When a stage writes and speaks: after every epoch, or, where epochs are quick, from time to time."""

    def __init__(self, stage: TrainingStage, progress: Progress) -> None:
        self.every_s = QUICK_EVERY_S if stage.quick else 0.0
        self.progress = progress
        self.written = self.spoken = -math.inf

    def is_due(self, *, ending: bool) -> bool:
        """Whether this epoch is to be written."""
        now = time.monotonic()
        if not ending and now - self.written < self.every_s:
            return False
        self.written = now
        return True

    def say(self, row: EpochRow, epochs: int, left_s: float, *, ending: bool) -> None:
        """Print the line of an epoch, where one is due."""
        now = time.monotonic()
        if ending or now - self.spoken >= self.every_s:
            self.spoken = now
            self.progress.line(row.sentence(epochs, left_s))
