"""Bands of a number that is known of every image, such as age, so that slices can be made of it."""

from __future__ import annotations

import math

import numpy as np

from foveal.errors import DataError, UsageError, listed

UNKNOWN = "unknown"


def bands(values: np.ndarray, *, width: float | None = None) -> np.ndarray:
    """Return the band (N,) str of each of `values` (N,), numbers or texts of numbers; empty and NaN are "unknown".

    By default four bands, cut at the quartiles: as many images in each as equal values allow, named by the smallest
    and the largest value in it. With `width`, bands from one multiple of it up to the next: 10 gives decades.
    DataError where a text is no number, UsageError where `width` is not above 0.
    """
    if width is not None and not (math.isfinite(width) and width > 0):
        raise UsageError(f"Bands of a width of {width} cannot be; take a number above 0, such as 10.")
    numbers = _numbers(values)
    known = np.isfinite(numbers)
    names = np.full(len(numbers), UNKNOWN, object)
    if known.any():
        names[known] = _quartiles(numbers[known]) if width is None else _steps(numbers[known], width)
    return names.astype(str)


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return `values` (N,) as float64, NaN for empty texts."""
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    else:
        numbers, strange = np.full(len(values), np.nan), []
        for row, text in enumerate(values.tolist()):
            try:
                numbers[row] = float(text) if text not in (None, "") else np.nan
            except ValueError:
                strange.append(f'"{text}" in row {row}')
        if strange:
            raise DataError(f"Bands need numbers, and these are none:\n{listed(strange)}")
    if np.isinf(numbers).any():
        raise DataError("Bands need finite numbers, and there is an infinite one.")
    return numbers


def _quartiles(numbers: np.ndarray) -> list[str]:
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    band = np.searchsorted(edges, numbers, side="left")  # a value on an edge is in the band below it
    named = {one: _name(numbers[band == one].min(), numbers[band == one].max()) for one in np.unique(band).tolist()}
    return [named[one] for one in band.tolist()]


def _name(low: float, high: float) -> str:
    return f"{low:.12g}" if low == high else f"{low:.12g} to {high:.12g}"


def _steps(numbers: np.ndarray, width: float) -> list[str]:
    whole = float(width).is_integer() and bool((numbers == np.floor(numbers)).all())
    starts = (np.floor(numbers / width) * width).tolist()
    if whole and width > 1:
        return [f"{start:.12g} to {start + width - 1:.12g}" for start in starts]
    return [f"{start:.12g} to below {start + width:.12g}" for start in starts]
