"""The size that a coded picture says of itself, read before a decoder believes it.

A DICOM file says Rows and Columns, and the JPEG inside it says them again. Decoders take memory by the
latter, so that a small file could ask for gigabytes.
"""

from __future__ import annotations

JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"  # start of image; start of codestream and its size marker
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # the markers that hold a size (T.81 table B.1, T.87 C.1)
BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


def size_in(coded: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it does not say them.

    Source: ITU-T T.81 annex B.2, T.87 annex C.2 and T.800 annex A.5.1 (the size of the grid less its offset).
    """
    if coded.startswith(JPEG_2000):
        right, bottom, left, top = (_number(coded, at, 4) for at in range(8, 24, 4))
        return bottom - top, right - left
    return _size_in_jpeg(coded) if coded.startswith(JPEG) else None


def _size_in_jpeg(coded: bytes) -> tuple[int, int] | None:
    at = len(JPEG)
    while at + 9 <= len(coded) and coded[at] == 0xFF:
        marker = coded[at + 1]
        if marker in FRAMES:
            return _number(coded, at + 5, 2), _number(coded, at + 7, 2)
        if marker == 0xFF:  # fill
            at += 1
        elif marker in BARE:
            at += 2
        else:
            at += 2 + max(2, _number(coded, at + 2, 2))
    return None


def _number(coded: bytes, at: int, length: int) -> int:
    return int.from_bytes(coded[at : at + length])
