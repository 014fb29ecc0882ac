"""Pooling: one value for each window, and how its gradient goes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from foveal.errors import UsageError, nearest
from foveal.ops.trace import Step, Traced
from foveal.ops.windows import Pair, as_maps, padded, pair, windows_of

Kind = Literal["max", "average", "min"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OUTSIDE: dict[Kind, float] = {"max": -math.inf, "average": 0.0, "min": math.inf}  # what padding counts for


def max_pool2d(x: np.ndarray, kernel: Pair, *, stride: Pair | None = None, padding: Pair = 0) -> np.ndarray:
    """Return the largest value of each window of `x` (C, H, W) or (H, W); padding never wins.

    Windows of `kernel` lie `stride` apart, the kernel where nothing is said; a closer stride makes them overlap.
    """
    return _pooled(x, "max", kernel, stride, padding)


def min_pool2d(x: np.ndarray, kernel: Pair, *, stride: Pair | None = None, padding: Pair = 0) -> np.ndarray:
    """Return the smallest value of each window; else as `max_pool2d`."""
    return _pooled(x, "min", kernel, stride, padding)


def average_pool2d(x: np.ndarray, kernel: Pair, *, stride: Pair | None = None, padding: Pair = 0) -> np.ndarray:
    """Return the mean of each window, padding counted as zeros; else as `max_pool2d`."""
    return _pooled(x, "average", kernel, stride, padding)


def trace_pool2d(x: np.ndarray, kind: Kind, kernel: Pair, *, stride: Pair | None = None, padding: Pair = 0) -> Traced:
    """Return what pooling of the `kind` "max", "average" or "min" does, with a step for each value."""
    out = _pooled(x, kind, kernel, stride, padding)
    seen = _windows(x, kind, kernel, stride, padding)[0]
    values = out if out.ndim == 3 else out[None]
    steps = [
        Step((c, i, j), seen[c, i, j][None].copy(), None, 0.0, float(values[c, i, j]), kind)
        for c, i, j in np.ndindex(*values.shape)
    ]
    return Traced(out, tuple(steps))


def max_pool2d_backward(
    gradient: np.ndarray, x: np.ndarray, kernel: Pair, *, stride: Pair | None = None, padding: Pair = 0
) -> np.ndarray:
    """Return the gradient by `x`: each window's goes to its largest value, the first of equals; where windows overlap
    they add up."""
    seen, added, steps = _windows(x, "max", kernel, stride, padding)
    height, width = seen.shape[3:]
    best = seen.reshape(*seen.shape[:3], -1).argmax(axis=-1)  # (C, H', W')
    shares = np.zeros(seen.shape)
    np.put_along_axis(shares.reshape(*seen.shape[:3], height * width), best[..., None], 1.0, axis=-1)
    return _handed_back(gradient, shares, x, added, steps)


def average_pool2d_backward(
    gradient: np.ndarray, x: np.ndarray, kernel: Pair, *, stride: Pair | None = None, padding: Pair = 0
) -> np.ndarray:
    """Return the gradient by `x`: each window's is spread evenly over its pixels."""
    seen, added, steps = _windows(x, "average", kernel, stride, padding)
    return _handed_back(gradient, np.full(seen.shape, 1 / (seen.shape[3] * seen.shape[4])), x, added, steps)


def global_average_pool(x: np.ndarray) -> np.ndarray:
    """Return the mean (C,) of each map of `x` (C, H, W)."""
    means: np.ndarray = as_maps(x)[0].mean(axis=(1, 2))
    return means


def global_max_pool(x: np.ndarray) -> np.ndarray:
    """Return the largest value (C,) of each map of `x` (C, H, W)."""
    largest: np.ndarray = as_maps(x)[0].max(axis=(1, 2))
    return largest


