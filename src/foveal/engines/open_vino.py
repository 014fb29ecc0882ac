"""OpenVINO: its two files, read from an ONNX file, on the CPU."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from foveal.engines.lacking import saying_what_it_lacks
from foveal.engines.runner import thread_count

if TYPE_CHECKING:
    import openvino


SMALL_WEIGHTS = 64 << 20  # bytes


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
    """Runs the bytes of an OpenVINO model: its graph (xml) and its weights (bin).

    Where the batch may be of any size every layer asks again how large its images are, which for one image and a
    network of many small layers takes a tenth of the time. So one that is asked about one image is compiled for that,
    too, as long as its weights are small: they are held once more. Its answers differ in the last bits at most.
    """

    def __init__(self, graph: bytes, weights: bytes, threads: int | None = None, *, lanes: int = 1) -> None:
        """Open the model to be asked by up to `lanes` threads at once, each with its share of `threads`."""
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # it would halve the precision where the processor is faster so
            "INFERENCE_NUM_THREADS": thread_count(threads),
            "ENABLE_CPU_PINNING": False,  # two runners would be pinned to the same core
            **({"NUM_STREAMS": lanes} if lanes > 1 else {}),
        }
        with saying_what_it_lacks("OpenVINO"):
            model = _core().read_model(io.BytesIO(graph), io.BytesIO(weights))
            compiled = self._compiled(model)
            self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
            for _ in range(lanes):
                self._idle.put(compiled.create_infer_request())
        self._model = model if len(weights) <= SMALL_WEIGHTS and lanes == 1 else None  # until it is compiled for one
        self._of_one: openvino.InferRequest | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, classes) of `x` (B, C, H, W)."""
        with saying_what_it_lacks("OpenVINO"):
            of_one = self._request_of_one(x) if len(x) == 1 else None
            if of_one is not None:
                return _asked(of_one, x)
            request = self._idle.get()
            try:
                return _asked(request, x)
            finally:
                self._idle.put(request)

    def _request_of_one(self, x: np.ndarray) -> openvino.InferRequest | None:
        if self._model is not None:
            self._model.reshape(x.shape)
            self._of_one, self._model = self._compiled(self._model).create_infer_request(), None
        return self._of_one

    def _compiled(self, model: openvino.Model) -> openvino.CompiledModel:
        return _core().compile_model(model, "CPU", self._settings)


def _asked(request: openvino.InferRequest, x: np.ndarray) -> np.ndarray:
    request.infer([np.ascontiguousarray(x)], share_inputs=True)
    return np.array(request.get_output_tensor(0).data, np.float32)


def write_openvino(onnx_file: Path, graph_file: Path) -> None:
    """Write `onnx_file` as OpenVINO's `graph_file` (xml) and, beside it, the weights (bin)."""
    import openvino

    with saying_what_it_lacks("OpenVINO"):
        model = _core().read_model(onnx_file)  # convert_model would report to its makers over the network
        openvino.save_model(model, graph_file, compress_to_fp16=False)
