"""MLflow: a run of its tracking store, by MLflow's own rules: MLFLOW_TRACKING_URI, or mlflow.db in this folder."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal.errors import UsageError
from foveal.files import write_json
from foveal.run import SCHEMA_VERSION, Run, read_json
from foveal.training.history import EpochRow
from foveal.training.loggers import final_points, points

FILE = "mlflow.json"  # in the run directory: where the record is
EXPERIMENT = "foveal"
LONGEST_PARAMETER = 500


class MLflow:
    """Writes the figures of a run to MLflow, its recipe as parameters, its report as an artifact."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # no reports to its makers
        place = run.path / FILE
        record = read_json(place) if place.is_file() else {}
        uri = record.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or local_store()
        self.ended = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its own use of sqlalchemy
                from mlflow.tracking import MlflowClient

                self.client = MlflowClient(tracking_uri=uri)
                self.id = str(record.get("run_id") or self._begin(run))
                self.client.update_run(self.id, status="RUNNING")
                names = self.client.get_run(self.id).data.metrics
                self.written = {name: self._steps(name) for name in names}
        except Exception as error:
            reason = (str(error) or type(error).__name__).split("\n")[0].rstrip(".")
            raise UsageError(f"The MLflow record at {uri} cannot be used: {reason}.") from error
        write_json(place, {"schema_version": SCHEMA_VERSION, "tracking_uri": uri, "run_id": self.id})

    def epochs(self, rows: Sequence[EpochRow]) -> None:
        """Write what is missing of `rows`, an epoch a step."""
        for row in rows:
            self._add(points(row), row.epoch)

    def end(self, metrics: dict[str, Any], run: Run) -> None:
        """Write the test figures, at the step of the best epoch, whose weights were tested, and the report."""
        self._add(final_points(metrics), metrics["training"]["best_epoch"])
        self.client.log_artifact(self.id, str(run.report_file))
        self.client.log_artifact(self.id, str(run.recipe_file))
        self.ended = True

    def close(self) -> None:
        """Tell MLflow that the run has ended, or that it was stopped and may go on."""
        self.client.set_terminated(self.id, status="FINISHED" if self.ended else "KILLED")

    def _begin(self, run: Run) -> str:
        """Make a run of the experiment ``foveal`` (or MLFLOW_EXPERIMENT_NAME); return its id."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        made = self.client.create_run(number, run_name=run.path.name, tags={"foveal.run": str(run.path.absolute())})
        recipe = {key: str(value)[:LONGEST_PARAMETER] for key, value in run.recipe.items()}
        self.client.log_batch(made.info.run_id, params=[Param(key, value) for key, value in recipe.items()])
        return str(made.info.run_id)

    def _add(self, figures: dict[str, float], step: int) -> None:
        """Write those of `figures` that have no point at `step`, in one transaction."""
        from mlflow.entities import Metric

        new = {name: value for name, value in figures.items() if step not in self.written.get(name, ())}
        if not new:
            return
        now_ms = time.time_ns() // 1_000_000
        self.client.log_batch(self.id, metrics=[Metric(name, value, now_ms, step) for name, value in new.items()])
        for name in new:
            self.written.setdefault(name, set()).add(step)

    def _steps(self, name: str) -> set[int]:
        return {point.step for point in self.client.get_metric_history(self.id, name)}


def local_store() -> str:
    """Return MLflow's own choice of a store: ``mlflow.db`` in the current folder, which ``mlflow ui`` shows."""
    return f"sqlite:///{Path('mlflow.db').absolute()}"
