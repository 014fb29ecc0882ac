"""Full disk, no memory, no place to write: one sentence, its exit code, and nothing that was there is lost."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from training_runs import history_of, left_behind, weights_of

import foveal
from foveal.errors import OutputError, ResourceError
from foveal.training import loop
from foveal.training.checkpoint import read_checkpoint

FIELDS = {"model": "mlp", "epochs": 3, "batch_size": 64, "threads": 1, "progress": False}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_fills_while_training_leaves_the_old_checkpoint(few_digits, tmp_path, monkeypatch, number):
    whole = foveal.train(few_digits, out=tmp_path / "whole", **FIELDS)
    run_dir, fsync = tmp_path / "run", os.fsync

    def full(handle: int) -> None:
        is_file = stat.S_ISREG(os.fstat(handle).st_mode)  # folders are flushed too
        if is_file and (run_dir / "history.csv").exists():  # from the second epoch on
            raise OSError(number, os.strerror(number))
        fsync(handle)

    with monkeypatch.context() as patch, pytest.raises(OutputError) as refused:
        patch.setattr(os, "fsync", full)
        foveal.train(few_digits, out=run_dir, **FIELDS)
    said = str(refused.value)
    assert "checkpoint.safetensors" in said and "\n" not in said and refused.value.exit_code == 6
    assert ("disk is full" in said) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert left_behind(run_dir) == []
    assert read_checkpoint(run_dir / "checkpoints/last/checkpoint.safetensors").state["epoch"] == 1
    done = foveal.train(few_digits, resume=run_dir, progress=False)
    assert weights_of(done) == weights_of(whole) and history_of(done) == history_of(whole)


ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=900k foveal "$1"
fv() { "$python" -c "from foveal.cli import main; main()" train "$@"; }
python=$2 code=0
fv digits --model simple_cnn --epochs 2 --threads 1 --seed 5 --out "$1/run" || code=$?
echo "code $code"
find "$1" -name '*.part' | sed 's/^/left /'
mount -o remount,size=50m "$1"
fv --resume "$1/run"
cp -r "$1/run" "$3"
"""


def test_a_really_full_disk(tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=8k", "foveal", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs root: mounting a small disk is not permitted here")
    script = ["unshare", "-m", "bash", "-c", ON_A_SMALL_DISK, "bash", str(disk), sys.executable, str(kept)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[0] == "code 6", done.stderr
    assert "The disk is full" in done.stderr and "Traceback" not in done.stderr
    assert not [line for line in lines if line.startswith("left")]
    assert done.returncode == 0 and any(line.startswith("test accuracy") for line in lines)
    whole = foveal.train(
        "digits", out=tmp_path / "whole", model="simple_cnn", epochs=2, threads=1, seed=5, progress=False
    )
    assert weights_of(kept) == weights_of(whole)


WITH_LITTLE_MEMORY = """
import resource, sys
import torch, sklearn.datasets, foveal.cli.app, foveal.workflows.train
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20), -1))
from foveal.cli import main
main()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs a GPU or Linux to limit memory")
def test_out_of_memory_is_said_with_advice(tmp_path):
    arguments = ["train", "digits", "--model", "simple_cnn", "--size", "128", "--batch-size", "1024", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, *arguments, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 7, done.stderr
    assert "There is not enough memory: try a --batch-size below 1024 or a smaller --size." in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()  # nothing to go on with


def test_memory_that_runs_out_later_keeps_the_checkpoint(few_digits, run_dir, monkeypatch):
    learn, learned = loop.learn, []

    def later(*arguments: object) -> object:
        learned.append(1)
        if len(learned) > 6:
            raise MemoryError
        return learn(*arguments)

    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="--batch-size below 64"):
        patch.setattr(loop, "learn", later)
        foveal.train(few_digits, out=run_dir, **FIELDS)
    assert foveal.train(few_digits, resume=run_dir, progress=False).is_finished


def test_an_output_that_is_there_or_cannot_be_made(few_digits, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years")
    for out in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "full"):
        with pytest.raises(OutputError) as refused:
            foveal.train(few_digits, out=out, **FIELDS)
        assert str(out) in str(refused.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "thesis.txt"]
    run = foveal.train(few_digits, out=tmp_path / "run", **FIELDS)
    before = weights_of(run)
    with pytest.raises(OutputError, match="holds a run already"):
        foveal.train(few_digits, out=run.path, **FIELDS)
    assert weights_of(run) == before
