"""Which files are read, and the sentence for each that is not."""

from __future__ import annotations

import io
import sys
import threading
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicom_files
from dicom_files import content, dcmread, encapsulate, real, uid
from foveal.dicom import codestream
from foveal.dicom import read as room
from foveal.dicom.pixels import display
from foveal.dicom.read import PIXELS_NEED, UnreadableDicomError, is_dicom, read, size
from foveal.errors import MissingPartError
from foveal.preprocess import MAX_PIXELS

SMALL = np.arange(20, dtype=np.uint16).reshape(4, 5)


def refusal(file: bytes) -> str:
    with pytest.raises(UnreadableDicomError) as caught:
        display(read(file))
    return str(caught.value)


def test_the_limit_is_that_of_all_other_images() -> None:
    assert room.MAX_PIXELS == MAX_PIXELS


def test_size_and_channels() -> None:
    assert size(read(content(SMALL))) == (4, 5, 1)
    assert size(read(content(np.zeros((4, 5, 3), np.uint8)))) == (4, 5, 3)
    assert size(read(real("examples_palette.dcm"))).channels == 3


def test_nothing_but_what_the_pixels_need_is_kept() -> None:
    kept = read(content(SMALL, PatientName="CANARY^NAME", PatientID="CANARY-ID", PatientBirthDate="19700101"))
    assert {one.keyword for one in kept} <= {*PIXELS_NEED, "SpecificCharacterSet"}
    assert "CANARY" not in str(kept)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test-SR.dcm", "it is no picture: Comprehensive SR Storage"),
        ("rtplan.dcm", "it is no picture: RT Plan Storage"),
        ("rtdose.dcm", "it is no picture: RT Dose Storage"),
        ("liver_1frame.dcm", "it is no picture: Segmentation Storage"),
        ("waveform_ecg.dcm", "it is no picture: 12-lead ECG Waveform Storage"),
        ("DICOMDIR", "it is no picture: Media Storage Directory Storage"),
        ("SC_rgb_rle_2frame.dcm", "it has 2 frames; save the one you mean as a file of its own"),
        ("examples_ybr_color.dcm", "it has 30 frames; save the one you mean as a file of its own"),
        ("MR_truncated.dcm", "it is cut off: 8,130 of its 8,192 bytes of pixels are there"),
        ("no_meta.dcm", "it is no DICOM file: DICM does not stand at byte 128"),
        ("ExplVR_LitEndNoMeta.dcm", "it is no DICOM file: DICM does not stand at byte 128"),
        (
            "image_dfl.dcm",
            "its transfer syntax, Deflated Explicit VR Little Endian, is not read; save it uncompressed (dcmconv +te)",
        ),
        (
            "JPEG2000-embedded-sequence-delimiter.dcm",
            "it says 1024×256 pixels, and its coded picture another size",
        ),
    ],
)
def test_real_files_that_are_refused(name: str, reason: str) -> None:
    assert refusal(real(name)) == reason


def test_presentation_states_and_documents_are_no_pictures() -> None:
    for kind, name in (
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
    ):
        assert refusal(content(SMALL, SOPClassUID=kind, PixelData=None)) == f"it is no picture: {name}"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"PixelData": None}, "it holds no pixels, or is cut off before their end"),
        ({"Rows": None}, "it does not say its Rows"),
        ({"BitsStored": None}, "it does not say its BitsStored"),
        ({"PhotometricInterpretation": None}, "it does not say its PhotometricInterpretation"),
        ({"Columns": 0}, "it is 4×0 pixels"),
        ({"Rows": 65535, "Columns": 65535}, "65535×65535 is 4,295 megapixels; the limit is 89"),
        ({"Rows": 400}, "it is cut off: 40 of its 4,000 bytes of pixels are there"),
        ({"NumberOfFrames": 10000}, "it has 10,000 frames; save the one you mean as a file of its own"),
        ({"SamplesPerPixel": 3}, "it says MONOCHROME2, but 3 samples a pixel"),
        ({"PhotometricInterpretation": "HSV"}, "its colours are 'HSV', which is not read (MONOCHROME1,"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "12 bits stored in 12 are not read"),
        ({"BitsStored": 12, "HighBit": 15}, "its 12 bits end at bit 15, which is not read"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], reason: str) -> None:
    assert refusal(content(SMALL, **values)).startswith(reason)


