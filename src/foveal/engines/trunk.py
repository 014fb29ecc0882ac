"""The lower part of a network on the fastest engine installed: what computes features.

A classifier's export follows the network symbolically, which takes 10 s and more; it is made once and kept. Features
are wanted at once, so here the network is traced with one batch (about a second). A trace can freeze what that batch
happened to do, so each engine's answers are compared with torch's on real images of another number before one is used.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foveal.engines.capture import INPUT, OPSET
from foveal.engines.eval_mode import in_eval_mode
from foveal.engines.kinds import AUTO, KINDS, TORCH, is_installed
from foveal.engines.lacking import quietly, saying_what_it_lacks
from foveal.engines.open_vino import write_openvino
from foveal.engines.runner import Runner, open_runner
from foveal.errors import ClassifierError

PREFERRED = ("openvino", "onnx")  # the faster first: 126 and 118 images a second of EfficientNet-Lite0, torch 26
TOLERANCE = 1e-4  # of the largest activation
CPU_BATCH, GPU_BATCH = 8, 64  # images at once: OpenVINO answers 275 a second in eights, 249 in thirty-twos


@dataclass(frozen=True, eq=False)
class OpenTrunk:
    """A trunk that answers: normalised images (B, C, H, W) → activations (B, …), both float32."""

    engine: str
    run: Runner


def choose_trunk_engine(wanted: str, device: torch.device) -> str:
    """Return the engine that is to compute features: the fastest one installed for ``auto``, torch on a GPU."""
    if wanted != AUTO:
        return wanted
    if device.type != "cpu":
        return TORCH
    return next((name for name in PREFERRED if is_installed(KINDS[name])), TORCH)


def lanes_of(engine: str) -> int:
    """Return how many batches `engine` answers at once: as many as there are threads, or one by all of them together.

    A batch on one thread waits for no other thread after each layer, of which EfficientNet-Lite0 has over a hundred.
    """
    return torch.get_num_threads() if engine == "openvino" else 1


def engine_version(engine: str) -> str:
    """Return the version of what runs `engine`."""
    return torch.__version__ if engine == TORCH else version(KINDS[engine].package)


def open_trunk(trunk: nn.Module, engine: str, shape: tuple[int, int, int], device: torch.device) -> OpenTrunk:
    """Return `trunk`, in eval mode, on `engine`, for images of `shape` (C, H, W).

    Raises ClassifierError for a network that the engine cannot run.
    """
    if engine == TORCH:
        return OpenTrunk(TORCH, TorchTrunk(trunk, device))
    with tempfile.TemporaryDirectory(prefix="foveal-") as place:
        onnx_file = Path(place) / "trunk.onnx"
        _trace(trunk, shape, onnx_file)
        files = [onnx_file]
        if engine == "openvino":
            write_openvino(onnx_file, Path(place) / "trunk.xml")
            files = [Path(place) / "trunk.xml", Path(place) / "trunk.bin"]
        contents = [file.read_bytes() for file in files]
        return OpenTrunk(engine, open_runner(engine, contents, torch.get_num_threads(), lanes=lanes_of(engine)))


def refuse_deviation(opened: OpenTrunk, trunk: nn.Module, x: np.ndarray) -> None:
    """Raise ClassifierError unless `opened` answers as torch does, for real images x (B, C, H, W)."""
    theirs, ours = opened.run(x), TorchTrunk(trunk, torch.device("cpu"))(x)
    deviation = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else np.inf
    if not deviation <= TOLERANCE * max(1.0, float(np.abs(ours).max())):
        raise ClassifierError(
            f"{opened.engine} gives other activations than torch (by {deviation:.2g}); it is not used."
        )


class TorchTrunk:
    """Runs a trunk by torch itself, in eval mode, channels last in memory."""

    def __init__(self, trunk: nn.Module, device: torch.device) -> None:
        self.trunk, self.device = trunk, device

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the activations (B, …) of `x` (B, C, H, W)."""
        with in_eval_mode(self.trunk), torch.inference_mode():
            images = torch.from_numpy(x).to(self.device, memory_format=torch.channels_last)
            answer: np.ndarray = self.trunk(images).float().contiguous().cpu().numpy()
            return answer


def _trace(trunk: nn.Module, shape: tuple[int, int, int], file: Path) -> None:
    """Write `trunk` as an ONNX file for any number of images, as a pass over two of them shows it."""
    with in_eval_mode(trunk), saying_what_it_lacks("ONNX"), quietly(), torch.no_grad():
        torch.onnx.export(
            trunk,
            (torch.zeros(2, *shape),),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=["activations"],
            dynamic_axes={INPUT: {0: "batch"}},
        )
