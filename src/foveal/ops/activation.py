"""What comes after a sum: functions of one value, and softmax, of several that compete."""

from __future__ import annotations

import math

import numpy as np


def relu(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0)."""
    out: np.ndarray = np.maximum(x, 0)
    return out


def relu6(x: np.ndarray) -> np.ndarray:
    """Return min(max(x, 0), 6), as in the MobileNets."""
    out: np.ndarray = np.clip(x, 0, 6)
    return out


def leaky_relu(x: np.ndarray, slope: float = 0.01) -> np.ndarray:
    """Return x where it is positive, `slope` · x elsewhere (Maas, Hannun, Ng 2013)."""
    return np.where(np.asarray(x) > 0, x, slope * np.asarray(x))


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Return x where it is positive, α (eˣ - 1) elsewhere (Clevert, Unterthiner, Hochreiter 2016)."""
    values = np.asarray(x, np.float64)
    return np.where(values > 0, values, alpha * np.expm1(np.minimum(values, 0)))


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x Φ(x), Φ the distribution function of the normal distribution (Hendrycks, Gimpel 2016), exactly."""
    values = np.asarray(x, np.float64)
    out: np.ndarray = values * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(values / math.sqrt(2)))
    return out


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e⁻ˣ)."""
    values = np.asarray(x, np.float64)
    small = np.exp(-np.abs(values))  # never overflows
    share: np.ndarray = np.where(values >= 0, 1, small) / (1 + small)
    return share


def silu(x: np.ndarray) -> np.ndarray:
    """Return x · sigmoid(x), also called swish, as in EfficientNet."""
    out: np.ndarray = np.asarray(x, np.float64) * sigmoid(x)
    return out


def hardswish(x: np.ndarray) -> np.ndarray:
    """Return x · min(max(x + 3, 0), 6) / 6, as in MobileNetV3."""
    values = np.asarray(x, np.float64)
    out: np.ndarray = values * relu6(values + 3) / 6
    return out


def tanh(x: np.ndarray) -> np.ndarray:
    """Return the hyperbolic tangent."""
    out: np.ndarray = np.tanh(x)
    return out


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return eˣ / Σ eˣ along `axis`: positive, and 1 together. The largest value is taken off first: no overflow."""
    values = np.asarray(x, np.float64)
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=axis, keepdims=True)
    return shares