def test_floating_point_pixels_are_refused() -> None:
    found = dicom_files.elements(SMALL, PixelData=None)
    found.FloatPixelData = SMALL.astype("<f4").tobytes()
    assert refusal(dicom_files.written(found)).startswith("its pixels are floating-point")


def test_empty_and_other_files() -> None:
    assert not is_dicom(b"")
    for file in (b"", b"\0" * 131, b"\xff\xd8\xff" * 100):
        assert refusal(file) == "it is no DICOM file: DICM does not stand at byte 128"
    assert refusal(b"\0" * 128 + b"DICM") == "it holds no pixels, or is cut off before their end"


def test_an_unknown_transfer_syntax_is_named() -> None:
    found = dicom_files.elements(SMALL, syntax="1.2.840.10008.1.2.4.100")
    found.PixelData = encapsulate([b"\0\0"])
    found["PixelData"].VR = "OB"
    assert refusal(dicom_files.written(found)).startswith("its transfer syntax, MPEG2 Main Profile")
    file = dicom_files.written(found).replace(b"1.2.840.10008.1.2.4.100\0", b"1.2.3.4.5.6.7.8.9.10.11\0")
    assert "'1.2.3.4.5.6.7.8.9.10.11', is not read" in refusal(file)


@pytest.mark.parametrize(
    ("syntax", "package"), [(uid.JPEGLosslessSV1, "python-gdcm"), (uid.JPEG2000, "pylibjpeg-openjpeg")]
)
def test_a_missing_decoder_is_named(syntax: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    found = dicom_files.elements(SMALL, syntax=syntax)
    found.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    found["PixelData"].VR = "OB"
    reason = refusal(dicom_files.written(found))
    assert syntax.name in reason
    assert reason.endswith(f"is decoded by {package}: pip install 'foveal[dicom]'")


def test_twelve_bit_jpeg_is_refused_where_only_a_gpl_decoder_reads_it() -> None:
    from pydicom.pixels.decoders.base import get_decoder

    if "pylibjpeg" in get_decoder(uid.JPEGExtended12Bit).available_plugins:
        pytest.skip("needs real data: pylibjpeg-libjpeg is installed, and decodes it")
    assert refusal(real("JPGExtended.dcm")) == (
        "its 12-bit JPEG Extended (Process 2 and 4) is not read; save it uncompressed (dcmdjpeg)"
    )


def test_without_pydicom_the_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    file = content(SMALL)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingPartError, match=r"pip install 'foveal\[dicom\]'"):
        read(file)


def test_a_deflated_bomb_is_never_inflated() -> None:
    found = dicom_files.elements(SMALL, syntax="1.2.840.10008.1.2.1.99")
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    file = dicom_files.written(found)
    meta = file[: file.index(b"1.2.840.10008.1.2.1.99") + 22]
    bomb = meta + squeezed.compress(b"\0" * (64 << 20)) + squeezed.flush()
    assert "is not read" in refusal(bomb)


def test_a_coded_picture_that_would_be_huge_is_not_decoded() -> None:
    huge = bytearray(jpeg_2000())
    huge[8:12] = (1 << 31).to_bytes(4)
    found = dicom_files.elements(np.zeros((64, 64), np.uint8), syntax=uid.JPEG2000)
    found.PixelData = encapsulate([bytes(huge)])
    found["PixelData"].VR = "OB"
    assert refusal(dicom_files.written(found)) == "it says 64×64 pixels, and its coded picture another size"


def jpeg_2000() -> bytes:
    from PIL import Image, features

    if not features.check("jpg_2000"):
        pytest.skip("needs real data: this Pillow has no JPEG 2000")
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 9).save(buffer, "JPEG2000", no_jp2=True)
    return buffer.getvalue()


