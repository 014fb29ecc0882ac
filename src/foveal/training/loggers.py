"""Other programs' records of a run: what a logger does, which there are, and whether their packages are there.

A logger is told everything as often as one likes, and writes what its record does not hold yet. So a run
that was interrupted, wherever that was, goes on in the same record without a gap and without a point twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from foveal.errors import MissingPartError
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.history import EpochRow

PACKAGES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy")}  # extra → modules


class Logger(Protocol):
    """Writes one kind of record. Its methods raise OSError, or an exception of its program, when it cannot."""

    def epochs(self, rows: Sequence[EpochRow]) -> None:
        """Write those of `rows`, all epochs so far, that the record lacks."""

    def end(self, metrics: dict[str, Any], run: Run) -> None:
        """Write the test figures of metrics.json, and the report where the record takes files."""

    def close(self) -> None:
        """Write what is held back."""


def points(row: EpochRow) -> dict[str, float]:
    """Return the figures of an epoch that are logged, by name."""
    return {
        "loss/train": row.train_loss,
        "loss/validation": row.validation_loss,
        "accuracy/train": row.train_accuracy,
        "accuracy/validation": row.validation_accuracy,
        "learning_rate": row.learning_rate,
        "images_per_s": row.images_per_s,
    }


def final_points(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the test figures that are logged, by name; those that are undefined are left out."""
    test = metrics["test"]
    found = {
        "test/accuracy": test["accuracy"]["value"],
        "test/accuracy_low": test["accuracy"]["low"],
        "test/accuracy_high": test["accuracy"]["high"],
        "test/loss": test.get("loss"),
        "test/macro_f1": test.get("macro_f1"),
        "test/images": test["n"],
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def refuse_missing(wanted: Sequence[str]) -> None:
    """Raise MissingPartError when the packages of a wanted logger are not installed."""
    for name in wanted:
        if any(find_spec(module) is None for module in PACKAGES[name]):
            raise MissingPartError(f"Logging to {name} needs a part that is missing: pip install 'foveal[{name}]'")


class Loggers:
    """All loggers of a run. One that fails while the run goes on is reported and left out: training is worth more."""

    def __init__(self, loggers: Sequence[Logger], progress: Progress) -> None:
        self.working, self.progress = list(loggers), progress

    def epochs(self, rows: Sequence[EpochRow]) -> None:
        """Tell all of them the epochs so far."""
        for logger in tuple(self.working):
            with self._reporting(logger):
                logger.epochs(rows)

    def end(self, run: Run) -> None:
        """Tell all of them how the run ended."""
        for logger in tuple(self.working):
            with self._reporting(logger):
                logger.end(run.metrics, run)

    @contextmanager
    def _reporting(self, logger: Logger) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever its program raises
            self.working.remove(logger)
            reason = str(error).split("\n")[0].rstrip(".")
            self.progress.line(f"note: logging to {type(logger).__name__} stopped: {reason}.")


@contextmanager
def open_loggers(run: Run, wanted: Sequence[str], progress: Progress) -> Iterator[Loggers]:
    """Yield the loggers of `run`; on leaving they are closed.

    Raises MissingPartError when a package is missing, UsageError when MLflow's server cannot be reached.
    """
    refuse_missing(wanted)
    with ExitStack() as stack:
        loggers: list[Logger] = []
        if "tensorboard" in wanted:
            from foveal.training.log_tensorboard import TensorBoard

            loggers.append(TensorBoard(run))
        if "mlflow" in wanted:
            from foveal.training.log_mlflow import MLflow

            loggers.append(MLflow(run))
        for logger in loggers:
            stack.callback(logger.close)
        yield Loggers(loggers, progress)
