"""A run that is stopped, or dies at any write, and goes on ends with the bytes of one that was not."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import history_of, left_behind, weights_of

import foveal
import foveal.files
from foveal.errors import ClassifierError, DataError, Interrupted
from foveal.run import Run
from foveal.training import loop
from foveal.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

BATCHES = 7  # an epoch of few_digits' 210 training images, 32 at a time
WAYS = {
    "bn-dropout-adamw-onecycle-channels_last": {"model": "simple_cnn"},
    "sgd-plateau-contiguous": {
        "model": "lenet5",
        "optimizer": "sgd",
        "nesterov": True,
        "schedule": "plateau",
        "learning_rate": 4.0,
        "epochs": 8,
        "patience": 0,
        "channels_last": False,
    },
    "dropout-rmsprop-cosine-clip-weights": {
        "model": "simple_cnn_p9",
        "optimizer": "rmsprop",
        "schedule": "cosine",
        "clip_norm": 1.0,
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "epoch_images": BATCHES * 32,  # of an endless stream of passes over 210
        "size": (12, 12),
    },
    "codes-rbf-weights": {"model": "lenet5_1998", "model_options": {"codes": "random"}, "class_weights": "balanced"},
    "focal-adam": {"model": "mlp", "optimizer": "adam", "loss": "focal", "focal_gamma": 1.5},
    "early-stopping-adam": {
        "model": "mlp",
        "model_options": {"dropout": 0.3},
        "optimizer": "adam",
        "learning_rate": 0.05,
        "schedule": "constant",
        "patience": 1,
        "epochs": 12,
    },
}


def train(source: object, run_dir: Path, **more: object) -> Run:
    defaults = {"epochs": 3, "batch_size": 32, "threads": 1, "progress": False}
    return foveal.train(source, out=run_dir, **{**defaults, **more})


@contextmanager
def stopped_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C, as a real signal, while the given batch is learned."""
    left, learn = [batches], loop.learn

    def learn_and_signal(*arguments: object) -> object:
        result = learn(*arguments)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learn", learn_and_signal)
        yield


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("every", [1, 3])
def test_ctrl_c_every_few_batches_changes_nothing(few_digits, tmp_path, monkeypatch, way, every):
    if every == 1 and not way.startswith(("bn", "sgd")):
        every = BATCHES
    whole = train(few_digits, tmp_path / "whole", **WAYS[way])
    torn = tmp_path / "it's torn"
    stops = 0
    with pytest.raises(Interrupted) as stop, stopped_after(every, monkeypatch):
        train(few_digits, torn, **WAYS[way])
    assert "foveal train --resume '" in str(stop.value) and stop.value.exit_code == 130
    while True:
        torch.rand(3)  # the caller's random numbers are no part of it
        try:
            with stopped_after(every, monkeypatch):
                done = foveal.train(few_digits, resume=torn, progress=False)
            break
        except Interrupted:
            stops += 1
    assert stops >= len(history_of(whole)) * BATCHES // every - 2
    assert weights_of(done) == weights_of(whole)
    assert history_of(done) == history_of(whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if "early" in way:
        assert len(history_of(whole)) < 12
    if "plateau" in way:  # or the schedule's state would not have mattered
        assert len({row["learning_rate"] for row in history_of(whole)}) > 1


class Killed(BaseException):
    """Nothing in the product catches this, as nothing catches kill -9."""


@contextmanager
def killed_before_write(number: int, monkeypatch: pytest.MonkeyPatch, seen: list[Path]) -> Iterator[None]:
    replacing = foveal.files.replacing

    @contextmanager
    def counting(path: Path) -> Iterator[Path]:
        seen.append(path)
        if len(seen) == number:
            (path.parent).mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.999999.part").write_bytes(b"half")  # what kill -9 leaves
            raise Killed
        with replacing(path) as temporary:
            yield temporary

    with monkeypatch.context() as patch:
        patch.setattr(foveal.files, "replacing", counting)
        yield


def test_death_before_any_write_changes_nothing(few_digits, tmp_path, monkeypatch):
    """Every write of a run is a crash point: after checkpoint `last` and before `best`, before history.csv, …"""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)  # checkpoints within the epoch too
    fields = {"model": "mlp", "model_options": {"hidden": "16", "dropout": 0.2}, "epochs": 2, "batch_size": 64}
    writes: list[Path] = []
    with killed_before_write(-1, monkeypatch, writes):
        whole = train(few_digits, tmp_path / "whole", **fields)
    names = [str(path.relative_to(whole.path)) for path in writes if whole.path in path.parents]
    first = len(writes) - len(names)  # recipe, environment, …: before the run has its name
    assert names.count("checkpoints/last/checkpoint.safetensors") == 2 * 5 and names[-1] == "report.html"
    for number in range(first + 1, len(writes) + 1):
        torn, seen = tmp_path / f"torn{number}", []
        with pytest.raises(Killed), killed_before_write(number, monkeypatch, seen):
            train(few_digits, torn, **fields)
        done = foveal.train(few_digits, resume=torn, progress=False)
        at = names[number - first - 1]
        assert weights_of(done) == weights_of(whole), at
        assert history_of(done) == history_of(whole), at
        assert {key: done.metrics[key] for key in ("test", "validation")} == {
            key: whole.metrics[key] for key in ("test", "validation")
        }, at
        assert [one for one in left_behind(done.path) if "checkpoints" in one.parts] == [], at


