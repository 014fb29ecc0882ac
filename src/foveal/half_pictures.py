"""Half pictures: files that have an end but not all of their pixels, which decoders fill up without a word.

A PNG whose compressed data end too soon keeps black rows, a JPEG whose data were cut before its end marker keeps grey
ones (an interrupted transfer that some tool "repaired"). A network would answer them like any other image. Both are
found here at no cost for a file that is whole, save where its last pixels look like the filling: those are looked
into. A cut progressive JPEG is not found: it has all its pixels, more coarsely.
"""

from __future__ import annotations

import io
import math
import struct
import zlib

from PIL import Image, ImageChops

JPEG_FILLING = 128  # where nothing was read: the middle of brightness and of both colours
END_OF_IMAGE = b"\xff\xd9"
OTHER_DATA = b"\x55" * 256  # bits that a decoder takes for more of the picture, if it still waits for some
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG's colour types (PNG 3rd edition, table 10)
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
PIECE = 1 << 16  # bytes that are unpacked at a time


def is_half(image: Image.Image, content: bytes) -> bool:
    """Whether `image`, just decoded from `content` and not yet turned, lacks pixels."""
    if image.format == "PNG":
        return _lacks_rows(image, content)
    return image.format in ("JPEG", "MPO") and _lacks_blocks(image, content)


def _lacks_blocks(image: Image.Image, content: bytes) -> bool:
    """Whether other bits before the end of a JPEG change the picture: it waited for them, so that some are missing."""
    last = image.getpixel((image.width - 1, image.height - 1))
    if last not in (JPEG_FILLING, (JPEG_FILLING,) * 3):
        return False
    end = content.rfind(END_OF_IMAGE)
    longer = content[:end] + OTHER_DATA + content[end:]
    with Image.open(io.BytesIO(longer), formats=("JPEG",)) as other:
        differs: bool = ImageChops.difference(image, other).getbbox() is not None
        return differs


def _lacks_rows(image: Image.Image, content: bytes) -> bool:
    """Whether the compressed data of a PNG are too few for its header."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content[16:29])
    if not interlaced:
        last = image.crop((0, image.height - 1, image.width, image.height))
        if any(last.tobytes()):
            return False
    bits = depth * SAMPLES.get(colour, 1)
    sizes = [(width, height)]
    if interlaced:
        sizes = [(math.ceil((width - x) / dx), math.ceil((height - y) / dy)) for x, y, dx, dy in PASSES]
    wanted: int = sum((1 + math.ceil(across * bits / 8)) * down for across, down in sizes if across > 0 and down > 0)
    return _unpacked(content, wanted) < wanted


def _unpacked(content: bytes, most: int) -> int:
    """Return how many bytes the image data of a PNG unpack to, counted up to about `most`."""
    count, at, unpacker = 0, 8, zlib.decompressobj()
    while at + 8 <= len(content) and count < most:
        length, name = struct.unpack_from(">I4s", content, at)
        packed = content[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        while packed and count < most and not unpacker.eof:
            count += len(unpacker.decompress(packed, PIECE))
            packed = unpacker.unconsumed_tail
        at += 12 + length
    while count < most and (rest := unpacker.decompress(b"", PIECE)):
        count += len(rest)
    return count
