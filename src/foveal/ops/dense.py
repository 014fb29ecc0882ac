"""After the maps: flattening, the dense layer, and dropout."""

from __future__ import annotations

import numpy as np

from foveal.errors import UsageError


def flatten(x: np.ndarray) -> np.ndarray:
    """Return the values of `x` (C, H, W) in a row (C · H · W,), channel by channel, row by row."""
    return np.asarray(x).reshape(-1)


def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Return weight · x + bias (outputs,) of `x` (inputs,) with `weight` (outputs, inputs); UsageError where unfit."""
    values, matrix = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    if values.ndim != 1 or matrix.ndim != 2 or matrix.shape[1] != len(values):
        raise UsageError(f"A weight of {matrix.shape} does not go with {values.shape} values; it is (outputs, inputs).")
    out: np.ndarray = matrix @ values
    return out if bias is None else out + np.asarray(bias, np.float64)


def dropout(x: np.ndarray, share: float = 0.5, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return `x` with a `share` of its values at zero and the others divided by 1 - share, by `rng`; without, `x`.

    The division keeps the expected sum, so that prediction leaves the values as they are ("inverted" dropout;
    Srivastava et al. 2014 multiply in prediction instead, which comes to the same).
    """
    if not 0 <= share < 1:
        raise UsageError(f"The share that drops out is from 0 to below 1, not {share:g}.")
    values = np.asarray(x, np.float64)
    if rng is None:
        return values
    kept = rng.random(values.shape) >= share
    return np.where(kept, values / (1 - share), 0.0)