def finished_run(few_digits: object, run_dir: Path) -> tuple[Run, bytes]:
    run = train(few_digits, run_dir, model="mlp", epochs=3)
    run.report_file.unlink()
    return run, weights_of(run)


def test_the_last_row_of_the_history_comes_back(few_digits, run_dir):
    run, _ = finished_run(few_digits, run_dir)
    whole = run.history_file.read_bytes()
    run.history_file.unlink()
    foveal.train(few_digits, resume=run_dir, progress=False)
    assert run.history_file.read_bytes() == whole


@pytest.mark.parametrize("which", ["last", "best"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "pickle"])
def test_a_damaged_checkpoint_is_refused_and_says_the_way_out(few_digits, run_dir, which, damage):
    run, _ = finished_run(few_digits, run_dir)
    path = run.checkpoint_file(which)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1] ^= 1  # a weight: safetensors itself would not notice
    path.write_bytes({"truncate": content[:-9], "empty": b"", "pickle": b"\x80\x04K\x01."}.get(damage, content))
    if which == "best":  # the last epoch is not the best, or resuming would write it anew
        last = read_checkpoint(run.checkpoint_file("last"))
        state = {**last.state, "best_epoch": 2}
        write_checkpoint(run.checkpoint_file("last"), Checkpoint(last.network, last.optimizer, last.random, state))
    with pytest.raises(ClassifierError, match=r"is damaged .* remove .*checkpoints to train from the start"):
        foveal.train(few_digits, resume=run_dir, progress=False)
    assert not run.report_file.exists()


def test_without_checkpoints_it_trains_from_the_start_to_the_same_bytes(few_digits, run_dir):
    import shutil

    run, whole = finished_run(few_digits, run_dir)
    shutil.rmtree(run.path / "checkpoints")
    assert weights_of(foveal.train(few_digits, resume=run_dir, progress=False)) == whole


def test_a_best_checkpoint_of_another_epoch_is_not_believed(few_digits, run_dir, resave):
    run, _ = finished_run(few_digits, run_dir)
    resave(run.checkpoint_file("last"), lambda state: state.update(best_epoch=2, batch=0))
    resave(run.checkpoint_file("best"), lambda state: state.update(epoch=1))
    with pytest.raises(ClassifierError, match="not of epoch 2, the best one"):
        foveal.train(few_digits, resume=run_dir, progress=False)


