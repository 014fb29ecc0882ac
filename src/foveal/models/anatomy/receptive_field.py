"""How much of the image a cell of a map sees: the theoretical receptive field, followed operation by operation.

Along a path, a window of k cells, d apart, on a map whose cells lie j pixels apart, widens the field r to
r + (k - 1)·d·j and multiplies j by its stride (Araujo, Norris, Sim: "Computing receptive fields of convolutional
neural networks", Distill 2019). Rows and columns are followed apart. Padding does not change the field; p cells of it
move its start up and left by p·j pixels, and a slice that leaves out s cells moves it down and right by s·j. Global
pools, squeeze-excitation gates (which begin with one) and dense layers are not followed: behind them every value sees
the whole image.

Where paths meet, the widest counts, and its start; of several equally wide ones, the least start. Paths whose windows
have one centre, as in every network of the gallery, lie within the widest. One that is padded unevenly beside one that
is not may reach beyond it by the difference, which neither field nor start then shows. Pixels that a padding mirrors or
takes from the other side lie elsewhere than the cell thinks: near the border it sees some outside its window. Flips and
rolls of a map are not followed either.
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

    `start` is the topmost and leftmost pixel that cell (0, 0) sees, negative where it lies in the padding. Cell (i, j)
    sees the rows from start[0] + i·stride[0] on, field[0] of them, and columns alike.

    `axes` are the tensor's dimensions that run over rows and columns: (2, 3) unless it was permuted.
    """

    field: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)
    axes: tuple[int, int] = (2, 3)


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pool, rows and columns. `padding` is what lies above and left of the map."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    padding: tuple[int, int] = (0, 0)


def window_of(name: str, arguments: Mapping[str, Any]) -> Window | None:
    """Return the window of the operation `name` of ATen, None where it has none over two dimensions."""
    if name in CONVOLUTIONS and not arguments.get("transposed"):
        kernel = tuple(arguments["weight"].shape[2:])
        if len(kernel) != 2:
            return None
        stride, dilation = _pair(arguments.get("stride"), 1), _pair(arguments.get("dilation"), 1)
        padding = _padding(arguments.get("padding"), kernel, dilation)
        return Window(kernel, stride, dilation, int(arguments.get("groups") or 1), padding)
    if name in POOLS:
        kernel = _pair(arguments["kernel_size"], 1)
        stride = _pair(arguments.get("stride") or kernel, 1)
        dilation, padding = _pair(arguments.get("dilation"), 1), _pair(arguments.get("padding"), 0)
        return Window(kernel, stride, dilation, padding=padding)
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
    if name in ("slice", "strided_slice", "narrow"):
        return _sliced(arguments, sight, x)
    if name in ("permute", "transpose", "swapaxes", "movedim"):
        return _permuted(name, arguments, sight, output)
    if name in ("constant_pad_nd", "pad", "reflection_pad2d", "replication_pad2d"):
        return _padded(arguments["pad" if "pad" in arguments else "padding"], sight, x)
    if name in ("view", "_unsafe_view", "reshape", "unflatten", "_reshape_alias", "flatten"):
        return _reshaped(x, sight, output)
    if name in PRODUCTS and output.ndim - 1 in sight.axes:
        return None
    return widest(one for x, one in known if _same_cells(x, one, output))


def widest(sights: Iterable[Sight]) -> Sight | None:
    """Return the largest field, its start, and the largest stride, for rows and columns apart; None of no `sights`.

    Of several starts of the largest field it is the least.
    """
    found = [*sights]
    if not found:
        return None
    axes = [[(one.field[axis], one.stride[axis], one.start[axis]) for one in found] for axis in (0, 1)]
    field = [max(r for r, _, _ in axis) for axis in axes]
    stride = [max(j for _, j, _ in axis) for axis in axes]
    start = [min(at for r, _, at in axis if r == most) for axis, most in zip(axes, field, strict=True)]
    return replace(found[0], field=_pair(field), stride=_pair(stride), start=_pair(start))


def _through(window: Window, sight: Sight) -> Sight:
    along = [*zip(sight.field, sight.stride, sight.start, strict=True)]
    each = [*zip(along, window.kernel, window.stride, window.dilation, window.padding, strict=True)]
    return replace(
        sight,
        field=_pair([r + (k - 1) * d * j for (r, j, _), k, _, d, _ in each]),
        stride=_pair([j * s for (_, j, _), _, s, _, _ in each]),
        start=_pair([at - p * j for (_, j, at), _, _, _, p in each]),
    )


def _is_global(name: str, window: Window, x: Tensor, output: Tensor) -> bool:
    """Whether an average covers the whole map, as the last pool of many networks is written."""
    covers = tuple(x.shape[2:]) == window.kernel and tuple(output.shape[2:]) == (1, 1)
    return name == "avg_pool2d" and covers and min(window.kernel) >= LEAST_GLOBAL


def _sliced(arguments: Mapping[str, Any], sight: Sight, x: Tensor) -> Sight:
    """Every second row or column, as the shortcut of ResNet's option A takes it, moves the cells apart."""
    dimension = (arguments.get("dim") or 0) % x.ndim
    if dimension not in sight.axes:
        return sight
    first, size = arguments.get("start") or 0, x.shape[dimension]
    left_out = min(max(first + size if first < 0 else first, 0), size)
    axis = sight.axes.index(dimension)
    stride, start = [*sight.stride], [*sight.start]
    start[axis] += left_out * stride[axis]
    stride[axis] *= arguments.get("step") or 1
    return replace(sight, stride=_pair(stride), start=_pair(start))


def _padded(amounts: Sequence[int], sight: Sight, x: Tensor) -> Sight:
    """Cells added before the first move the start; `amounts` are (before, after) from the last dimension on."""
    before = {x.ndim - 1 - at: int(amount) for at, amount in enumerate(amounts[::2])}
    along = zip(sight.start, sight.stride, sight.axes, strict=True)
    return replace(sight, start=_pair([at - before.get(axis, 0) * j for at, j, axis in along]))


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


def _padding(value: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Return the rows above and columns left; torch's "same" puts the odd one of them below and right."""
    if value == "same":
        return _pair([d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)])
    return (0, 0) if value == "valid" else _pair(value, 0)


def _pair(value: Any, default: int = 0) -> tuple[int, int]:
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])
