"""Looking at runs, and training in processes that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from foveal.classifier.card import WEIGHTS
from foveal.run import Run, read_csv


def weights_of(run: Run | Path) -> bytes:
    folder = run if isinstance(run, Path) else run.path
    return (folder / "classifier" / WEIGHTS).read_bytes()


def history_of(run: Run | Path) -> list[dict[str, str]]:
    """The history without what a clock decides."""
    folder = run if isinstance(run, Path) else run.path
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "images_per_s")}
        for row in read_csv(folder / "history.csv")
    ]


def left_behind(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.name.endswith(".part")]


MAIN = "from foveal.cli import main; main()"
SETUP = "import foveal.training.loop as loop; loop.CHECKPOINT_EVERY_S = 0; "  # a checkpoint after every batch


def start_foveal(*arguments: object, every_batch: bool = False) -> subprocess.Popen[str]:
    """Start `foveal ARGS…` as a process of its own."""
    code = (SETUP if every_batch else "") + MAIN
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def call_foveal(*arguments: object, every_batch: bool = False) -> tuple[int, str, str]:
    """Run `foveal ARGS…` to its end; return exit code, standard output, standard error."""
    process = start_foveal(*arguments, every_batch=every_batch)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err
