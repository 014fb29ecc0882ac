"""A DICOM file's bytes → what its pixels need, or the reason why it is no picture.

Only the elements named here are ever kept of a file: no name, no number, no date of a patient is in
what `read` returns. The reasons are our own words for the same purpose: what pydicom says of a damaged
file may quote it.

Source: DICOM PS3.10 section 7.1 (the file), PS3.3 section C.7.6.3 (its pixels), PS3.5 annex A (their coding).
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from foveal.dicom.codestream import size_in
from foveal.errors import DataError, MissingPartError
from foveal.silence import without_warnings

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset
    from pydicom.uid import UID

PREAMBLE, MAGIC = 128, b"DICM"  # PS3.10 section 7.1
MAX_PIXELS = 89_478_485  # as `foveal.preprocess` has it for all other images
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")  # the whole file, or each frame; see `_refuse_coding`
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"  # beyond 8 bits only pylibjpeg-libjpeg decodes it, which is GPL
NO_PICTURES = (  # these have pixels, which are no picture: classes of them, doses, measured values
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.7",
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.30",
)
NO_PIXELS = "it holds no pixels, or is cut off before their end"
CHANNELS = {  # PS3.3 section C.7.6.3.1.2 → channels of the picture, samples stored for a pixel
    "MONOCHROME1": (1, 1),
    "MONOCHROME2": (1, 1),
    "PALETTE COLOR": (3, 1),
    "RGB": (3, 3),
    "YBR_FULL": (3, 3),
    "YBR_FULL_422": (3, 3),
    "YBR_ICT": (3, 3),
    "YBR_RCT": (3, 3),
}
COLOURS = ("Red", "Green", "Blue")
PIXELS_NEED = (
    "SOPClassUID",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelIntensityRelationship",
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
    *(f"{colour}PaletteColorLookupTable{part}" for colour in COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in COLOURS),
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
)


class UnreadableDicomError(DataError):
    """One DICOM file cannot be used; the message is the reason alone, the caller knows the file's name."""


class Size(NamedTuple):
    """The size of a picture, and 1 (grey) or 3 (colour) channels."""

    height: int
    width: int
    channels: int


def is_dicom(content: bytes) -> bool:
    """Return whether `content` begins as a DICOM file: 128 bytes of anything, then ``DICM``."""
    return content[PREAMBLE : PREAMBLE + len(MAGIC)] == MAGIC


def read(content: bytes) -> FileDataset:
    """Return the elements of `PIXELS_NEED` of a DICOM file, checked as far as can be without decoding its pixels.

    Raises UnreadableDicomError with the reason, MissingPartError without pydicom.
    """
    with parsing("its header"):
        elements = parsed(io.BytesIO(content), PIXELS_NEED)
        _refuse_other_kinds(elements)
        _refuse_shape(elements)
        _refuse_coding(elements.file_meta.get("TransferSyntaxUID"), elements.BitsStored)
        _refuse_cut(elements)
    return elements


def size(elements: Dataset) -> Size:
    """Return the size of the picture in what `read` returned."""
    return Size(elements.Rows, elements.Columns, CHANNELS[elements.PhotometricInterpretation][0])


def parsed(file: BinaryIO, names: Sequence[str], *, before_pixels: bool = False) -> FileDataset:
    """Return the elements called `names` of an open DICOM file, which is read up to its pixels or to its end.

    Call it within `parsing`: pydicom raises nearly anything. Never ``force``: a file that does not say
    that it is DICOM is none.
    """
    from pydicom import dcmread

    if not is_dicom(file.read(PREAMBLE + len(MAGIC))):
        raise UnreadableDicomError(f"it is no DICOM file: {MAGIC.decode()} does not stand at byte {PREAMBLE}")
    syntax = _transfer_syntax(file)
    if syntax in DEFLATED:  # before pydicom sees it, which inflates without a limit
        _refuse_coding(syntax)
    file.seek(0)
    return dcmread(file, stop_before_pixels=before_pixels, specific_tags=list(names))


def require_pydicom() -> None:
    """Raise MissingPartError unless pydicom can be imported."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise MissingPartError("pydicom is not installed, which reads DICOM: pip install 'foveal[dicom]'") from error


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn whatever pydicom raises, or a decoder below it, into an UnreadableDicomError, and keep its warnings quiet.

    `what` was being read. Raises MissingPartError without pydicom.
    """
    require_pydicom()
    try:
        with without_warnings(), _QUIET_LOG:
            yield
    except UnreadableDicomError:
        raise
    except MemoryError as error:
        raise UnreadableDicomError("there is not enough memory to decode it") from error
    except Exception as error:  # parsers of hostile files raise nearly anything
        raise UnreadableDicomError(f"it is damaged: {what} cannot be read ({type(error).__name__})") from error


