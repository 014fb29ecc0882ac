"""Stored values → the display values that a viewer shows first, as uint8.

================================  ==================================================================
in the file                       what happens
================================  ==================================================================
rescale, modality LUT             applied to the stored values (PS3.3 section C.11.1)
VOI LUT                           the first one is applied, before any window (C.11.2.1.1)
window                            the first one: linear, linear exact or sigmoid (C.11.2.1.2, C.11.2.1.3)
neither                           the range of the values present becomes 0 to 255, image by image
MONOCHROME1                       inverted at the end, so that high values are dark
padding                           black, and no part of the range (C.7.5.1.1.2)
palette, YBR                      converted to RGB (C.7.6.3.1)
more than 8 bits of colour        scaled to 8 over the full range, never clipped
XA, XRF stored as LOG or DISP     the modality LUT is left out: there it leads back to intensities (C.8.7.1.1.2)
enhanced, of one frame            rescale and window from its functional groups (C.7.6.16.2)
Presentation LUT, overlays,       not applied
shutters, ICC profiles,
oblong pixels
================================  ==================================================================

The values between are never narrowed to 8 bits: a picture of 16 bits and a narrow window keeps all
256 shades. Each value that occurs is mapped once, as a table, and the picture is looked up in it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.dicom.read import UnreadableDicomError, parsing

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

WIDEST_TABLE = 1 << 16  # values; pixels of 32 bits may span more, and are then sorted
ANGIOGRAPHY = tuple(f"1.2.840.10008.5.1.4.1.1.12.{kind}" for kind in (1, 2, 3))  # XA, XRF, biplane XA
TOWARDS_INTENSITY = ("LOG", "DISP")  # the pixel intensity relationships whose modality LUT is not for display


def display(elements: FileDataset) -> np.ndarray:
    """Return what `foveal.dicom.read.read` returned as uint8 (H, W) or (H, W, 3), by the table at the top of this file.

    Raises UnreadableDicomError with the reason.
    """
    with parsing("its pixels"):
        if elements.PhotometricInterpretation.startswith("MONOCHROME"):
            return _grey(elements)
        return _colour(elements)


def _grey(elements: FileDataset) -> np.ndarray:
    """Return (H, W): modality LUT, then VOI LUT or window, then the photometric interpretation (PS3.4 section N.2)."""
    _take_from_groups(elements)
    stored = _stored(elements)  # (H, W)
    levels, places, seen = _levels(stored)  # (K,), (H, W), (K,)
    outside = _padding(levels, elements, stored.dtype)  # (K,)
    values = _modality(levels, elements)  # (K,)
    shares = _voi(values, seen & ~outside, elements)  # (K,), 0 to 1
    if elements.PhotometricInterpretation == "MONOCHROME1":
        shares = 1 - shares
    shades = np.rint(255 * np.where(outside, 0.0, shares)).astype(np.uint8)
    picture: np.ndarray = shades[places]
    return picture


def _colour(elements: FileDataset) -> np.ndarray:
    """Return (H, W, 3)."""
    from pydicom.pixels.processing import apply_color_lut

    pixels, bits = _stored(elements), elements.BitsStored
    if elements.PhotometricInterpretation == "PALETTE COLOR":
        if not elements.file_meta.TransferSyntaxUID.is_little_endian:  # pydicom would swap the bytes of its entries
            raise UnreadableDicomError("its palette is big-endian, which is not read; save it as little-endian")
        pixels = apply_color_lut(pixels, elements)
        bits = 8 * pixels.dtype.itemsize
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadableDicomError("it is damaged: its pixels are not three colours")
    if elements.get("PixelRepresentation") and elements.PhotometricInterpretation != "PALETTE COLOR":
        raise UnreadableDicomError("its colours are signed numbers, which mean no brightness")
    if bits == 8:
        return pixels.astype(np.uint8)
    scaled: np.ndarray = np.rint(pixels.astype(np.float64) * (255 / (2**bits - 1))).astype(np.uint8)
    return scaled


def _stored(elements: FileDataset) -> np.ndarray:
    """Return the stored values, decoded by pydicom: unused bits cleared, YBR converted to RGB."""
    from pydicom.pixels.utils import pixel_array

    return pixel_array(elements)


def _levels(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values as int64 (K,), rising; the place among them of each pixel's (H, W); which of them occur (K,)."""
    low, high = int(stored.min()), int(stored.max())
    if high - low >= WIDEST_TABLE:
        present, found = np.unique(stored, return_inverse=True)
        return present.astype(np.int64), found.reshape(stored.shape), np.ones(len(present), bool)
    places = stored.astype(np.int64)
    places -= low
    seen = np.bincount(places.ravel(), minlength=high - low + 1) > 0
    return np.arange(low, high + 1), places, seen


def _padding(levels: np.ndarray, elements: Dataset, stored: np.dtype[Any]) -> np.ndarray:
    """Return which of the stored values `levels` (K,) only fill the frame around the picture (PS3.3 C.7.5.1.1.2).

    A negative value may be written as the unsigned number of the same bits, so it is read as `stored` numbers are.
    """
    value = elements.get("PixelPaddingValue")
    if value is None:
        return np.zeros(len(levels), bool)
    limit = elements.get("PixelPaddingRangeLimit")
    ends = np.array([int(value), int(value if limit is None else limit)]).astype(stored)
    return (levels >= int(ends.min())) & (levels <= int(ends.max()))


