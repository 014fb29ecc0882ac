"""From a torch network to the files that others read: a .pt2 file of torch.export, or an ONNX file.

Both come from one capture by `torch.export`, which follows the network symbolically and refuses what it cannot
follow. torch's older way to ONNX, the tracer, takes a fifth of the time (0.1 to 3 s instead of 2 to 14 s on one
core), but records what one batch happened to do, so that an `if` on a value would silently be frozen; and it is
deprecated. An export is made once, so the sound way is taken.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.engines.lacking import quietly, saying_what_it_lacks

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

INPUT, OUTPUT = "images", "logits"  # float32 (B, C, H, W) normalised; float32 (B, classes)
OPSET = 18


def capture(network: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    """Return `network` in eval mode as a program for any number of images of `shape` (C, H, W).

    The network itself is left as it is. Its weights are laid out plainly, since layers may choose another,
    equal way for channels that lie last in memory, which engines have no use for.
    """
    import torch

    plain = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    plain = plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(2, *shape)  # one image would be taken for "always one"
    batch = torch.export.Dim("batch", min=1)
    with saying_what_it_lacks("torch.export"), quietly(), torch.no_grad():
        program = torch.export.export(plain, (example,), dynamic_shapes=({0: batch},), strict=False)
    _forget_places(program)
    return program


def write_program(program: ExportedProgram, file: Path) -> None:
    """Write `program` as a .pt2 file."""
    import torch

    with saying_what_it_lacks("torch.export"), quietly():
        torch.export.save(program, file)


def write_onnx(program: ExportedProgram, file: Path) -> None:
    """Write `program` as one ONNX file: input `images`, output `logits`, both with any batch size."""
    import torch

    options: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "opset_version": OPSET}
    with saying_what_it_lacks("ONNX"), quietly():
        torch.onnx.export(program, f=file, dynamo=True, external_data=False, verbose=False, **options)


def load_program(file: Path) -> Any:
    """Return the module in a .pt2 file that this process has just written."""
    import torch

    with saying_what_it_lacks("torch.export"), quietly():
        return torch.export.load(file).module()


def _forget_places(program: ExportedProgram) -> None:
    """Take out of `program` the lines of source it came from: they name folders of this machine."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
