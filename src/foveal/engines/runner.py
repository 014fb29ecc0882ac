"""A stored engine, opened: normalised images in, logits out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from foveal.engines.kinds import KINDS, need


class Runner(Protocol):
    """Takes normalised images float32 (B, C, H, W) and returns their logits float32 (B, classes)."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of `x`."""
        ...


def open_runner(name: str, contents: Sequence[bytes], threads: int | None = None, *, lanes: int = 1) -> Runner:
    """Return what runs the engine called `name` from the bytes of its files, on `threads` threads.

    OpenVINO can be asked by `lanes` threads at once, which share `threads`; another engine by one at a time.
    Raises MissingPartError when the package that runs it is not installed, ClassifierError for bytes that it
    cannot read.
    """
    kind = KINDS[name]
    need(kind.extra, kind.package)
    if kind.package == "onnxruntime":
        from foveal.engines.onnx_runtime import OnnxRunner

        return OnnxRunner(contents[0], threads)
    from foveal.engines.open_vino import OpenVinoRunner

    return OpenVinoRunner(contents[0], contents[1], threads, lanes=lanes)


def thread_count(threads: int | None) -> int:
    """Return `threads`, or where none are said OMP_NUM_THREADS, as for torch, or the cores this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if threads is None and told.isdecimal() and int(told):
        return int(told)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threads or allowed
