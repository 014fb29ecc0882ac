"""How much of the image a cell of a map sees: the theoretical receptive field, followed operation by operation.

Along a path, a window of k cells, d apart, on a map whose cells lie j pixels apart, widens the field r to
r + (k - 1)·d·j and multiplies j by its stride (Araujo, Norris, Sim: "Computing receptive fields of convolutional
neural networks", Distill 2019). Its first cell begins where the one before began, less j for each cell of padding
before it. Rows and columns are followed apart. Global pools, squeeze-excitation gates (which begin with one) and dense
layers are not followed: behind them every value sees the whole image.

Where paths meet, the widest counts, and where several are, the one that begins first. Paths that are not aligned see
more between them than the widest alone; of the gallery's networks none has such. What a padding mirrors or repeats
counts where it stands, not where in the image it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
POOLS = ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d")
ADAPTIVE = ("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
PRODUCTS = ("linear", "matmul", "mm", "addmm", "bmm", "baddbmm")
LEAST_GLOBAL = 4  # side of an average's window from which on, covering the whole map, it is a global pool


@dataclass(frozen=True)
class Sight:
    """What a cell of a map sees: `field` pixels (rows, columns); cells lie `stride` apart, the first begins at `start`.

    Cell (i, j) sees the rows from start[0] + i·stride[0] on, field[0] of them, and columns likewise; `start` is
    negative where that begins in the padding. `axes` are the tensor's dimensions that run over rows and columns: (2, 3)
    unless it was permuted.
    """

    field: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)
    axes: tuple[int, int] = (2, 3)


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pool, rows and columns; `before` are the cells of padding before the map."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    before: tuple[int, int] = (0, 0)


def window_of(name: str, arguments: Mapping[str, Any]) -> Window | None:
    """Return the window of the operation `name` of ATen, None where it has none over two dimensions."""
    if name in CONVOLUTIONS and not arguments.get("transposed"):
        kernel = tuple(arguments["weight"].shape[2:])
        if len(kernel) != 2:
            return None
        stride, dilation = _pair(arguments.get("stride"), 1), _pair(arguments.get("dilation"), 1)
        before = _before(arguments.get("padding"), kernel, dilation)
        return Window(kernel, stride, dilation, int(arguments.get("groups") or 1), before)
    if name in POOLS:
        kernel = _pair(arguments["kernel_size"], 1)
        stride = _pair(arguments.get("stride") or kernel, 1)
        before = _pair(arguments.get("padding"), 0)
        return Window(kernel, stride, _pair(arguments.get("dilation"), 1), before=before)
    return None


def followed(
    name: str, arguments: Mapping[str, Any], inputs: Sequence[tuple[Tensor, Sight | None]], output: Tensor
) -> Sight | None:
    """Return the sight of `output`, which the operation `name` of ATen made of `inputs`; None: it is not followed."""
    known = [(x, sight) for x, sight in inputs if sight is not None]
    if not known:
        return None
    x, sight = known[0]
    if name in CONVOLUTIONS or name in POOLS:
        window = window_of(name, arguments)
        if window is None or sight.axes != (2, 3) or _is_global(name, window, x, output):
            return None
        return _through(window, sight)
    if name in ("slice", "strided_slice"):
        return _sliced(arguments, x, sight)
    if name in ("permute", "transpose", "swapaxes", "movedim"):
        return _permuted(name, arguments, sight, output)
    if name in ("constant_pad_nd", "pad", "reflection_pad2d", "replication_pad2d"):
        return _padded(arguments.get("pad") or arguments.get("padding") or (), x, sight)
    if name in ("view", "_unsafe_view", "reshape", "unflatten", "_reshape_alias", "flatten"):
        return _reshaped(x, sight, output)
    if name in PRODUCTS and output.ndim - 1 in sight.axes:
        return None
    return widest(one for x, one in known if _same_cells(x, one, output))


def widest(sights: Iterable[Sight]) -> Sight | None:
    """Return the largest field and stride of `sights`, for rows and columns apart; None of none.

    It starts where those of the largest field do, the first of them where they differ.
    """
    found = [*sights]
    if not found:
        return None
    sides = []
    for axis in (0, 1):
        field = max(one.field[axis] for one in found)
        start = min(one.start[axis] for one in found if one.field[axis] == field)
        sides.append((field, max(one.stride[axis] for one in found), start))
    rows, columns = sides
    fields, strides, starts = zip(rows, columns, strict=True)
    return replace(found[0], field=fields, stride=strides, start=starts)


def _through(window: Window, sight: Sight) -> Sight:
    rows, columns = (
        (
            sight.field[axis] + (window.kernel[axis] - 1) * window.dilation[axis] * sight.stride[axis],
            sight.stride[axis] * window.stride[axis],
            sight.start[axis] - window.before[axis] * sight.stride[axis],
        )
        for axis in (0, 1)
    )
    fields, strides, starts = zip(rows, columns, strict=True)
    return replace(sight, field=fields, stride=strides, start=starts)


def _is_global(name: str, window: Window, x: Tensor, output: Tensor) -> bool:
    """Whether an average covers the whole map, as the last pool of many networks is written."""
    covers = tuple(x.shape[2:]) == window.kernel and tuple(output.shape[2:]) == (1, 1)
    return name == "avg_pool2d" and covers and min(window.kernel) >= LEAST_GLOBAL


def _sliced(arguments: Mapping[str, Any], x: Tensor, sight: Sight) -> Sight:
    """Every second row or column, as the shortcut of ResNet's option A takes it, moves the cells apart."""
    dimension, step = (arguments.get("dim") or 0) % x.ndim, arguments.get("step") or 1
    if dimension not in sight.axes:
        return sight
    first = slice(arguments.get("start"), None).indices(x.shape[dimension])[0]
    axis = sight.axes.index(dimension)
    stride, start = [*sight.stride], [*sight.start]
    start[axis] += first * stride[axis]
    stride[axis] *= step
    return replace(sight, stride=(stride[0], stride[1]), start=(start[0], start[1]))


