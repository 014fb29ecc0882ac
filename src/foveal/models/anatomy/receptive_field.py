"""How much of the image a cell of a map sees: the theoretical receptive field, followed operation by operation.

Along a path, a window of k cells, d apart, on a map whose cells lie j pixels apart, widens the field r to
r + (k - 1)·d·j and multiplies j by its stride (Araujo, Norris, Sim: "Computing receptive fields of convolutional
neural networks", Distill 2019). Rows and columns are followed apart. Where paths meet, the widest counts. Padding
does not change it. Global pools, squeeze-excitation gates (which begin with one) and dense layers are not followed:
behind them every value sees the whole image.
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
    """What a cell of a map sees: `field` pixels (rows, columns), cells `stride` pixels apart; `axes` are rows, columns.

    `axes` are the tensor's dimensions that run over rows and columns: (2, 3) unless it was permuted.
    """

    field: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    axes: tuple[int, int] = (2, 3)


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pool, rows and columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def window_of(name: str, arguments: Mapping[str, Any]) -> Window | None:
    """Return the window of the operation `name` of ATen, None where it has none over two dimensions."""
    if name in CONVOLUTIONS and not arguments.get("transposed"):
        kernel = tuple(arguments["weight"].shape[2:])
        if len(kernel) != 2:
            return None
        stride, dilation = _pair(arguments.get("stride"), 1), _pair(arguments.get("dilation"), 1)
        return Window(kernel, stride, dilation, int(arguments.get("groups") or 1))
    if name in POOLS:
        kernel = _pair(arguments["kernel_size"], 1)
        stride = _pair(arguments.get("stride") or kernel, 1)
        return Window(kernel, stride, _pair(arguments.get("dilation"), 1))
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
        return _sliced(arguments, sight)
    if name in ("permute", "transpose", "swapaxes", "movedim"):
        return _permuted(name, arguments, sight, output)
    if name in ("constant_pad_nd", "pad", "reflection_pad2d", "replication_pad2d"):
        return sight
    if name in ("view", "_unsafe_view", "reshape", "unflatten", "_reshape_alias", "flatten"):
        return _reshaped(x, sight, output)
    if name in PRODUCTS and output.ndim - 1 in sight.axes:
        return None
    return widest(one for x, one in known if _same_cells(x, one, output))


def widest(sights: Iterable[Sight]) -> Sight | None:
    """Return the largest field and stride of `sights`, for rows and columns apart; None of none."""
    best: Sight | None = None
    for one in sights:
        if best is None:
            best = one
        else:
            field = (max(best.field[0], one.field[0]), max(best.field[1], one.field[1]))
            stride = (max(best.stride[0], one.stride[0]), max(best.stride[1], one.stride[1]))
            best = replace(best, field=field, stride=stride)
    return best


def _through(window: Window, sight: Sight) -> Sight:
    grown = [
        r + (k - 1) * d * j
        for r, k, d, j in zip(sight.field, window.kernel, window.dilation, sight.stride, strict=True)
    ]
    apart = [j * s for j, s in zip(sight.stride, window.stride, strict=True)]
    return replace(sight, field=(grown[0], grown[1]), stride=(apart[0], apart[1]))


def _is_global(name: str, window: Window, x: Tensor, output: Tensor) -> bool:
    """Whether an average covers the whole map, as the last pool of many networks is written."""
    covers = tuple(x.shape[2:]) == window.kernel and tuple(output.shape[2:]) == (1, 1)
    return name == "avg_pool2d" and covers and min(window.kernel) >= LEAST_GLOBAL


def _sliced(arguments: Mapping[str, Any], sight: Sight) -> Sight:
    """Every second row or column, as the shortcut of ResNet's option A takes it, moves the cells apart."""
    dimension, step = arguments.get("dim") or 0, arguments.get("step") or 1
    rows, columns = sight.stride
    if dimension == sight.axes[0]:
        rows *= step
    if dimension == sight.axes[1]:
        columns *= step
    return replace(sight, stride=(rows, columns))


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


def _pair(value: Any, default: int) -> tuple[int, int]:
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])