def _modality(levels: np.ndarray, elements: FileDataset) -> np.ndarray:
    """Return float64 (K,): stored values in the units of the modality (PS3.3 section C.11.1).

    Of slope and intercept one may be missing, and is then 1 or 0. pydicom's `apply_modality_lut`
    would leave both out, and works on pictures, where a table of the values does.
    """
    relation = elements.get("PixelIntensityRelationship")
    if elements.get("SOPClassUID") in ANGIOGRAPHY and relation in TOWARDS_INTENSITY:
        return levels.astype(np.float64)
    if tables := elements.get("ModalityLUTSequence"):
        looked_up, _ = _looked_up(levels, tables[0], elements)
        return looked_up
    slope, intercept = _number(elements, "RescaleSlope", 1.0), _number(elements, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnreadableDicomError("its RescaleSlope is 0, which makes every pixel alike")
    values: np.ndarray = levels * slope + intercept
    return values


def _voi(values: np.ndarray, counted: np.ndarray, elements: FileDataset) -> np.ndarray:
    """Return `values` (K,) of the modality as shares of the full brightness, 0 to 1 (PS3.3 section C.11.2).

    Without VOI LUT and window the smallest of the values that are `counted` becomes 0 and the largest 1;
    where all are alike, 0.
    """
    tables = elements.get("VOILUTSequence")
    if tables and "LUTData" in tables[0]:
        looked_up, most = _looked_up(values, tables[0], elements)
        return np.clip(looked_up / most, 0.0, 1.0)
    if (window := _window(elements)) is not None:
        return windowed(values, *window)
    present = values[counted]
    if not len(present) or present.min() == present.max():
        return np.zeros(len(values))
    shares: np.ndarray = np.clip((values - present.min()) / (present.max() - present.min()), 0.0, 1.0)
    return shares


def windowed(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Return `values` as shares of the full brightness, 0 to 1, by one window; never falling where `values` rise.

    ``LINEAR``: 0 up to c - 0.5 - (w - 1) / 2, 1 above c - 0.5 + (w - 1) / 2, between them
    (x - (c - 0.5)) / (w - 1) + 0.5 (PS3.3 section C.11.2.1.2.1); ``LINEAR_EXACT``: the same with c and w
    themselves (C.11.2.1.3.2); ``SIGMOID``: 1 / (1 + exp(-4 (x - c) / w)) (C.11.2.1.3.1).

    pydicom's `apply_windowing` gives the same on the scale of the modality, whose ends it does not tell.
    Raises UnreadableDicomError for a width that the standard excludes, and a function that it does not know.
    """
    if not (math.isfinite(centre) and math.isfinite(width)) or width <= 0 or (function == "LINEAR" and width < 1):
        raise UnreadableDicomError(f"its window has the centre {centre:g} and the width {width:g}, which show nothing")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # far below, exp is infinite and the share 0
            shares: np.ndarray = 1 / (1 + np.exp(-4 * (values - centre) / width))
            return shares
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise UnreadableDicomError("its VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID")
    if width == 0:
        return np.where(values > centre, 1.0, 0.0)
    return np.clip((values - centre) / width + 0.5, 0.0, 1.0)


def _window(elements: Dataset) -> tuple[float, float, str] | None:
    """Return centre, width and function of the first window, None where there is none."""
    centre, width = elements.get("WindowCenter"), elements.get("WindowWidth")
    if _first(centre) is None or _first(width) is None:
        return None
    function = str(elements.get("VOILUTFunction") or "LINEAR").strip().upper()
    return _number(elements, "WindowCenter"), _number(elements, "WindowWidth"), function


def _looked_up(values: np.ndarray, table: Dataset, elements: FileDataset) -> tuple[np.ndarray, float]:
    """Return the entries of a LUT for `values` (K,) as float64, and the largest that an entry may be.

    What lies before the table gets its first entry, what lies behind it its last (PS3.3 section
    C.11.1.1.1, C.11.2.1.1). pydicom's `apply_voi` is not used: it counts entries in the type of what it looks
    up, so that in a table of 8-bit entries the 256th is the 0th again.
    """
    count, first, bits = (int(one) for one in table.LUTDescriptor)
    entries = _entries(table, count or 1 << 16, elements)
    if not 8 <= bits <= 16 or not len(entries):
        raise UnreadableDicomError(f"its lookup table of {len(entries)} entries of {bits} bits is not read")
    if first > values.max() and first >= 1 << 15 and values.min() < 0:
        first -= 1 << 16  # written as unsigned where negative values are looked up
    places = np.clip(np.floor(values) - first, 0, len(entries) - 1).astype(np.int64)
    return entries[places].astype(np.float64), float(2**bits - 1)


def _entries(table: Dataset, count: int, elements: FileDataset) -> np.ndarray:
    """Return the entries of a LUT: numbers, or bytes of one (8-bit entries, packed) or two bytes each."""
    found = table.LUTData
    if not isinstance(found, bytes):
        return np.atleast_1d(np.array(found, np.int64))[:count]
    if len(found) < 2 * count:
        return np.frombuffer(found, np.uint8)[:count]
    order = "<" if elements.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.frombuffer(found, f"{order}u2", count)


def _take_from_groups(elements: Dataset) -> None:
    """Bring rescale and window of an enhanced image from its functional groups to where other images have them."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (elements.get(groups) or [])[:1]:
            for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in (group.get(macro) or [])[:1]:
                    for name in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"):
                        if name in item:
                            elements[name] = item[name]


def _number(elements: Dataset, name: str, otherwise: float = math.nan) -> float:
    """Return the first number of an element; `otherwise` where there is none."""
    first = _first(elements.get(name))
    number = otherwise if first is None else float(first)
    if not math.isfinite(number):
        raise UnreadableDicomError(f"its {name} is not a number")
    return number


def _first(value: Any) -> Any:
    """Return the first of several values, or the one; None where there is none."""
    several = isinstance(value, list) or hasattr(value, "append")  # pydicom's MultiValue is no list
    if several:
        return value[0] if len(value) else None
    return None if value in (None, "") else value