def _padded(amounts: Sequence[int], x: Tensor, sight: Sight) -> Sight:
    """Return the sight behind a padding by `amounts`: before and after the last dimension, the one before it, …"""
    before = {x.ndim - 1 - at: amount for at, amount in enumerate(amounts[::2])}
    rows, columns = (
        start - before.get(axis, 0) * stride
        for start, stride, axis in zip(sight.start, sight.stride, sight.axes, strict=True)
    )
    return replace(sight, start=(rows, columns))


def _permuted(name: str, arguments: Mapping[str, Any], sight: Sight, output: Tensor) -> Sight | None:
    order = list(range(output.ndim))
    if name == "permute":
        order = [one % output.ndim for one in arguments["dims"]]
    elif name in ("transpose", "swapaxes"):
        first, second = (
            arguments[key] % output.ndim for key in (("dim0", "dim1") if name == "transpose" else ("axis0", "axis1"))
        )
        order[first], order[second] = order[second], order[first]
    else:
        return None
    return replace(sight, axes=(order.index(sight.axes[0]), order.index(sight.axes[1])))


def _reshaped(x: Tensor, sight: Sight, output: Tensor) -> Sight | None:
    """Channels may be taken apart or together, as in a channel shuffle, while rows and columns stay the last two."""
    if x.shape == output.shape:
        return sight
    last = (output.ndim - 2, output.ndim - 1)
    if output.ndim < 4 or sight.axes != (x.ndim - 2, x.ndim - 1) or output.shape[-2:] != x.shape[-2:]:
        return None
    return replace(sight, axes=last)


def _same_cells(x: Tensor, sight: Sight, output: Tensor) -> bool:
    """Whether the rows and columns of `x` are those of `output`."""
    return x.ndim == output.ndim and all(x.shape[axis] == output.shape[axis] for axis in sight.axes)


def _before(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Return the cells of padding before rows and columns: numbers, or ``same``, which puts an odd cell behind."""
    if isinstance(padding, str):
        rows, columns = (d * (k - 1) // 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True))
        return rows, columns
    return _pair(padding, 0)


def _pair(value: Any, default: int) -> tuple[int, int]:
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])
