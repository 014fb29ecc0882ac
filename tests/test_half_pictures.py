"""Files with an end but without all of their pixels: found, and never taken for files that look alike but are whole."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from foveal.preprocess import UnreadableImageError, decode

SHAPES = ((7, 9), (64, 64), (1, 1), (200, 240), (17, 33, 3), (64, 64, 3))
JPEGS = (
    {},
    {"progressive": True},
    {"subsampling": 0},
    {"restart_marker_rows": 1},
    {"optimize": True},
    {"quality": 100},
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def short_png(rows: int, interlaced: int) -> bytes:
    """A black PNG of 16×16 pixels of 8-bit grey whose data end as they should, but after so many rows."""
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, interlaced)
    data = zlib.compress(bytes(17 * rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_files_are_read_even_where_they_look_like_filling(level: int, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    noise[-8:] = level
    for pixels in (np.full(shape, level, np.uint8), noise):
        image = Image.fromarray(pixels)
        files = [encoded(image, "JPEG", **options) for options in JPEGS]
        files += [encoded(image.convert("CMYK"), "JPEG")]
        files += [encoded(image.convert(mode), "PNG") for mode in ("1", "L", "P", "LA", "RGB", "RGBA")]
        files += [encoded(Image.fromarray(pixels.reshape(len(pixels), -1).astype(np.uint16)), "PNG")]
        for bits in (1, 2, 4):
            few = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=2**bits)
            files.append(encoded(few, "PNG", bits=bits))
        for content in files:
            decode(content)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_rows": 1}], ids=str)
def test_a_cut_jpeg_that_was_given_an_end_is_refused(options: dict[str, object], share: float) -> None:
    noise = np.random.default_rng(2).normal(120, 30, (200, 240, 3)).clip(0, 255).astype(np.uint8)
    for image in (Image.fromarray(noise), Image.fromarray(noise[:, :, 0])):
        content = encoded(image, "JPEG", **options)
        cut = content[: int(len(content) * share)].removesuffix(b"\xff") + b"\xff\xd9"
        with pytest.raises(UnreadableImageError, match="some of its pixels are missing") as caught:
            decode(cut)
        assert caught.value.code == "truncated"


@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_with_too_few_rows_is_refused(interlaced: int) -> None:
    whole = 17 if interlaced else 16  # rows of 17 bytes; Adam7 has more and shorter ones, of 286 bytes in all
    assert decode(short_png(whole, interlaced)).size == (16, 16)
    for rows in (0, 1, whole // 2, whole - 1):
        with pytest.raises(UnreadableImageError) as caught:
            decode(short_png(rows, interlaced))
        assert caught.value.code in ("truncated", "damaged")
