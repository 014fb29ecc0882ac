"""ONNX Runtime: an ONNX file, fp32 or int8, on the CPU."""

from __future__ import annotations

import numpy as np

from foveal.engines.lacking import saying_what_it_lacks
from foveal.engines.runner import thread_count

QUIET = 3  # errors only: what it warns of while it opens a file is no user's business


class OnnxRunner:
    """Runs the bytes of an ONNX file."""

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = thread_count(threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        with saying_what_it_lacks("ONNX Runtime"):
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, classes) of `x` (B, C, H, W)."""
        with saying_what_it_lacks("ONNX Runtime"):
            (logits,) = self._session.run(None, {self._input: np.ascontiguousarray(x)})
        return np.asarray(logits, np.float32)
