"""How training went: one row an epoch, in history.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from foveal.files import write_csv
from foveal.progress import duration


@dataclass(frozen=True)
class EpochRow:
    """One epoch. Training figures are means over the epoch's batches, while the weights moved."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # of the last batch
    seconds: float
    images_per_s: float
    best: int  # 1 where the validation loss was the lowest so far
    images: int = 0  # learned from; Foveal 0.1.0 did not write it down
    stage: str = ""  # of a transfer: head, last block, …

    def sentence(self, epochs: int, left_s: float) -> str:
        """Return the line that is printed after the epoch; `epochs` is how many there will have been at the end."""
        return (
            f"epoch {self.epoch:>{len(str(epochs))}}/{epochs}"
            f"  train {self.train_loss:.4f} {self.train_accuracy:.1%}"
            f"  valid {self.validation_loss:.4f} {self.validation_accuracy:.1%}{'*' if self.best else ' '}"
            f"  {self.images_per_s:,.0f} images/s  {duration(left_s)} left"
        )


LEGEND = "each epoch: loss and accuracy on training and validation images; * the best validation loss so far"


def epoch_row(row: Mapping[str, Any]) -> EpochRow:
    """Return the epoch in a row of history.csv, whose numbers were read as floats; TypeError where a column lacks."""
    whole: dict[str, Any] = {name: int(row[name]) for name in ("epoch", "best", "images") if name in row}
    return EpochRow(**{**row, **whole})


def write_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Replace `path` by all rows so far."""
    write_csv(path, [field.name for field in fields(EpochRow)], [list(asdict(row).values()) for row in rows])