class _QuietLog:
    """Silences pydicom's log, whose level is that of the whole process, while any thread is in here.

    pydicom tells every oddity of a file by a warning and here, and may quote it.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._log, self._level = logging.getLogger("pydicom"), logging.NOTSET

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._level = self._log.level
                self._log.setLevel(logging.CRITICAL)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._log.setLevel(self._level)


_QUIET_LOG = _QuietLog()


def _transfer_syntax(file: BinaryIO) -> UID | None:
    """Return how the file says that it is coded, from the group that follows the preamble (PS3.10 section 7.1)."""
    from pydicom.filereader import read_dataset

    about = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    found: UID | None = about.get("TransferSyntaxUID")
    return found


def _refuse_other_kinds(elements: Dataset) -> None:
    """Refuse what holds no picture, or one whose values are no brightness."""
    from pydicom.uid import UID

    kind = UID(elements.get("SOPClassUID") or elements.file_meta.get("MediaStorageSOPClassUID") or "")
    name = kind.name if kind.name != kind else ""
    pixels = elements.get("PixelData")
    if kind in NO_PICTURES or (not pixels and name and "Image" not in name):
        raise UnreadableDicomError(f"it is no picture: {name}")
    if "FloatPixelData" in elements or "DoubleFloatPixelData" in elements:
        raise UnreadableDicomError("its pixels are floating-point; export it as 8-bit or 16-bit grey")
    if not pixels:
        raise UnreadableDicomError(NO_PIXELS)


def _refuse_shape(elements: Dataset) -> None:
    """Refuse what does not say what its pixels are, says it in contradictory words, or is too much."""
    needed = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")
    absent = [name for name in (*needed, "PixelRepresentation") if elements.get(name) in (None, "")]
    if absent:
        raise UnreadableDicomError(f"it does not say its {', '.join(absent)}")
    frames = int(elements.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnreadableDicomError(f"it has {frames:,} frames; save the one you mean as a file of its own")
    meaning = elements.PhotometricInterpretation
    if meaning not in CHANNELS:
        raise UnreadableDicomError(f"its colours are {str(meaning)[:16]!a}, which is not read ({', '.join(CHANNELS)})")
    if elements.SamplesPerPixel != CHANNELS[meaning][1]:
        raise UnreadableDicomError(f"it says {meaning}, but {elements.SamplesPerPixel} samples a pixel")
    if elements.BitsAllocated not in (1, 8, 16, 32) or not 1 <= elements.BitsStored <= elements.BitsAllocated:
        raise UnreadableDicomError(f"{elements.BitsStored} bits stored in {elements.BitsAllocated} are not read")
    if elements.get("HighBit") not in (None, elements.BitsStored - 1):
        raise UnreadableDicomError(f"its {elements.BitsStored} bits end at bit {elements.HighBit}, which is not read")
    height, width = elements.Rows, elements.Columns
    if not height or not width:
        raise UnreadableDicomError(f"it is {height}×{width} pixels")
    if height * width > MAX_PIXELS:
        raise UnreadableDicomError(f"{width}×{height} is {height * width / 1e6:,.0f} megapixels; the limit is 89")


def _refuse_coding(syntax: UID | None, bits: int = 8) -> None:
    """Refuse a transfer syntax for which there is no decoder, or none that stops at a limit."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if not syntax:
        raise UnreadableDicomError("it does not say its transfer syntax")
    uid = UID(syntax)
    name = uid.name if uid.name != uid else f"{str(uid)[:64]!a}"
    if uid in DEFLATED:  # a few hundred kilobytes of it may become gigabytes
        raise UnreadableDicomError(f"its transfer syntax, {name}, is not read; save it uncompressed (dcmconv +te)")
    try:
        decoder = get_decoder(uid)
    except NotImplementedError as error:
        raise UnreadableDicomError(f"its transfer syntax, {name}, is not read; save it uncompressed") from error
    if not decoder.is_available:
        package = "pylibjpeg-openjpeg" if "2000" in name else "python-gdcm"
        raise UnreadableDicomError(f"its transfer syntax, {name}, is decoded by {package}: pip install 'foveal[dicom]'")
    if uid == JPEG_EXTENDED and bits > 8 and "pylibjpeg" not in decoder.available_plugins:
        raise UnreadableDicomError(f"its {bits}-bit {name} is not read; save it uncompressed (dcmdjpeg)")


def _refuse_cut(elements: FileDataset) -> None:
    """Refuse pixels of which some are missing, and coded ones that say another size than the file does."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_expected_length

    pixels: bytes = elements.PixelData
    if elements.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = get_frame(pixels, 0, number_of_frames=1)
        if not frame:
            raise UnreadableDicomError(NO_PIXELS)
        coded = size_in(frame)
        if coded not in (None, (elements.Rows, elements.Columns)):
            raise UnreadableDicomError(
                f"it says {elements.Rows}×{elements.Columns} pixels, and its coded picture another size"
            )
        return
    expected = get_expected_length(elements)
    if len(pixels) < expected + expected % 2:  # a value has an even length (PS3.5 section 7.1.1)
        raise UnreadableDicomError(f"it is cut off: {len(pixels):,} of its {expected:,} bytes of pixels are there")
