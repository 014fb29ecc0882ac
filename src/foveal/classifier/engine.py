"""Which engine answers for a classifier, and how it is asked: the same preprocessing, other arithmetic."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from foveal.classifier.calibration import DECIMALS
from foveal.engines.kinds import AUTO, KINDS, TORCH, checked_engine
from foveal.engines.parity import softmax
from foveal.engines.runner import Runner, open_runner
from foveal.engines.stored import choose_stored, read_engines, stored_contents
from foveal.errors import ClassifierError, UsageError
from foveal.preprocess import Preprocess

BATCH = 16  # images at once: beyond that CPUs gain nothing and memory grows


def open_engine(
    folder: Path, content_hash: str, name: str, *, device: str = "auto", threads: int | None = None
) -> tuple[str, Runner | None]:
    """Return the engine's name and what runs it, None where it is torch, for the classifier in `folder`.

    ``auto`` is the fastest engine that was exported with parity to torch and is installed here, on a machine
    without a GPU that torch would use; else torch. int8 is never chosen unasked: its answers are others.

    Raises ClassifierError for an engine that was not exported, was changed, or belongs to another classifier,
    UsageError for an unknown one, MissingPartError where its package is not installed.
    """
    checked_engine(name)
    if name == AUTO:
        name = choose_stored(folder, content_hash) if _is_cpu(device) else TORCH
    if name == TORCH:
        return TORCH, None
    if device not in ("auto", "cpu"):
        raise UsageError(f"The engine {name} computes on the cpu, not on {device}; use --engine torch there.")
    return name, open_runner(name, stored_contents(folder, name, content_hash), threads)


def refuse_unfit(runner: Runner, name: str, preprocess: Preprocess, classes: int) -> None:
    """Ask `runner` about two black images; ClassifierError where it is an engine of another network."""
    x = np.zeros((2, preprocess.channels, preprocess.height, preprocess.width), np.float32)
    answer = runner(x)
    if answer.shape != (2, classes):
        raise ClassifierError(
            f"The stored engine {name} answers two images with the shape {answer.shape}, not (2, {classes}): it is "
            f"of another network; export it again, or use --engine torch."
        )


def engine_facts(folder: Path, content_hash: str, name: str) -> dict[str, Any]:
    """Return what an evaluation records of the engine that answered: its name, its files' SHA-256, its version."""
    if name == TORCH:
        return {"engine": name}
    files = read_engines(folder, content_hash)[name]["files"]
    return {"engine": name, "engine_files": files, "engine_version": version(KINDS[name].package)}


def engine_logits(
    runner: Runner, preprocess: Preprocess, pixels: np.ndarray, *, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return logits float32 (N, classes) for uint8 `pixels` (N, H, W, C), or for those at `rows`."""
    parts = []
    for start in range(0, len(pixels) if rows is None else len(rows), BATCH):
        part = slice(start, start + BATCH)
        batch = pixels[part if rows is None else rows[part]]  # (B, H, W, C)
        parts.append(runner(preprocess.normalise_array(batch)))
    return np.concatenate(parts)


def engine_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return softmax of logits (N, classes) in float64, rounded to nine decimals, as `inference.probabilities`."""
    return np.round(softmax(logits), DECIMALS)


def _is_cpu(device: str) -> bool:
    if device != "auto":
        return device == "cpu"
    from foveal.classifier.device import choose_device

    return choose_device(device).type == "cpu"
