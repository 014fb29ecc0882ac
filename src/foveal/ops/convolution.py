"""Convolution as networks compute it, which is cross-correlation, and true convolution, with the kernel turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.errors import UsageError
from foveal.ops.trace import Step, Traced
from foveal.ops.windows import Padding, Pair, as_maps, padded, padding_of, pair, windows_of


@dataclass(frozen=True, eq=False)
class ConvGradients:
    """The gradients of a loss by what a convolution took in."""

    x: np.ndarray  # (C, H, W), or (H, W)
    weight: np.ndarray  # as the weight
    bias: np.ndarray  # (outputs,)


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = "valid",
    dilation: Pair = 1,
    groups: int = 1,
    flip: bool = False,
) -> np.ndarray:
    """Return the convolution (O, H', W') of `x` (C, H, W) with `weight` (O, C / groups, kernel height, width).

    y[o, i, j] = bias[o] + Σ x[c, i s + d u, j s + d v] · weight[o, c, u, v]: the kernel is laid on the image as it is.
    Every library of networks computes this and calls it convolution; mathematics calls it cross-correlation. `flip`
    turns the kernel by 180° first, which is the convolution of mathematics. Of one map (H, W) and one kernel
    (height, width) one map is returned. UsageError where shapes do not go together or the kernel does not fit.
    """
    return _Given.of(x, weight, bias, stride, padding, dilation, groups, flip).convolved()


def trace_conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = "valid",
    dilation: Pair = 1,
    groups: int = 1,
    flip: bool = False,
) -> Traced:
    """Return what `conv2d` does, with a step for each value: the window, the kernel on it, and the sum."""
    given = _Given.of(x, weight, bias, stride, padding, dilation, groups, flip)
    out, seen = given.convolved(), given.windows()
    values = out if out.ndim == 3 else out[None]
    of_group = len(given.weight) // groups
    steps = [
        Step(
            (o, i, j),
            seen[o // of_group, :, i, j].copy(),
            given.weight[o].copy(),
            float(given.bias[o]),
            float(values[o, i, j]),
            "sum",
        )
        for o, i, j in np.ndindex(*values.shape)
    ]
    return Traced(out, tuple(steps))


def conv2d_backward(
    gradient: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    *,
    stride: Pair = 1,
    padding: Padding = "valid",
    dilation: Pair = 1,
    groups: int = 1,
    flip: bool = False,
) -> ConvGradients:
    """Return the gradients of a loss by `x`, `weight` and bias, given its `gradient` by the output (O, H', W').

    Each output value hands its gradient to the pixels of its window, each times the weight that met it, and to the
    weights, each times the pixel that it met. At stride 1 that is, for `x`, a full convolution of the gradient with
    the kernel turned, and for the weight a cross-correlation of `x` with the gradient.
    """
    given = _Given.of(x, weight, None, stride, padding, dilation, groups, flip)
    out = np.asarray(gradient, np.float64)
    out = out[None] if out.ndim == 2 else out
    seen = given.windows()
    if out.shape != (len(given.weight), *seen.shape[2:4]):
        raise UsageError(f"The gradient has the shape {out.shape}, the output {(len(given.weight), *seen.shape[2:4])}.")
    grouped = out.reshape(groups, -1, *out.shape[1:])  # (groups, O / groups, H', W')
    by_weight = np.einsum("goij,gcijuv->gocuv", grouped, seen).reshape(given.weight.shape)
    by_window = np.einsum("goij,gocuv->gcijuv", grouped, given.grouped)
    by_x = np.zeros_like(given.padded)
    target = by_x.reshape(groups, -1, *by_x.shape[1:])
    for u, v in np.ndindex(*given.kernel):
        rows = slice(u * given.dilation[0], None)
        columns = slice(v * given.dilation[1], None)
        part = target[:, :, rows, columns][:, :, :: given.stride[0], :: given.stride[1]]
        part[:, :, : out.shape[1], : out.shape[2]] += by_window[..., u, v]
    (top, _), (left, _) = given.added
    height, width = given.x.shape[1:]
    by_x = by_x[:, top : top + height, left : left + width]
    by_weight = by_weight[..., ::-1, ::-1] if flip else by_weight
    return ConvGradients(by_x[0] if given.single else by_x, by_weight.reshape(np.shape(weight)), out.sum(axis=(1, 2)))


@dataclass(frozen=True, eq=False)
class _Given:
    """What was given, checked and brought to one shape."""

    x: np.ndarray  # (C, H, W)
    single: bool  # it was one map
    weight: np.ndarray  # (O, C / groups, kh, kw), turned where asked for
    bias: np.ndarray  # (O,)
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    added: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        flip: bool,
    ) -> _Given:
        maps, single = as_maps(x)
        kernels = np.asarray(weight, np.float64)
        kernels = kernels[None, None] if kernels.ndim == 2 else kernels
        if kernels.ndim != 4 or groups < 1 or len(maps) % groups or kernels.shape[1] * groups != len(maps):
            raise UsageError(
                f"A weight of {np.shape(weight)} does not go with {len(maps)} channels in {groups} groups; it is "
                f"(outputs, channels / groups, height, width)."
            )
        if len(kernels) % groups:
            raise UsageError(f"{len(kernels)} outputs cannot be shared among {groups} groups.")
        offsets = np.zeros(len(kernels)) if bias is None else np.asarray(bias, np.float64).reshape(-1)
        if len(offsets) != len(kernels):
            raise UsageError(f"{len(offsets)} biases do not go with {len(kernels)} outputs.")
        kernels = kernels[..., ::-1, ::-1] if flip else kernels
        steps, dilations = pair(stride, "stride"), pair(dilation, "dilation")
        side = (kernels.shape[2], kernels.shape[3])
        added = padding_of(padding, (maps.shape[1], maps.shape[2]), side, stride=steps, dilation=dilations)
        return cls(maps, single, kernels, offsets, steps, dilations, groups, added)

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def padded(self) -> np.ndarray:
        return padded(self.x, self.added)

    @property
    def grouped(self) -> np.ndarray:
        """The weight (groups, O / groups, C / groups, kh, kw)."""
        return self.weight.reshape(self.groups, -1, *self.weight.shape[1:])

    def windows(self) -> np.ndarray:
        """Return what the kernels see: (groups, C / groups, H', W', kh, kw)."""
        seen = windows_of(self.padded, self.kernel, self.stride, self.dilation)
        return seen.reshape(self.groups, -1, *seen.shape[1:])

    def convolved(self) -> np.ndarray:
        """Return what comes out: (O, H', W'), or one map where one was given and one kernel."""
        seen = self.windows()
        summed = np.einsum("gcijuv,gocuv->goij", seen, self.grouped).reshape(len(self.weight), *seen.shape[2:4])
        out: np.ndarray = summed + self.bias[:, None, None]
        return out[0] if self.single and len(self.weight) == 1 else out
