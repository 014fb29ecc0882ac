"""Stored values to display values, against the formulas of DICOM PS3.3 C.11 by hand and against pydicom's own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import dicom_files
from dicom_files import Dataset, Sequence, content, dcmread, lookup, real
from foveal.dicom.pixels import display, windowed
from foveal.dicom.read import UnreadableDicomError, read

RAMP = np.arange(0, 1 << 16, 257, dtype=np.uint16).reshape(16, 16)


def shown(pixels: np.ndarray, **values: Any) -> np.ndarray:
    return display(read(content(pixels, **values)))


def refusal(pixels: np.ndarray, **values: Any) -> str:
    with pytest.raises(UnreadableDicomError) as caught:
        shown(pixels, **values)
    return str(caught.value)


def linear(x: float, centre: float, width: float) -> float:
    """The pseudo-code of PS3.3 C.11.2.1.2.1, for y from 0 to 255."""
    if x <= centre - 0.5 - (width - 1) / 2:
        return 0.0
    if x > centre - 0.5 + (width - 1) / 2:
        return 255.0
    return ((x - (centre - 0.5)) / (width - 1) + 0.5) * 255


def test_sixteen_bits_without_a_window_span_the_values_present() -> None:
    pixels = np.array([[1000, 2000], [3000, 5000]], np.uint16)
    assert shown(pixels).tolist() == [[0, 64], [128, 255]]
    assert shown(RAMP).ravel().tolist() == list(range(256))


def test_an_even_picture_is_black_whatever_its_value() -> None:
    assert not shown(np.full((3, 3), 40000, np.uint16)).any()


@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (40, 400), (30000, 1), (30000, 2), (-5, 3), (1e5, 10)])
def test_the_linear_window_is_the_standards(centre: float, width: float) -> None:
    pixels = np.array([[0, 1, 39, 40, 41], [240, 2047, 2048, 29999, 30000], [4095, 4096, 30001, 5, 65535]], np.uint16)
    expected = [[round(linear(x, centre, width)) for x in row] for row in pixels.tolist()]
    assert shown(pixels, WindowCenter=centre, WindowWidth=width).tolist() == expected


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_agree_with_pydicom(function: str, signed: bool) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 4000, (20, 20)).astype(np.uint16)
    if signed:
        pixels = pixels.astype(np.int16) - np.int16(2000)
    given_values = {"WindowCenter": 150, "WindowWidth": 1200, "VOILUTFunction": function}
    file = content(pixels, RescaleSlope=2, RescaleIntercept=-1024, **given_values)
    from pydicom.pixels.processing import apply_modality_lut, apply_windowing

    original = dcmread(io.BytesIO(file))
    theirs = apply_windowing(apply_modality_lut(original.pixel_array, original), original)
    low, high = (-(1 << 15), (1 << 15) - 1) if signed else (0, (1 << 16) - 1)
    low, high = low * 2 - 1024, high * 2 - 1024
    assert np.abs(display(read(file)) - (theirs - low) / (high - low) * 255).max() < 0.5 + 1e-6


def test_of_several_windows_the_first_is_taken() -> None:
    several = shown(RAMP, WindowCenter=[1000, 50000], WindowWidth=[500, 100])
    assert np.array_equal(several, shown(RAMP, WindowCenter=1000, WindowWidth=500))


def test_a_narrow_window_keeps_all_its_shades() -> None:
    pixels = np.arange(30000, 30256, dtype=np.uint16).reshape(16, 16)
    assert len(np.unique(shown(pixels, WindowCenter=30128, WindowWidth=256))) == 256


def test_monochrome1_is_the_mirror_of_its_twin() -> None:
    window = {"WindowCenter": 20000, "WindowWidth": 9000}
    for values in ({}, window):
        twin = shown(RAMP, **values).astype(int)
        assert np.array_equal(shown(RAMP, PhotometricInterpretation="MONOCHROME1", **values), 255 - twin)


def test_signed_values_are_rescaled_before_the_window() -> None:
    pixels = np.array([[-1000, 0], [40, 1000]], np.int16)
    by_hand = [[round(linear(x * 1.5 - 10, 40, 400)) for x in row] for row in pixels.tolist()]
    values = {"RescaleSlope": "1.5", "RescaleIntercept": "-10", "WindowCenter": 40, "WindowWidth": 400}
    assert shown(pixels, **values).tolist() == by_hand


def test_a_falling_rescale_turns_light_into_dark() -> None:
    pixels = np.array([[0, 50], [75, 100]], np.uint16)
    values = {"RescaleSlope": -1, "RescaleIntercept": 100}
    assert shown(pixels, **values).tolist() == [[255, 128], [64, 0]]
    windows = {"WindowCenter": 50, "WindowWidth": 101}
    assert shown(pixels, **values, **windows)[0, 0] == 255
    assert shown(pixels, **values, **windows)[1, 1] == 1


def test_bits_beyond_those_stored_are_not_read() -> None:
    pixels = np.array([[0, 4095], [2048, 1024]], np.uint16)
    overlaid = pixels | np.array([[0xF000, 0], [0x8000, 0x1000]], np.uint16)  # an overlay, as old CR has it there
    assert np.array_equal(shown(overlaid, BitsStored=12), shown(pixels, BitsStored=12))
    signed = np.array([[-2048, 2047], [0, -1]], np.int16)
    masked = (signed.view(np.uint16) & 0x0FFF).view(np.int16)
    assert np.array_equal(shown(masked, BitsStored=12), shown(signed, BitsStored=12))


def test_padding_is_black_and_no_part_of_the_range() -> None:
    pixels = np.array([[0, 1000], [1500, 2000]], np.uint16)
    assert shown(pixels, PixelPaddingValue=0).tolist() == [[0, 0], [128, 255]]
    inverted = {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}
    assert shown(pixels, **inverted).tolist() == [[0, 255], [128, 0]]
    assert shown(pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=1200).tolist() == [[0, 0], [0, 255]]
    assert not shown(np.zeros((2, 2), np.uint16), PixelPaddingValue=0).any()


def test_negative_padding_may_be_written_as_unsigned() -> None:
    pixels = np.array([[-2000, -100], [0, 100]], np.int16)
    found = dicom_files.elements(pixels)
    found.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert display(read(dicom_files.written(found))).tolist() == [[0, 0], [128, 255]]


def test_a_modality_table_is_looked_up() -> None:
    pixels = np.array([[9, 10], [11, 99]], np.uint16)
    entries = np.array([5, 500, 1000], np.uint16)  # for 10, 11, 12; what lies beside it gets the nearest
    assert shown(pixels, ModalityLUTSequence=lookup(entries, 10)).tolist() == [[0, 0], [127, 255]]


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (12, 4095), (16, 65535)])
def test_a_voi_table_is_looked_up_and_comes_before_a_window(bits: int, most: int) -> None:
    entries = (np.linspace(0, 1, 4096) ** 2 * most).astype(np.uint16)
    pixels = np.array([[0, 1000], [2000, 5000]], np.uint16)
    values = {"VOILUTSequence": lookup(entries, 0, bits), "WindowCenter": 1, "WindowWidth": 1}
    expected = np.rint(entries[np.clip(pixels, 0, 4095)] / most * 255)
    assert np.array_equal(shown(pixels, **values), expected)


def test_a_voi_table_may_begin_below_zero() -> None:
    pixels = np.array([[0, 100], [1024, 2047]], np.uint16)
    entries = np.arange(0, 65536, 32, dtype=np.uint16)  # for -1024 to 1023
    expected = np.rint(entries[pixels] / 65535 * 255)
    for first in (-1024, 65536 - 1024):
        values = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": lookup(entries, first)}
        assert np.array_equal(shown(pixels, **values), expected)


def test_angiography_that_is_logarithmic_is_shown_without_its_modality_table() -> None:
    pixels = np.array([[0, 1], [2, 3]], np.uint16)
    table = lookup(np.array([900, 50, 10, 0], np.uint16))
    values = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1", "ModalityLUTSequence": table}
    assert shown(pixels, PixelIntensityRelationship="LOG", **values).tolist() == [[0, 85], [170, 255]]
    assert shown(pixels, PixelIntensityRelationship="LIN", **values)[0, 0] == 255


def test_an_enhanced_image_keeps_its_window_in_its_groups() -> None:
    group, window, rescale = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 100, 50
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, 0
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = Sequence([window]), Sequence([rescale])
    pixels = np.arange(100, dtype=np.uint16).reshape(10, 10)
    plain = shown(pixels, WindowCenter=100, WindowWidth=50, RescaleSlope=2, RescaleIntercept=0)
    assert np.array_equal(shown(pixels, SharedFunctionalGroupsSequence=Sequence([group])), plain)
    assert np.array_equal(shown(pixels, PerFrameFunctionalGroupsSequence=Sequence([group])), plain)


def test_thirty_two_bits_are_no_less_exact() -> None:
    pixels = np.array([[0, 1 << 31], [(1 << 32) - 1, 1 << 30]], np.uint32)
    assert shown(pixels).tolist() == [[0, 128], [255, 64]]


def test_colour() -> None:
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (6, 5, 3), np.uint8)
    assert np.array_equal(shown(small), small)
    deep = rng.integers(0, 1 << 16, (6, 5, 3), np.uint16)
    assert np.array_equal(shown(deep), np.rint(deep / 257))
    planes = {"PlanarConfiguration": 1, "PixelData": small.transpose(2, 0, 1).tobytes()}
    assert np.array_equal(shown(small, **planes), small)


def test_a_palette_gives_colours() -> None:
    palette = np.array([[0, 65535, 32896], [65535, 0, 257], [0, 0, 0]], np.uint16)  # red, green, blue of 3 entries
    values: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in zip(("Red", "Green", "Blue"), palette, strict=True):
        values[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        values[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    pixels = np.array([[0, 1], [2, 1]], np.uint8)
    assert shown(pixels, **values).tolist() == [[[0, 255, 0], [255, 0, 0]], [[128, 1, 0], [255, 0, 0]]]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("SC_rgb_rle.dcm", "SC_rgb_small_odd.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("RG1_J2KR.dcm", "RG1_UNCR.dcm"),
        ("RG3_J2KR.dcm", "RG3_UNCR.dcm"),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_a_picture_is_the_same_however_it_is_stored(name: str, reference: str) -> None:
    picture = display(read(real(name)))
    if reference == "SC_rgb_small_odd.dcm":
        assert picture.shape == (100, 100, 3)
    else:
        assert np.array_equal(picture, display(read(real(reference))))


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG3_UNCR.dcm"])
def test_a_radiograph_is_light_where_bone_is(name: str) -> None:
    picture = display(read(real(name)))
    assert picture.ndim == 2
    assert picture[picture.shape[0] * 9 // 10, picture.shape[1] // 2] > 120  # spine, heel
    assert picture.min() < 40  # air around the body
    assert picture.max() > 240


def test_colours_of_ultrasound_agree_whether_stored_as_ybr_or_rgb() -> None:
    plain, packed = (
        display(read(real(name))).astype(int) for name in ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_dcmtk_+eb+cr.dcm")
    )
    assert np.abs(plain - packed).mean() < 2


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "its RescaleSlope is 0, which makes every pixel alike"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "its window has the centre 5 and the width 0, which show nothing"),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, "its window has the centre 5 and the width 0.5, which show nothing"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "its VOILUTFunction is none of LINEAR"),
        ({"VOILUTSequence": lookup(np.array([1, 2]), 0, 40)}, "its lookup table of 2 entries of 40 bits is not read"),
    ],
)
def test_what_shows_nothing_is_refused(values: dict[str, Any], reason: str) -> None:
    assert refusal(RAMP, **values).startswith(reason)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    found = dicom_files.elements(RAMP, RescaleIntercept=0, RescaleSlope=1)
    found["RescaleSlope"]._value = number
    file = dicom_files.written(found)
    with pytest.raises(UnreadableDicomError, match=r"RescaleSlope is not a number|cannot be read"):
        display(read(file))


def test_an_empty_window_is_none() -> None:
    assert np.array_equal(shown(RAMP, WindowCenter="", WindowWidth=""), shown(RAMP))
    assert np.array_equal(shown(RAMP, WindowCenter=5), shown(RAMP))


def test_a_big_endian_palette_is_refused() -> None:
    with pytest.raises(UnreadableDicomError, match="its palette is big-endian"):
        display(read(real("OBXXXX1A_expb.dcm")))


@given(
    centre=st.floats(-1e5, 1e5),
    width=st.floats(1, 1e5),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    values=arrays.arrays(np.float64, 50, elements=st.floats(-70000, 70000)),
)
def test_any_window_rises_from_0_to_1(centre: float, width: float, function: str, values: np.ndarray) -> None:
    shares = windowed(np.sort(values), centre, width, function)
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert (np.diff(shares) >= -1e-12).all()


@given(
    pixels=arrays.arrays(st.sampled_from([np.uint16, np.int16]), (4, 5)),
    window=st.none() | st.tuples(st.integers(-40000, 70000), st.integers(1, 70000)),
    slope=st.sampled_from([None, 1, 0.25, 3]),
)
def test_any_picture_of_16_bits_keeps_its_order(
    pixels: np.ndarray, window: tuple[int, int] | None, slope: float | None
) -> None:
    values: dict[str, Any] = {} if window is None else {"WindowCenter": window[0], "WindowWidth": window[1]}
    if slope is not None:
        values |= {"RescaleSlope": slope, "RescaleIntercept": -1024}
    picture = shown(pixels, **values)
    assert picture.dtype == np.uint8
    assert picture.shape == pixels.shape
    order = np.argsort(pixels, axis=None, kind="stable")
    assert (np.diff(picture.ravel()[order].astype(int)) >= 0).all()
