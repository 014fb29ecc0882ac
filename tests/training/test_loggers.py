"""TensorBoard and MLflow, read back by their own readers: every epoch once, also after a stop at any place."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_runs import weights_of

import foveal
from foveal.errors import Interrupted, MissingPartError, UsageError
from foveal.progress import Progress
from foveal.run import Run, read_json
from foveal.training import loggers, loop
from foveal.training.log_tensorboard import TensorBoard, written_points

FIELDS = {"model": "mlp", "epochs": 3, "batch_size": 64, "threads": 1, "progress": False}
COLUMNS = {
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "validation_accuracy",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
}
Read = Callable[[Run], dict[str, list[tuple[int, float]]]]


def read_tensorboard(run: Run) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"), purge_orphaned_data=False)
    events.Reload()
    assert "recipe/text_summary" in events.Tags()["tensors"]
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def mlflow_client(run: Run) -> tuple[Any, str]:
    from mlflow.tracking import MlflowClient

    record = read_json(run.path / "mlflow.json")
    return MlflowClient(tracking_uri=record["tracking_uri"]), record["run_id"]


def read_mlflow(run: Run) -> dict[str, list[tuple[int, float]]]:
    client, number = mlflow_client(run)
    names = client.get_run(number).data.metrics
    return {name: [(one.step, one.value) for one in client.get_metric_history(number, name)] for name in names}


@pytest.fixture(params=["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)])
def logger(request, monkeypatch, tmp_path) -> tuple[str, Read]:
    for module in loggers.PACKAGES[request.param]:
        pytest.importorskip(module, reason=f"needs the extra {request.param}")
    if request.param == "mlflow":
        pytest.importorskip("mlflow.tracking")
        request.applymarker(pytest.mark.filterwarnings("ignore"))  # its own use of sqlalchemy
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return request.param, {"tensorboard": read_tensorboard, "mlflow": read_mlflow}[request.param]


def assert_whole(read: Read, run: Run) -> None:
    """Every figure of every epoch is logged once, and the test figures once, at the best epoch."""
    logged, history, test = read(run), run.history, run.metrics["test"]
    for name, column in COLUMNS.items():
        assert sorted(logged[name]) == [(row["epoch"], pytest.approx(row[column], rel=1e-5)) for row in history], name
    best = run.metrics["training"]["best_epoch"]
    for name, value in {
        "test/accuracy": test["accuracy"]["value"],
        "test/accuracy_low": test["accuracy"]["low"],
        "test/accuracy_high": test["accuracy"]["high"],
        "test/images": test["n"],
    }.items():
        assert logged[name] == [(best, pytest.approx(value, rel=1e-5))]


def test_the_log_holds_the_run_and_changes_nothing(few_digits, tmp_path, logger):
    name, read = logger
    run = foveal.train(few_digits, out=tmp_path / "run", log=[name], **FIELDS)
    assert_whole(read, run)
    plain = foveal.train(few_digits, out=tmp_path / "plain", **FIELDS)
    assert weights_of(plain) == weights_of(run)
    if name == "mlflow":
        client, number = mlflow_client(run)
        stored = client.get_run(number)
        assert stored.info.status == "FINISHED" and stored.data.params["model"] == "mlp"
        assert {one.path for one in client.list_artifacts(number)} == {"report.html", "recipe.toml"}
        assert (tmp_path / "mlflow.db").is_file()  # where `mlflow ui` looks


def test_a_run_that_was_stopped_goes_on_in_the_same_log(few_digits, tmp_path, monkeypatch, logger):
    name, read = logger
    learn, learned = loop.learn, []

    def stop(*arguments):
        learned.append(1)
        if len(learned) == 6:  # within the second epoch of four batches
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(loop, "learn", stop)
        foveal.train(few_digits, out=tmp_path / "run", log=[name], **FIELDS)
    torn = Run(tmp_path / "run")
    assert [step for step, _ in read(torn)["loss/train"]] == [1]
    run = foveal.train(few_digits, resume=torn.path, progress=False)
    assert_whole(read, run)
    run.report_file.unlink()  # killed before the report was there: everything is told once more
    foveal.train(few_digits, resume=torn.path, progress=False)
    assert_whole(read, run)


def test_an_epoch_that_was_saved_but_not_logged_is_logged_later(few_digits, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    epochs = TensorBoard.epochs

    def killed_before_the_second(self, rows):
        if len(rows) == 2:
            raise KeyboardInterrupt  # nothing reports it and goes on
        epochs(self, rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TensorBoard, "epochs", killed_before_the_second)
        foveal.train(few_digits, out=tmp_path / "run", log=["tensorboard"], **FIELDS)
    file = next((tmp_path / "run" / "tensorboard").iterdir())
    file.write_bytes(file.read_bytes()[:-5])  # and the last record is torn
    run = foveal.train(few_digits, resume=tmp_path / "run", progress=False)
    assert written_points(run.path / "tensorboard")["images_per_s"] == {1, 2, 3}
    assert {len(steps) for steps in read_tensorboard(run).values()} <= {1, 3}


def test_a_logger_that_fails_is_reported_and_training_goes_on(capsys):
    class Broken:
        def epochs(self, rows: object) -> None:
            raise OSError("no space left")

    told = loggers.Loggers([Broken()], Progress())  # type: ignore[list-item]
    told.epochs([])
    told.epochs([])
    assert capsys.readouterr().err == "note: logging to Broken stopped: no space left.\n"


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_part_is_named_before_anything_is_done(few_digits, tmp_path, monkeypatch, name):
    monkeypatch.setattr(loggers, "find_spec", lambda module: None)
    with pytest.raises(MissingPartError, match=rf"pip install 'foveal\[{name}\]'"):
        foveal.train(few_digits, out=tmp_path / "run", log=[name], **FIELDS)
    assert not list(tmp_path.iterdir())


def test_an_unknown_logger_is_refused(few_digits):
    with pytest.raises(UsageError, match="log"):
        foveal.train(few_digits, log=["wandb"], **FIELDS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_store_that_is_none_is_said_in_one_sentence(few_digits, tmp_path, monkeypatch):
    pytest.importorskip("mlflow.tracking", reason="needs the extra mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    with pytest.raises(UsageError, match="The MLflow record at nonsense://here cannot be used: ") as refused:
        foveal.train(few_digits, out=Path(tmp_path) / "run", log=["mlflow"], **FIELDS)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()