def test_the_size_in_a_codestream() -> None:
    from PIL import Image

    assert codestream.size_in(jpeg_2000()) == (64, 64)
    for progressive in (False, True):
        buffer = io.BytesIO()
        Image.new("RGB", (33, 21)).save(buffer, "JPEG", progressive=progressive, comment=b"x" * 500)
        assert codestream.size_in(buffer.getvalue()) == (21, 33)
    assert codestream.size_in(b"") is None
    assert codestream.size_in(b"\xff\xd8\xff\xff\xff\xd9") is None


@given(st.binary(max_size=60))
def test_any_codestream_has_a_size_or_none(rest: bytes) -> None:
    for start in (codestream.JPEG, codestream.JPEG_2000):
        codestream.size_in(start + rest)


def rle() -> bytes:
    found = dicom_files.elements(np.arange(64, dtype=np.uint8).reshape(8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.compress(uid.RLELossless, encoding_plugin="pydicom")
    return dicom_files.written(found)


def jpeg() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, "JPEG")
    found = dicom_files.elements(np.zeros((8, 8), np.uint8), syntax=uid.JPEGBaseline8Bit)
    found.PixelData = encapsulate([buffer.getvalue()])
    found["PixelData"].VR = "OB"
    return dicom_files.written(found)


@pytest.mark.parametrize("kind", ["plain", "odd", "windowed", "table", "rle", "jpeg"])
def test_a_file_cut_anywhere_gives_a_reason_and_no_other_error(kind: str) -> None:
    files = {
        "plain": lambda: content(SMALL),
        "odd": lambda: content(np.arange(9, dtype=np.uint8).reshape(3, 3)),
        "windowed": lambda: content(SMALL, WindowCenter=[8, 9], WindowWidth=[5, 6], RescaleSlope=1, RescaleIntercept=0),
        "table": lambda: content(SMALL, VOILUTSequence=dicom_files.lookup(np.arange(0, 60000, 3000))),
        "rle": rle,
        "jpeg": jpeg,
    }
    whole = files[kind]()
    assert display(read(whole)).any()
    coded_end = 4 if kind in ("rle", "jpeg") else 0  # the length of the delimiter after the pixels, which is nothing
    for length in range(len(whole) - coded_end):
        assert refusal(whole[:length])


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "examples_palette.dcm"])
def test_real_files_cut_anywhere_are_refused_or_whole(name: str) -> None:
    whole = real(name)
    picture = display(read(whole))
    lengths = {*range(0, len(whole), max(1, len(whole) // 150)), *range(len(whole) - 30, len(whole))}
    for length in sorted(lengths):
        try:
            cut = display(read(whole[:length]))
        except UnreadableDicomError:
            continue
        assert np.array_equal(cut, picture)  # cut in what follows the pixels


@given(st.data())
def test_any_bytes_changed_give_a_picture_or_a_reason(data: st.DataObject) -> None:
    file = bytearray(content(SMALL, WindowCenter=8, WindowWidth=9, RescaleSlope=1, RescaleIntercept=0))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(132, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert display(read(bytes(file))).dtype == np.uint8
    except UnreadableDicomError as error:
        assert str(error)


def test_a_reason_never_quotes_the_file() -> None:
    found = dicom_files.elements(SMALL, PatientName="CANARY^NAME")
    file = dicom_files.written(found)
    assert b"CANARY" in file
    for length in range(len(file)):
        assert "CANARY" not in refusal(file[:length])


def test_warnings_are_kept_quiet_by_many_threads_and_put_back() -> None:
    before = list(warnings.filters)
    file = real("MR_small_RLE.dcm")
    threads = [threading.Thread(target=lambda: [display(read(file)) for _ in range(5)]) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert list(warnings.filters) == before


def test_what_is_read_agrees_with_pydicom() -> None:
    file = real("CT_small.dcm")
    assert np.array_equal(read(file).pixel_array, dcmread(io.BytesIO(file)).pixel_array)
