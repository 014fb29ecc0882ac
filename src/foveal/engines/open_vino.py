"""OpenVINO: its two files, read from an ONNX file, on the CPU."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.engines.lacking import saying_what_it_lacks
from foveal.engines.runner import thread_count

if TYPE_CHECKING:
    import openvino


@functools.cache
def _core() -> openvino.Core:
    """Return the one Core of this process, which is never given up.

    Each new Core sets a signal stack of its own for this thread and, when it goes, puts back the one that it found.
    Two of them that do not go in the reverse order of their coming leave a stack whose memory is gone, and the next
    signal, a Ctrl-C say, ends the process by a segmentation fault (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


class OpenVinoRunner:
    """Runs the bytes of an OpenVINO model: its graph (xml) and its weights (bin)."""

    def __init__(self, graph: bytes, weights: bytes, threads: int | None = None) -> None:
        core = _core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # it would halve the precision where the processor is faster so
            "INFERENCE_NUM_THREADS": thread_count(threads),
            "ENABLE_CPU_PINNING": False,  # two runners would be pinned to the same core
        }
        with saying_what_it_lacks("OpenVINO"):
            model = core.read_model(io.BytesIO(graph), io.BytesIO(weights))
            self._compiled = core.compile_model(model, "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, classes) of `x` (B, C, H, W)."""
        with saying_what_it_lacks("OpenVINO"):
            self._request.infer([np.ascontiguousarray(x)], share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data, np.float32)


def write_openvino(onnx_file: Path, graph_file: Path) -> None:
    """Write `onnx_file` as OpenVINO's `graph_file` (xml) and, beside it, the weights (bin)."""
    import openvino

    with saying_what_it_lacks("OpenVINO"):
        model = _core().read_model(onnx_file)  # convert_model would report to its makers over the network
        openvino.save_model(model, graph_file, compress_to_fp16=False)
