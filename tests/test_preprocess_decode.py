"""What happens to each kind of image file: the table at the top of foveal.preprocess, row by row."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image, ImageFile, PngImagePlugin

from foveal.preprocess import UnreadableImageError, as_grey_or_rgb, decode, read_header, size_is_checked_here
from image_files import damaged_files, encoded, png_chunk

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 10), dtype=np.uint8)
ORIENTATION = 0x112
ORIENTED = {  # what a viewer shows, written with numpy
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def png(width: int, height: int, *before: bytes, after: bytes = b"", rows: bytes | None = None) -> bytes:
    """A PNG of 8-bit grey written by hand: its header may say anything."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(rows if rows is not None else b"\0"))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + data + after + png_chunk(b"IEND", b"")


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail when more than 8 MiB are claimed inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def refusal(content: bytes) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode(content)
    return str(caught.value)


LOSSLESS = {
    "png": lambda a, **k: encoded(a, "PNG", **k),
    "tiff": lambda a, **k: encoded(a, "TIFF", **k),
    "tiff-deflate": lambda a, **k: encoded(a, "TIFF", compression="tiff_adobe_deflate", **k),
    "webp": lambda a, **k: encoded(a, "WEBP", lossless=True, exact=True, **k),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_plain_files_come_back_exactly(kind: str) -> None:
    for pixels, mode in ((GREY, "L"), (COLOUR, "RGB")):
        content = encoded(pixels, kind)
        assert decode(content).mode == mode
        assert np.array_equal(np.asarray(decode(content)), pixels)
        header = read_header(content)
        assert (header.height, header.width, header.channels) == (6, 10, 1 if mode == "L" else 3)


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("orientation", ORIENTED)
def test_orientation_is_applied_and_the_header_agrees(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = LOSSLESS[kind](COLOUR, exif=exif)
    seen = ORIENTED[orientation](COLOUR)
    assert np.array_equal(np.asarray(decode(content)), seen)
    header = read_header(content)
    assert (header.height, header.width) == seen.shape[:2]


@pytest.mark.parametrize("orientation", ORIENTED)
def test_orientation_of_a_jpeg_and_of_16_bit_grey(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    plain = np.asarray(decode(encoded(COLOUR, "JPEG")))
    assert np.array_equal(np.asarray(decode(encoded(COLOUR, "JPEG", exif=exif))), ORIENTED[orientation](plain))
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(np.asarray(decode(encoded(deep, "PNG", exif=exif))), ORIENTED[orientation](GREY))


def test_orientation_behind_the_pixels_of_a_png_counts_too() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    late = png(10, 6, after=png_chunk(b"eXIf", exif.tobytes()[6:]), rows=rows)
    for content in (late, encoded(GREY, "PNG", pnginfo=xmp)):
        header = read_header(content)
        assert (header.height, header.width) == (10, 6)
        assert np.array_equal(np.asarray(decode(content)), np.rot90(GREY, -1))


def test_a_strange_orientation_is_none() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 42
    assert np.array_equal(np.asarray(decode(encoded(COLOUR, "PNG", exif=exif))), COLOUR)


def test_a_header_is_read_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encoded(COLOUR, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM", "GIF")]

    def loaded(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded)
    monkeypatch.setattr(ImageFile.StubImageFile, "load", loaded)
    for content in files:
        assert read_header(content).height == 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF-deflate", "TIFF-big-endian", "PPM"])
def test_16_bit_grey_keeps_its_full_range(kind: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = Image.fromarray(values)
    if kind == "TIFF-big-endian":
        image = Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes())
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF-deflate" else {}
    content = encoded(image, kind.partition("-")[0], **options)
    expected = (values.astype(np.uint32) * 2 + 257) // 514  # v / 257, rounded, in whole numbers
    assert np.array_equal(np.asarray(decode(content)), expected)
    assert read_header(content).channels == 1


def test_16_bit_tiffs_whose_values_are_not_the_brightness_are_refused() -> None:
    deep = GREY.astype(np.uint16)
    assert "white is zero" in refusal(encoded(deep, "TIFF", tiffinfo={262: 0}))
    twelve = bytearray(encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "TIFF"))
    entry = twelve.index(struct.pack("<HHI", 258, 3, 1))  # BitsPerSample, SHORT, one value
    twelve[entry + 8 : entry + 10] = struct.pack("<H", 12)
    assert "12-bit" in refusal(bytes(twelve))


def test_palette_one_bit_and_cmyk() -> None:
    colours = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    palette = Image.frombytes("P", (10, 6), GREY.tobytes())
    palette.putpalette(colours.tobytes())
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        content = encoded(palette, kind)
        assert np.array_equal(np.asarray(decode(content)), colours[GREY]), kind
        assert read_header(content).channels == 3
    bits = Image.fromarray(GREY > 127)
    for kind in ("PNG", "TIFF", "PPM"):
        assert np.array_equal(np.asarray(decode(encoded(bits, kind))), np.where(GREY > 127, 255, 0)), kind
        assert read_header(encoded(bits, kind)).channels == 1
    ink = RNG.integers(0, 256, (6, 10, 4), dtype=np.uint8)
    light = 255.0 - ink
    expected = light[..., :3] * light[..., 3:] / 255
    content = encoded(Image.frombytes("CMYK", (10, 6), ink.tobytes()), "TIFF")
    assert np.abs(np.asarray(decode(content)) - expected).max() <= 1
    flat = np.full((16, 16, 4), (200, 30, 60, 40), np.uint8)  # JPEG stores CMYK inverted, as Adobe does
    content = encoded(Image.frombytes("CMYK", (16, 16), flat.tobytes()), "JPEG", quality=100)
    assert np.abs(np.asarray(decode(content)).astype(float) - (46, 190, 164)).max() <= 4
    assert read_header(content).channels == 3


def test_alpha_is_laid_on_white() -> None:
    alpha = RNG.integers(0, 256, (6, 10, 1), dtype=np.uint8)
    share = alpha / 255
    for pixels, mode, channels in ((COLOUR, "RGBA", 3), (GREY[..., None], "LA", 1)):
        image = Image.frombytes(mode, (10, 6), np.concatenate([pixels, alpha], axis=2).tobytes())
        picture = np.asarray(decode(encoded(image, "PNG"))).reshape(6, 10, -1)
        assert np.abs(picture - (pixels * share + 255 * (1 - share))).max() <= 1
        assert read_header(encoded(image, "PNG")).channels == channels == picture.shape[2]
    palette = Image.frombytes("P", (10, 6), (GREY % 3).tobytes())
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    table = np.array([(255, 255, 255), (40, 50, 60), (70, 80, 90)])  # colour 0 is the transparent one
    for kind in ("PNG", "GIF"):
        assert np.array_equal(np.asarray(decode(encoded(palette, kind, transparency=0))), table[GREY % 3])
    keyed = encoded(Image.fromarray(GREY), "PNG", transparency=int(GREY[0, 0]))
    assert np.array_equal(np.asarray(decode(keyed)), np.where(GREY[0, 0] == GREY, 255, GREY))


def test_pictures_given_from_python_obey_the_same_table() -> None:
    half = Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (10, 6), 128)])
    expected = np.asarray(as_grey_or_rgb(half))
    assert np.abs(np.asarray(as_grey_or_rgb(half.convert("La"))).astype(int) - expected).max() <= 2
    with pytest.raises(UnreadableImageError, match="floating-point; save it as 8-bit"):
        as_grey_or_rgb(Image.new("F", (3, 3)))


