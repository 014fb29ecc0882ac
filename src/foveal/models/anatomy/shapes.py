"""The outputs of common operations on tensors without data, by rules of a line.

torch itself answers most of these through Python that first loads its compiler, which takes longer than a whole pass.
What is not written here is left to torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

UNCHANGED = frozenset((
    "relu", "relu6", "tanh", "sigmoid", "silu", "gelu", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "elu",
    "mish", "neg", "square", "pow", "batch_norm", "layer_norm", "group_norm", "softmax",
))  # fmt: skip
BROADCAST = frozenset(("add", "sub", "mul", "div"))


def output_of(name: str, overload: str, arguments: Mapping[str, Any], first: object) -> Tensor | None:
    """Return the output of the operation `name` of ATen, of which `first` is the first argument; None to ask torch."""
    if name == "cat":
        return _side_by_side(arguments["tensors"], arguments.get("dim", 0))
    if not isinstance(first, Tensor) or not first.is_meta or not first.is_floating_point() or overload == "out":
        return None
    plain = name.removesuffix("_")
    shape: tuple[int, ...] | None = None
    if plain in UNCHANGED and (plain != "pow" or overload == "Tensor_Scalar"):
        shape = tuple(first.shape)
    elif plain in BROADCAST:
        shape = _broadcast(first, arguments.get("other"))
    elif name == "linear" and first.shape[-1] == arguments["weight"].shape[-1]:
        shape = (*first.shape[:-1], arguments["weight"].shape[0])
    elif name == "adaptive_avg_pool2d" and first.ndim == 4:
        shape = (*first.shape[:2], *arguments["output_size"])
    if shape is None or name.startswith("_") or (name != plain and shape != tuple(first.shape)):
        return None
    return first if name != plain else first.new_empty(shape)


def _broadcast(first: Tensor, other: object) -> tuple[int, ...] | None:
    if isinstance(other, int | float):
        return tuple(first.shape)
    if isinstance(other, Tensor) and other.is_meta and other.dtype == first.dtype:
        return tuple(torch.broadcast_shapes(first.shape, other.shape))  # type: ignore[no-untyped-call]
    return None


def _side_by_side(tensors: list[Tensor], dimension: int) -> Tensor | None:
    first = tensors[0]
    if not all(one.is_meta and one.ndim == first.ndim and one.dtype == first.dtype for one in tensors):
        return None
    at = dimension % first.ndim
    rest = {(*one.shape[:at], *one.shape[at + 1 :]) for one in tensors}
    if len(rest) > 1:
        return None  # torch says what is wrong
    return first.new_empty(*first.shape[:at], sum(one.shape[at] for one in tensors), *first.shape[at + 1 :])
