"""Normalisation: across the batch, and across neighbouring channels."""

from __future__ import annotations

import numpy as np

from foveal.errors import UsageError


def batch_norm(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    eps: float = 1e-5,
) -> np.ndarray:
    """Return weight · (x - mean) / √(variance + eps) + bias of a batch `x` (N, C, H, W), channel by channel.

    Without `mean` and `variance` (C,) those of the batch itself are taken, the variance divided by N H W, as in
    training (Ioffe, Szegedy 2015, algorithm 1); with both, those are, as in prediction. UsageError for another shape.
    """
    values = np.asarray(x, np.float64)
    if values.ndim != 4:
        raise UsageError(f"Batch norm takes a batch (N, C, H, W), not an array of {values.shape}.")
    if (mean is None) != (variance is None):
        raise UsageError("Give both mean and variance, or neither.")
    centre = values.mean(axis=(0, 2, 3)) if mean is None else np.asarray(mean, np.float64)
    spread = values.var(axis=(0, 2, 3)) if variance is None else np.asarray(variance, np.float64)
    scale = np.ones(values.shape[1]) if weight is None else np.asarray(weight, np.float64)
    shift = np.zeros(values.shape[1]) if bias is None else np.asarray(bias, np.float64)
    centre, spread, scale, shift = (one[None, :, None, None] for one in (centre, spread, scale, shift))
    out: np.ndarray = scale * (values - centre) / np.sqrt(spread + eps) + shift
    return out


def local_response_norm(
    x: np.ndarray, size: int = 5, *, alpha: float = 5e-4, beta: float = 0.75, k: float = 2.0
) -> np.ndarray:
    """Return x / (k + α/size · Σ x²)^β of `x` (C, H, W), the sum over `size` neighbouring channels.

    AlexNet (Krizhevsky, Sutskever, Hinton 2012, section 3.3) has α without the division, 1e-4 there: α here, as in
    PyTorch, is that times the size, 5e-4. Channels beyond the first and the last count as zeros.
    """
    values = np.asarray(x, np.float64)
    if values.ndim != 3 or size < 1:
        raise UsageError(
            f"Local response norm takes maps (C, H, W) and one channel or more, not {values.shape}, {size}."
        )
    around = np.pad(values**2, ((size // 2, (size - 1) // 2), (0, 0), (0, 0)))
    sums = np.lib.stride_tricks.sliding_window_view(around, size, axis=0).sum(axis=-1)  # (C, H, W)
    out: np.ndarray = values / (k + alpha / size * sums) ** beta
    return out
