"""A trace: for every value that comes out, what it was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Step:
    """One output value, at (channel, row, column), and what it was made of. ``str()`` is one line of arithmetic."""

    at: tuple[int, int, int]
    window: np.ndarray  # (channels, height, width) that was seen; padding stands in it as the value it counts for
    kernel: np.ndarray | None  # (channels, height, width) of a convolution, as it was laid on the window
    bias: float
    value: float
    how: str  # "sum" of products, "max", "average" or "min"

    def __str__(self) -> str:
        seen = self.window.ravel().tolist()
        place = f"({self.at[0]}, {self.at[1]}, {self.at[2]})"
        if self.kernel is None:
            return f"{place}  {self.how}({', '.join(map(_written, seen))}) = {_written(self.value)}"
        products = [f"{_written(a)}·{_factor(b)}" for a, b in zip(seen, self.kernel.ravel().tolist(), strict=True)]
        added = f" + {_factor(self.bias)}" if self.bias else ""
        return f"{place}  {' + '.join(products)}{added} = {_written(self.value)}"


@dataclass(frozen=True, eq=False)
class Traced:
    """What came out, and a step for each of its values, channel by channel, row by row."""

    value: np.ndarray
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


def _written(number: float) -> str:
    return f"{number:.6g}".replace("-", "−")


def _factor(number: float) -> str:
    return f"({_written(number)})" if number < 0 else _written(number)
