"""Real processes, really killed: kill -9 at any moment, Ctrl-C, then `--resume`, and the bytes are the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from training_runs import call_foveal, history_of, left_behind, start_foveal, weights_of

import foveal

ARGUMENTS = ("train", "digits", "--threads", 1, "--seed", 5)
BATCH_NORM_AND_DROPOUT = ("--model", "simple_cnn", "--epochs", 6)


def wait_until(process: subprocess.Popen[str], reached: object, timeout: float = 60) -> None:
    """Poll until `reached()`, or the process has ended, or `timeout` is over (then the test fails)."""
    end = time.monotonic() + timeout
    while not reached() and process.poll() is None:
        assert time.monotonic() < end, "the training never got there"
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill -9, and say whether the process was still at work."""
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def rows(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run, in this process; the killed ones have processes of their own."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    foveal.train("digits", out=folder, threads=1, seed=5, model="simple_cnn", epochs=6, progress=False)
    return folder


def assert_same(run: Path, whole: Path) -> None:
    assert weights_of(run) == weights_of(whole)
    assert history_of(run) == history_of(whole)
    assert [one for one in left_behind(run) if "checkpoints" in one.parts] == []


@pytest.mark.parametrize("moment", ["before the first checkpoint", "within an epoch", "between epochs"])
def test_kill_9_and_resume_gives_the_same_bytes(whole, run_dir, moment):
    within = moment == "within an epoch"
    process = start_foveal(*ARGUMENTS, *BATCH_NORM_AND_DROPOUT, "--out", run_dir, every_batch=within)
    if moment == "before the first checkpoint":
        wait_until(process, (run_dir / "splits.csv").exists)
    elif within:
        wait_until(process, lambda: rows(run_dir) == 2)
        last = run_dir / "checkpoints" / "last" / "checkpoint.safetensors"
        written = last.stat().st_mtime_ns
        wait_until(process, lambda: last.stat().st_mtime_ns > written)
    else:
        wait_until(process, lambda: rows(run_dir) >= 3)
    assert kill(process)
    assert not (run_dir / "classifier").exists()
    foveal.train(resume=run_dir, progress=False)
    assert_same(run_dir, whole)


def test_ctrl_c_keeps_the_run_and_says_how_to_go_on(whole, run_dir):
    process = start_foveal(*ARGUMENTS, *BATCH_NORM_AND_DROPOUT, "--out", run_dir)
    wait_until(process, lambda: rows(run_dir) >= 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"foveal train --resume {run_dir}" in err.splitlines()[-1] and "Traceback" not in err and out == ""
    assert 1 <= rows(run_dir) < 6 and not (run_dir / "classifier").exists()
    assert left_behind(run_dir) == []
    code, out, err = call_foveal("train", "--resume", run_dir)
    assert code == 0 and "test accuracy" in out and "going on after epoch" in err
    assert_same(run_dir, whole)


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments(whole, tmp_path):
    """Each run is killed in its own twentieth of a run's life; half of them once more while they go on."""
    seed = int(os.environ.get("FOVEAL_KILL_SEED", random.randrange(10**6)))
    print(f"FOVEAL_KILL_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    rng = random.Random(seed)
    every_batch = [bool(number % 2) for number in range(20)]
    life = {}
    for kind in (False, True):
        run = tmp_path / f"timed{kind}"
        process = start_foveal(*ARGUMENTS, *BATCH_NORM_AND_DROPOUT, "--out", run, every_batch=kind)
        wait_until(process, run.exists)
        begun = time.monotonic()
        process.communicate(timeout=120)
        life[kind] = time.monotonic() - begun
    died = 0
    for number, kind in enumerate(every_batch):
        run = tmp_path / f"run{number}"
        process = start_foveal(*ARGUMENTS, *BATCH_NORM_AND_DROPOUT, "--out", run, every_batch=kind)
        wait_until(process, run.exists)
        end = time.monotonic() + 0.8 * life[kind] * (number + rng.random()) / 20
        wait_until(process, lambda end=end: time.monotonic() > end)
        died += kill(process)
        if rng.random() < 0.5:
            process = start_foveal("train", "--resume", run, every_batch=kind)
            end = time.monotonic() + 2 + life[kind] * rng.random()
            wait_until(process, lambda end=end: time.monotonic() > end)
            kill(process)
        foveal.train(resume=run, progress=False)
        assert_same(run, whole)
    assert died >= 10  # else most kills came too late to prove anything
