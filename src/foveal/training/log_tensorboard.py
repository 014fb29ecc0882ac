"""TensorBoard: event files in the run's folder ``tensorboard/``; ``tensorboard --logdir runs`` shows all runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foveal.run import Run
from foveal.training.history import EpochRow
from foveal.training.loggers import final_points, points

FOLDER = "tensorboard"


class TensorBoard:
    """Writes the figures of a run as event files."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.path / FOLDER
        self.written = written_points(folder)
        self.writer = SummaryWriter(str(folder))
        if "recipe/text_summary" not in self.written:
            text = "\n".join(f"    {line}" for line in run.recipe_file.read_text("utf-8").splitlines())
            self.writer.add_text("recipe", text, 0)
            self.writer.flush()

    def epochs(self, rows: Sequence[EpochRow]) -> None:
        """Write what is missing of `rows`, an epoch a step."""
        for row in rows:
            self._add(points(row), row.epoch)

    def end(self, metrics: dict[str, Any], run: Run) -> None:  # noqa: ARG002 - TensorBoard takes no files
        """Write the test figures, at the step of the best epoch, whose weights were tested."""
        self._add(final_points(metrics), metrics["training"]["best_epoch"])

    def close(self) -> None:
        """Close the event file."""
        self.writer.close()

    def _add(self, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            if step not in self.written.get(name, ()):
                self.writer.add_scalar(name, value, step)
                self.written.setdefault(name, set()).add(step)
        self.writer.flush()


def written_points(folder: Path) -> dict[str, set[int]]:
    """Return which steps of which figures the event files in `folder` hold; a file torn by a kill, up to the tear."""
    found: dict[str, set[int]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in _events(file):
            for value in event.summary.value:
                found.setdefault(value.tag, set()).add(event.step)
    return found


def _events(file: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    said = logging.getLogger("tensorboard")
    level = said.level
    said.setLevel(logging.ERROR)  # a torn tail is expected
    try:
        yield from EventFileLoader(str(file)).Load()
    finally:
        said.setLevel(level)
