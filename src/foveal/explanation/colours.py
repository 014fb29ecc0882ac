"""Numbers as colours: heat for what is never negative, blue to orange for what speaks against and for.

Both scales keep their order of lightness for colour-blind readers and in grey print: heat runs from black over purple
and orange to pale yellow (after "inferno" of Smith and van der Walt, through ten of its colours); the signed one from
dark blue over white to dark orange.
"""

from __future__ import annotations

import numpy as np

HEAT = ("000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4")
SIGNED = ("08306b", "2171b5", "6baed6", "c6dbef", "f7f7f7", "fdd0a2", "fd8d3c", "d94801", "7f2704")
MOST_OPAQUE = 0.75  # of a map laid over its image, so that the image is still seen


def heat(values: np.ndarray) -> np.ndarray:
    """Return `values` (…), each from 0 to 1, as uint8 colours (…, 3); what lies outside takes the end's colour."""
    return _coloured(values, HEAT)


def signed(values: np.ndarray) -> np.ndarray:
    """Return `values` (…), each from -1 to 1, as uint8 colours (…, 3): 0 is white."""
    return _coloured((np.asarray(values) + 1) / 2, SIGNED)


def scaled(values: np.ndarray) -> np.ndarray:
    """Return `values` divided by their largest magnitude: 0 to 1, or -1 to 1 where some are negative; zeros stay."""
    largest = float(np.abs(values).max(initial=0.0))
    result: np.ndarray = values / largest if largest > 0 else np.zeros_like(values)
    return result


def overlay(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return `picture` uint8 (H, W, 3) under the map `values` (H, W): the stronger a value, the more it covers.

    A map with negative values is drawn blue to orange, any other as heat. A map of zeros leaves the picture as it is.
    """
    shares = scaled(values)
    colours = signed(shares) if (shares < 0).any() else heat(shares)
    cover = MOST_OPAQUE * np.abs(shares)[..., None] ** 0.7  # weak values too can be seen
    mixed = picture * (1 - cover) + colours * cover
    result: np.ndarray = np.rint(mixed).astype(np.uint8)
    return result


def _coloured(shares: np.ndarray, stops: tuple[str, ...]) -> np.ndarray:
    """Return the colours at `shares` of the way through `stops`, with what lies between two of them interpolated."""
    table = np.array([tuple(bytes.fromhex(stop)) for stop in stops], np.float64)  # (stops, 3)
    places = np.linspace(0, 1, len(stops))
    channels = [np.interp(shares, places, table[:, channel]) for channel in range(3)]
    result: np.ndarray = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return result