def test_animations_and_pages_are_refused_but_a_single_frame_is_not() -> None:
    frames = [Image.fromarray(np.full((6, 10), level, np.uint8)) for level in (0, 90, 200)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        more = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert refusal(more) == "it has more than one frame or page; save the one you mean as a file of its own"
        with pytest.raises(UnreadableImageError, match="more than one frame"):
            read_header(more)
        assert decode(encoded(frames[1], kind, save_all=True)).size == (10, 6)


def test_of_an_mpo_the_first_picture_is_taken() -> None:
    first = Image.fromarray(np.full((32, 48, 3), (200, 30, 30), np.uint8))
    content = encoded(first, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert np.abs(np.asarray(decode(content)).astype(int) - (200, 30, 30)).max() <= 3


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (Image.new("F", (4, 4)), "TIFF", "floating-point"),
        (Image.new("I", (4, 4)), "TIFF", "32-bit integer"),
        (Image.new("LAB", (4, 4)), "TIFF", "Lab"),
        (Image.new("RGB", (4, 4)), "EPS", "not an image of a known kind (JPEG, PNG"),
        (Image.new("RGB", (4, 4)), "PDF", "not an image of a known kind"),
        (Image.new("RGB", (16, 16)), "ICO", "not an image of a known kind"),
    ],
)
def test_other_pixels_and_other_formats_are_refused(image: Image.Image, kind: str, words: str) -> None:
    assert words in refusal(encoded(image, kind))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"hello, I am text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(40), "not an image"),
        (b"SIMPLE  =                    T" + b" " * 2850, "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (png(10, 6, rows=b"\7" * 66), "damaged"),
    ],
)
def test_what_is_no_image_says_so(content: bytes, words: str) -> None:
    assert words in refusal(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_half_a_file_is_refused_and_never_half_a_picture(kind: str) -> None:
    content = encoded(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)
    assert refusal(content[: len(content) // 2]).startswith(("it is damaged: ", "it is not an image"))


@pytest.mark.parametrize(
    ("side", "reason"),
    [(30_000, "it has more than 89 megapixels"), (10_000, "10000×10000 is 100 megapixels; the limit is 89")],
)
def test_a_bomb_is_refused_by_its_header(side: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded)
    bomb = png(side, side)
    for read in (read_header, decode):
        with pytest.raises(UnreadableImageError, match="more than 89 megapixels"):  # Pillow's warning is an error here
            read(bomb)
        with little_memory(), size_is_checked_here(), pytest.raises(UnreadableImageError) as caught:
            read(bomb)
        assert str(caught.value) == reason


def test_pillows_warning_about_size_comes_back_afterwards() -> None:
    with size_is_checked_here():
        pass
    with pytest.warns(Image.DecompressionBombWarning), warnings.catch_warnings():
        warnings.simplefilter("always")
        Image.open(io.BytesIO(png(10_000, 10_000)))


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_compressed_text_bomb_is_not_unpacked(place: str, name: bytes) -> None:
    packed = zlib.compress(bytes(48 << 20))
    body = b"Comment\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0") + packed
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    chunk = png_chunk(name, body)
    content = png(10, 6, chunk, rows=rows) if place == "before" else png(10, 6, after=chunk, rows=rows)
    with little_memory():
        try:
            assert np.array_equal(np.asarray(decode(content)), GREY)  # passed over, or refused: never unpacked
        except UnreadableImageError as error:
            assert "too large" in str(error)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_lines_and_points_are_images(size: tuple[int, int]) -> None:
    for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"):
        content = encoded(Image.new("RGB", size, (9, 200, 9)), kind)
        assert decode(content).size == size == (read_header(content).width, read_header(content).height)


@settings(deadline=None, max_examples=150)
@given(damaged=damaged_files(COLOUR, GREY))
def test_a_damaged_file_gives_a_picture_or_a_reason(damaged: bytes) -> None:
    try:
        header = read_header(damaged)
        if header.height * header.width < 1 << 16:
            picture = decode(damaged)
            assert picture.mode in ("L", "RGB")
            assert (picture.height, picture.width) == (header.height, header.width)
    except UnreadableImageError as error:
        assert str(error)
