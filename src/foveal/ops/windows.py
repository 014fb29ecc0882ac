"""Windows that slide over an image: what stands around it, how many there are, what each of them sees."""

from __future__ import annotations

import numpy as np

from foveal.errors import UsageError, nearest

PADDINGS = ("valid", "same", "tensorflow", "full")

Pair = int | tuple[int, int]  # (height, width), or one number for both
Padding = str | Pair


def pair(value: Pair, what: str, lowest: int = 1) -> tuple[int, int]:
    """Return (height, width) of a number or two; UsageError where one is below `lowest` or no whole number."""
    both = (value, value) if isinstance(value, int | np.integer) else tuple(value)
    if len(both) != 2 or not all(isinstance(one, int | np.integer) and one >= lowest for one in both):
        raise UsageError(f"The {what} is a whole number from {lowest} on, or one for height and width, not {value}.")
    return int(both[0]), int(both[1])


def padding_of(
    padding: Padding, size: Pair, kernel: Pair, *, stride: Pair = 1, dilation: Pair = 1
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the pixels added ((before, after) in height, (before, after) in width) to an image of `size`.

    With n pixels a side and a kernel that reaches over r = dilation (kernel - 1) + 1 of them, "valid" adds none, "full"
    r - 1 on each side, and "same" r - 1 in all, of which one more after where that is odd: the output is as large as
    the image at stride 1, as in PyTorch. "tensorflow" adds what makes the output ⌈n / stride⌉. A number, or two, are
    added on each side. UsageError for another word.
    """
    steps, dilations = pair(stride, "stride"), pair(dilation, "dilation")
    if not isinstance(padding, str):
        added = pair(padding, "padding", lowest=0)
        return (added[0], added[0]), (added[1], added[1])
    if padding not in PADDINGS:
        raise UsageError(f'There is no padding "{padding}"; choose {", ".join(PADDINGS)}.{nearest(padding, PADDINGS)}')
    sides = zip(pair(size, "size"), pair(kernel, "kernel"), steps, dilations, strict=True)
    first, second = (_added(padding, n, d * (k - 1) + 1, s) for n, k, s, d in sides)
    return first, second


def _added(padding: str, size: int, reach: int, stride: int) -> tuple[int, int]:
    if padding == "full":
        return reach - 1, reach - 1
    if padding == "same":
        return (reach - 1) // 2, reach - 1 - (reach - 1) // 2
    if padding == "tensorflow":
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        return total // 2, total - total // 2
    return 0, 0


def output_size(size: int, kernel: int, *, padding: Padding = "valid", stride: int = 1, dilation: int = 1) -> int:
    """Return the side of the output: ⌊(n + added - r) / stride⌋ + 1; 0 or less where the kernel does not fit."""
    added = sum(padding_of(padding, size, kernel, stride=stride, dilation=dilation)[0])
    return (size + added - dilation * (kernel - 1) - 1) // stride + 1


def as_maps(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return `x` as float64 (C, H, W), and whether it was a single map (H, W); UsageError for other shapes."""
    values = np.asarray(x, np.float64)
    if values.ndim not in (2, 3) or not values.size:
        raise UsageError(f"An image is (C, H, W), or one map (H, W), not an array of {values.shape}.")
    return (values[None], True) if values.ndim == 2 else (values, False)


def windows_of(
    x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> np.ndarray:
    """Return what each window sees of padded `x` (C, H, W): (C, H', W', kernel height, kernel width), a view."""
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if any(side < one for side, one in zip(x.shape[1:], reach, strict=True)):
        raise UsageError(f"A window of {reach[0]}×{reach[1]} does not fit into {x.shape[1]}×{x.shape[2]} pixels.")
    every = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    return every[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def padded(x: np.ndarray, added: tuple[tuple[int, int], tuple[int, int]], value: float = 0.0) -> np.ndarray:
    """Return `x` (C, H, W) with `value` around it."""
    return np.pad(x, ((0, 0), *added), constant_values=value)
