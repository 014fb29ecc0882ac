"""RELIABILITY §3, rows 1 to 15: image files that a service must refuse, or read in one defined way.

Each line is (name, what makes its bytes, the code it is refused with; None: it is read). Tests of the decoders and of
HTTP use the same table.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from image_files import encoded, png_chunk

RNG = np.random.default_rng(11)
COLOUR = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]
SMOOTH = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)


@dataclass(frozen=True)
class BadImage:
    name: str
    make: Callable[[], bytes]
    code: str | None  # None: it is read

    def __str__(self) -> str:
        return self.name


def png(width: int, height: int, *before: bytes, rows: bytes | None = None) -> bytes:
    """A PNG of 8-bit grey written by hand: its header may say anything."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packed = zlib.compress(b"\0" * (width + 1) * height if rows is None else rows)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def ended(content: bytes) -> bytes:
    """Half a JPEG with the marker that ends one, as tools "repair" it: libjpeg fills it up with grey."""
    return content.removesuffix(b"\xff") + b"\xff\xd9"


def frames(kind: str) -> bytes:
    first, *rest = (Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 90, 200))
    return encoded(first, kind, save_all=True, append_images=rest)


def oriented(kind: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return encoded(COLOUR, kind, exif=exif)


def floats(value: float) -> bytes:
    pixels = np.full((8, 8), 0.5, np.float32)
    pixels[2, 3] = value
    return encoded(pixels, "TIFF")


def text_bomb(name: bytes) -> bytes:
    body = b"Comment\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0") + zlib.compress(bytes(256 << 20), 9)
    return png(8, 8, png_chunk(name, body))


def polyglot() -> bytes:
    """A JPEG behind which a ZIP archive begins: both kinds of reader are content with it."""
    buffer = io.BytesIO(start := encoded(SMOOTH, "JPEG"))
    buffer.seek(len(start))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("run.sh", "echo no")
    return buffer.getvalue()


def cmyk() -> bytes:
    return encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")


BAD_IMAGES = (
    BadImage("01 empty", lambda: b"", "empty_file"),
    BadImage("02 half a JPEG", lambda: half(encoded(COLOUR, "JPEG")), "truncated"),
    BadImage("02 a JPEG without its last tenth", lambda: encoded(COLOUR, "JPEG")[:-400], "truncated"),
    BadImage("02 half a PNG", lambda: half(encoded(COLOUR, "PNG")), "truncated"),
    BadImage("02 a PNG without its last tenth", lambda: encoded(COLOUR, "PNG")[:-900], "truncated"),
    BadImage("02 a PNG with an end and half its rows", lambda: png(64, 48, rows=b"\0" * 65 * 24), "truncated"),
    BadImage("02 half a JPEG with an end", lambda: ended(half(encoded(COLOUR, "JPEG"))), "truncated"),
    BadImage("02 half a grey JPEG with an end", lambda: ended(half(encoded(GREY, "JPEG"))), "truncated"),
    BadImage("02 half a WebP", lambda: half(encoded(COLOUR, "WEBP")), "truncated"),
    BadImage("02 half a GIF", lambda: half(encoded(GREY, "GIF")), "truncated"),
    BadImage("02 half a BMP", lambda: half(encoded(COLOUR, "BMP")), "truncated"),
    BadImage("02 half a TIFF", lambda: half(encoded(COLOUR, "TIFF")), "truncated"),
    BadImage("02 the first bytes of a PNG", lambda: encoded(COLOUR, "PNG")[:20], "truncated"),
    BadImage("03 a PNG header of 30000×30000", lambda: png(30_000, 30_000, rows=b"\0"), "too_many_pixels"),
    BadImage("04 100 megapixels", lambda: png(10_000, 10_000), "too_many_pixels"),
    BadImage("05 a text bomb, zTXt", lambda: text_bomb(b"zTXt"), "damaged"),
    BadImage("05 a text bomb, iTXt", lambda: text_bomb(b"iTXt"), "damaged"),
    BadImage("06 EPS named .png", lambda: encoded(COLOUR, "EPS"), "unsupported_type"),
    BadImage("06 PSD named .png", lambda: b"8BPS\0\1" + bytes(9) + b"\3" + bytes(40), "unsupported_type"),
    BadImage("06 FITS named .png", lambda: b"SIMPLE  =                    T" + b" " * 2850, "unsupported_type"),
    BadImage("06 SVG named .png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_type"),
    BadImage("06 text named .png", lambda: b"hello, I am text", "unsupported_type"),
    BadImage("07 an animated GIF", lambda: frames("GIF"), "animated"),
    BadImage("07 an animated PNG", lambda: frames("PNG"), "animated"),
    BadImage("07 an animated WebP", lambda: frames("WEBP"), "animated"),
    BadImage("07 a TIFF of several pages", lambda: frames("TIFF"), "animated"),
    BadImage("08 a 16-bit PNG", lambda: encoded(GREY.astype(np.uint16) * 257, "PNG"), None),
    BadImage("09 CMYK", cmyk, None),
    BadImage("09 a palette", lambda: encoded(Image.fromarray(COLOUR).quantize(64), "PNG"), None),
    BadImage("09 alpha", lambda: encoded(np.dstack([COLOUR, GREY]), "PNG"), None),
    BadImage("10 EXIF orientation, JPEG", lambda: oriented("JPEG"), None),
    BadImage("10 EXIF orientation, PNG", lambda: oriented("PNG"), None),
    BadImage("11 1×1", lambda: encoded(COLOUR[:1, :1], "PNG"), None),
    BadImage("11 1×20000", lambda: encoded(np.resize(COLOUR, (20_000, 1, 3)), "PNG"), None),
    BadImage("11 20000×1", lambda: encoded(np.resize(COLOUR, (1, 20_000, 3)), "PNG"), None),
    BadImage("12 all of one colour", lambda: encoded(np.full((64, 64, 3), 77, np.uint8), "PNG"), None),
    BadImage("13 a TIFF of floats with NaN", lambda: floats(np.nan), "unsupported_pixels"),
    BadImage("13 a TIFF of floats with Inf", lambda: floats(np.inf), "unsupported_pixels"),
    BadImage("13 a TIFF of 32-bit integers", lambda: encoded(np.zeros((8, 8), np.int32), "TIFF"), "unsupported_pixels"),
    BadImage("14 a picture of something else", lambda: encoded(SMOOTH, "JPEG"), None),
    BadImage("15 a JPEG that is a ZIP as well", polyglot, None),
    BadImage("— damaged within", lambda: png(64, 48, rows=b"\7" * 65 * 48), "damaged"),
)  # fmt: skip


def refused() -> Iterator[BadImage]:
    return (one for one in BAD_IMAGES if one.code is not None)