def stochastic_pool2d(
    x: np.ndarray, kernel: Pair, *, stride: Pair | None = None, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Return one value of each window, drawn by its share p = a / Σ a of the activations a = max(x, 0), or their mean.

    With `rng` one is drawn, as in training (Zeiler, Fergus 2013, equations 4 and 5); without, Σ p a is returned, as in
    prediction (equation 6). A window without activation gives 0.
    """
    seen = np.maximum(_windows(x, "average", kernel, stride, 0)[0], 0)
    flat = seen.reshape(*seen.shape[:3], -1)  # (C, H', W', K)
    sums = flat.sum(axis=-1)
    if rng is None:
        out: np.ndarray = (flat**2).sum(axis=-1) / np.where(sums > 0, sums, 1)
    else:
        reached = flat.cumsum(axis=-1) > (rng.random(sums.shape) * sums)[..., None]
        out = np.take_along_axis(flat, reached.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return out[0] if np.ndim(x) == 2 else out


def fractional_max_pool2d(x: np.ndarray, size: Pair, *, samples: Sequence[float] = (0.5, 0.5)) -> np.ndarray:
    """Return the largest values of `size` overlapping 2×2 windows, which shrink the image by a fraction (Graham 2014).

    The windows begin at ⌊α (i + u)⌋ - ⌊α u⌋ with α = (n - 2) / (outputs - 1), the last one ending with the side;
    `samples` are u for height and width, drawn from 0 to 1 in training, ½ each in prediction.
    """
    maps, single = as_maps(x)
    rows, columns = (
        _first(side, outputs, u) for side, outputs, u in zip(maps.shape[1:], pair(size, "size"), samples, strict=True)
    )
    down = np.maximum(maps[:, rows], maps[:, rows + 1])
    out: np.ndarray = np.maximum(down[:, :, columns], down[:, :, columns + 1])
    return out[0] if single else out


def _first(side: int, outputs: int, u: float) -> np.ndarray:
    """Return the first pixels (outputs,) of the windows on a side."""
    if not 1 <= outputs < side or not 0 <= u < 1:
        raise UsageError(f"{side} pixels cannot become {outputs} windows of 2 with u = {u:g}, from 0 to below 1.")
    alpha = (side - 2) / max(outputs - 1, 1)
    begins = [int((at + u) * alpha) - int(u * alpha) for at in range(outputs - 1)]
    return np.array([*begins, side - 2])


def _windows(
    x: np.ndarray, kind: Kind, kernel: Pair, stride: Pair | None, padding: Pair
) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """Return what each window sees (C, H', W', kh, kw), the pixels added before each side, and the stride."""
    if kind not in KINDS:
        raise UsageError(f'There is no pooling "{kind}"; choose {", ".join(KINDS)}.{nearest(kind, KINDS)}')
    sides, added = pair(kernel, "kernel"), pair(padding, "padding", lowest=0)
    if any(2 * one > side for one, side in zip(added, sides, strict=True)):
        raise UsageError(f"Padding of {added[0]}, {added[1]} is more than half a window: some would see nothing else.")
    steps = pair(kernel if stride is None else stride, "stride")
    around = padded(as_maps(x)[0], ((added[0], added[0]), (added[1], added[1])), OUTSIDE[kind])
    return windows_of(around, sides, steps), added, steps


def _pooled(x: np.ndarray, kind: Kind, kernel: Pair, stride: Pair | None, padding: Pair) -> np.ndarray:
    seen = _windows(x, kind, kernel, stride, padding)[0]
    axes = (3, 4)
    if kind == "average":
        out: np.ndarray = seen.mean(axis=axes)
    else:
        out = seen.max(axis=axes) if kind == "max" else seen.min(axis=axes)
    return out[0] if np.ndim(x) == 2 else out


def _handed_back(
    gradient: np.ndarray, shares: np.ndarray, x: np.ndarray, added: tuple[int, int], stride: tuple[int, int]
) -> np.ndarray:
    """Return the gradient by `x`, where each window hands `shares` (C, H', W', kh, kw) of its own to its pixels."""
    maps, single = as_maps(x)
    out: np.ndarray = np.asarray(gradient, np.float64).reshape(shares.shape[:3])
    around = padded(np.zeros_like(maps), ((added[0], added[0]), (added[1], added[1])))
    rows, columns = out.shape[1:]
    for u, v in np.ndindex(shares.shape[3], shares.shape[4]):
        part = around[:, u :: stride[0], v :: stride[1]][:, :rows, :columns]
        part += out * shares[..., u, v]
    inside = around[:, added[0] : added[0] + maps.shape[1], added[1] : added[1] + maps.shape[2]]
    return inside[0] if single else inside
