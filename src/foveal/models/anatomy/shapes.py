"""The outputs of common operations on tensors without data, by rules of a line.

torch itself answers most of these through Python that first loads its compiler, which takes longer than a whole pass.
What is not written here is left to torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

UNCHANGED = frozenset((
    "relu", "relu6", "tanh", "sigmoid", "silu", "gelu", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "elu",
    "mish", "neg", "square", "pow", "batch_norm", "layer_norm", "group_norm", "softmax",
))  # fmt: skip
BROADCAST = frozenset(("add", "sub", "mul", "div"))
Sides = Sequence[int]  # a number for rows, one for columns


class Quickly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """As long as it is entered, operations on tensors without data are answered by the rules of this file."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as the tracer has it, for the same reason

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answered(func, args, kwargs or {})[1]


def answered(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return the arguments of an operation of ATen by their names, and its output."""
    arguments = {**dict(zip((one.name for one in func._schema.arguments), args, strict=False)), **kwargs}
    output = output_of(func.overloadpacket.__name__, func._overloadname, arguments, args[0] if args else None)
    return arguments, func(*args, **kwargs) if output is None else output


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
    elif name in ("max_pool2d", "avg_pool2d", "avg_pool3d"):
        shape = _pooled(first, **arguments)
    elif name == "conv2d" and overload == "default":
        shape = _convolved(first, **arguments)
    elif name == "pad" and arguments.get("mode", "constant") == "constant":
        shape = _padded(tuple(first.shape), arguments["pad"])
    if shape is None or name.startswith("_") or (name != plain and shape != tuple(first.shape)):
        return None
    return first if name != plain else first.new_empty(shape)


def _broadcast(first: Tensor, other: object) -> tuple[int, ...] | None:
    if isinstance(other, int | float):
        return tuple(first.shape)
    if isinstance(other, Tensor) and other.is_meta and other.dtype == first.dtype:
        with suppress(ValueError):  # torch says what is wrong
            return np.broadcast_shapes(tuple(first.shape), tuple(other.shape))
    return None


def _convolved(
    image: Tensor, *, weight: Tensor, stride: Sides = (1, 1), padding: Sides = (0, 0), dilation: Sides = (1, 1),
    groups: int = 1, **_: object,
) -> tuple[int, ...] | None:  # fmt: skip
    """Return the shape (N, outputs, h, w); None where image and weight (outputs, inputs / groups, h, w) do not fit."""
    fits = (
        image.ndim == weight.ndim == 4 and image.shape[1] == weight.shape[1] * groups and not weight.shape[0] % groups
    )
    of_two = len(stride) == len(padding) == len(dilation) == 2
    if (
        not fits
        or not of_two
        or not _can_be(stride, padding, dilation)
        or weight.dtype != image.dtype
        or min(image.shape) < 1
    ):
        return None
    windows = zip(image.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sides = [_slid(*window) for window in windows]
    return (image.shape[0], weight.shape[0], *sides) if min(sides) >= 1 else None


def _pooled(
    image: Tensor, *, kernel_size: Sides, stride: Sides = (), padding: Sides = (), dilation: Sides = (),
    ceil_mode: bool = False, **_: object,
) -> tuple[int, ...] | None:  # fmt: skip
    """Return the shape (N, C, …); None where the window does not fit the image's sides."""
    count = len(kernel_size)
    stride, padding, dilation = stride or kernel_size, padding or (0,) * count, dilation or (1,) * count
    if not image.ndim - 2 == count == len(stride) == len(padding) == len(dilation) or min(image.shape) < 1:
        return None
    if not _can_be(stride, padding, dilation) or min(kernel_size) < 1:
        return None
    if any(2 * before > size for before, size in zip(padding, kernel_size, strict=True)):
        return None
    windows = zip(image.shape[2:], kernel_size, stride, padding, dilation, strict=True)
    sides = [_slid(*window, ceil=ceil_mode) for window in windows]
    return (*image.shape[:2], *sides) if min(sides) >= 1 else None


def _can_be(stride: Sides, padding: Sides, dilation: Sides) -> bool:
    return min(*stride, *dilation) >= 1 and min(padding) >= 0


def _slid(side: int, size: int, step: int, padding: int, dilation: int, *, ceil: bool = False) -> int:
    """Return in how many places a window stands; with `ceil` also in a last one that is not full, but begins inside."""
    room = side + 2 * padding - dilation * (size - 1)
    if room < 1:
        return 0
    places = (room - 1 + (step - 1 if ceil else 0)) // step + 1
    return places - 1 if ceil and (places - 1) * step >= side + padding else places


def _padded(shape: tuple[int, ...], pad: Sequence[int]) -> tuple[int, ...] | None:
    """Return the shape with `pad` cells more: before and after the last side, then the one before it, …"""
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        return None
    sides = list(shape)
    for place in range(len(pad) // 2):
        sides[-1 - place] += pad[2 * place] + pad[2 * place + 1]
    return tuple(sides) if min(pad, default=0) >= 0 else None


def _side_by_side(tensors: list[Tensor], dimension: int) -> Tensor | None:
    first = tensors[0]
    if not all(one.is_meta and one.ndim == first.ndim and one.dtype == first.dtype for one in tensors):
        return None
    at = dimension % first.ndim
    rest = {(*one.shape[:at], *one.shape[at + 1 :]) for one in tensors}
    if len(rest) > 1:
        return None  # torch says what is wrong
    return first.new_empty(*first.shape[:at], sum(one.shape[at] for one in tensors), *first.shape[at + 1 :])