def test_a_stale_best_checkpoint_is_written_anew_when_the_last_epoch_was_the_best(few_digits, run_dir):
    """Killed after `last`, before `best`: what is in `best` is of an earlier epoch."""
    run, whole = finished_run(few_digits, run_dir)
    last, best = (read_checkpoint(run.checkpoint_file(which)) for which in ("last", "best"))
    assert last.state["best_epoch"] == last.state["epoch"] == best.state["epoch"] == 3
    stale = {name: torch.zeros_like(one) for name, one in best.network.items()}
    write_checkpoint(run.checkpoint_file("best"), Checkpoint(stale, {}, {}, {"epoch": 2}))
    assert weights_of(foveal.train(few_digits, resume=run_dir, progress=False)) == whole


@pytest.mark.parametrize(
    "edit",
    [
        lambda state: state.pop("optimizer_steps"),
        lambda state: state.pop("history"),
        lambda state: state.update(history=[{"epoch": 1}]),
        lambda state: state.update(optimizer_steps=[1]),
        lambda state: state.update(best_loss="low"),
        lambda state: state.update(loss_scale=7),
    ],
)
def test_a_checkpoint_that_lacks_something_is_damaged(few_digits, run_dir, resave, edit):
    run, _ = finished_run(few_digits, run_dir)
    resave(run.checkpoint_file("last"), edit)
    with pytest.raises(ClassifierError, match="is damaged"):
        foveal.train(few_digits, resume=run_dir, progress=False)


def test_a_checkpoint_of_a_newer_foveal_is_said(few_digits, run_dir, resave):
    run, _ = finished_run(few_digits, run_dir)
    resave(run.checkpoint_file("last"), lambda state: state.update(schema_version=2))
    with pytest.raises(ClassifierError, match="newer Foveal"):
        foveal.train(few_digits, resume=run_dir, progress=False)


def test_a_checkpoint_of_another_network_does_not_fit(few_digits, run_dir):
    run, _ = finished_run(few_digits, run_dir)
    other = foveal.train(few_digits, out=run_dir.with_name("other"), model="lenet5", epochs=1, progress=False)
    shutil.copy(other.checkpoint_file("last"), run.checkpoint_file("last"))
    with pytest.raises(ClassifierError, match="does not fit the network of the recipe"):
        foveal.train(few_digits, resume=run_dir, progress=False)


def interrupted(dataset: foveal.Dataset, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted), stopped_after(BATCHES + 3, monkeypatch):
        train(dataset, path, model="mlp")


def few(labels: np.ndarray, classes: tuple[str, ...]) -> foveal.Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8), np.uint8)
    return foveal.load(pixels, labels, classes=classes)


def test_classes_in_another_order_are_put_back_in_theirs(tmp_path, monkeypatch):
    labels = np.arange(300) % 2
    whole = train(few(labels, ("no", "yes")), tmp_path / "whole", model="mlp")
    interrupted(few(labels, ("no", "yes")), tmp_path / "torn", monkeypatch)
    done = foveal.train(few(1 - labels, ("yes", "no")), resume=tmp_path / "torn", progress=False)
    assert weights_of(done) == weights_of(whole) and done.predictions() == whole.predictions()


def test_images_that_changed_places_are_refused(tmp_path, monkeypatch):
    dataset = few(np.zeros(300, np.int64) + (np.arange(300) < 150), ("no", "yes"))
    interrupted(dataset, tmp_path / "torn", monkeypatch)
    order = np.arange(300)
    order[:2] = 1, 0  # of one class: the content as a whole is the same
    swapped = dataclasses.replace(dataset.take(order), record_ids=dataset.record_ids)
    assert swapped.content_hash == dataset.content_hash
    with pytest.raises(DataError, match=r"2 images of .* lie under each other's names"):
        foveal.train(swapped, resume=tmp_path / "torn", progress=False)
