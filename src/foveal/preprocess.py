"""Decode → geometry → normalise: the only way by which any image reaches a network.

The choices are made once, at training, stored in the classifier, and applied to every later image
by the same code. What happens to an unusual file is fixed here:

================================  ==================================================================
file                              what happens
================================  ==================================================================
EXIF orientation                  applied: the picture is used as a viewer shows it
16-bit grey                       scaled to 8 bits over its full range (v / 257), never clipped
16-bit colour                     its upper 8 bits, as Pillow decodes it
palette, CMYK, YCbCr, 1-bit       converted to RGB (1-bit: to grey)
alpha                             laid on white, as on a page
MPO (two-lens phone photo)        its first, full-size picture
animated, several pages           refused: which frame is meant is not ours to guess
32-bit integer, float, Lab, HSV   refused: the range of the values is unknown
12-bit TIFF, 16-bit white-is-zero refused: Pillow gives the stored values, which are not the brightness
more than 89 megapixels           refused from the header, before anything is decoded
other formats, damaged, empty     refused with the reason
================================  ==================================================================
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from foveal.errors import DataError, UsageError
from foveal.half_pictures import is_half
from foveal.silence import without_warnings

if TYPE_CHECKING:
    import torch
    from PIL.ImageFile import ImageFile

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # an MPO is opened as the JPEG that it begins with
MAX_PIXELS = 89_478_485
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
REFUSED_MODES = {"I": "32-bit integer", "F": "floating-point", "LAB": "Lab", "HSV": "HSV"}
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0, section 8
UNSUPPORTED = "unsupported_pixels"
PNG_ORIENTATIONS = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")  # where a PNG may keep its orientation

Fit = Literal["letterbox", "crop", "stretch"]
Interpolation = Literal["bilinear", "bicubic"]


class UnreadableImageError(DataError):
    """One image cannot be used; the message is the reason alone, the caller knows the file's name.

    `code` says the same to a program: empty_file, truncated, too_many_pixels, unsupported_type, animated,
    unsupported_pixels, decoder_memory, or damaged, which is all the rest.
    """

    def __init__(self, reason: str, code: str = "damaged") -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded: the size as seen (orientation applied) and grey or colour."""

    height: int
    width: int
    channels: int  # 1 grey, 3 colour


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture of mode L or RGB, and what its file was."""

    image: Image.Image
    format: str  # one of FORMATS, or MPO
    mode: str  # of the file, as Pillow calls it
    orientation: int  # EXIF's, which was applied; 1: none


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a tensor.

    The image is brought to `channels`, fitted into the content box (`content_height` × `content_width`)
    and centred in the frame (`height` × `width`), whose margin is black. `fit` says how an image of
    another size enters the content box: ``letterbox`` scales it until it fits and leaves black bars,
    ``crop`` scales it until it covers the box and cuts the centre, ``stretch`` changes its proportions.
    MNIST in LeNet-5 is 28×28 content in a 32×32 frame: no pixel is changed. With `short_side`, ``crop``
    first scales the image's short side to so many pixels and then cuts the centre, as published weights
    expect it (256, then 224). Scaling is by `interpolation` with antialiasing. `mean` and `std` are per
    channel, on the scale 0 to 1.
    """

    channels: int
    height: int
    width: int
    content_height: int
    content_width: int
    fit: Fit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    short_side: int = 0  # 0: so that the content box is just covered
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        sides = (self.height, self.width, self.content_height, self.content_width)
        if not all(_is_whole(one) for one in (self.channels, *sides, self.short_side)):
            raise UsageError("channels, height, width, content_height, content_width and short_side are whole numbers.")
        if self.channels not in (1, 3):
            raise UsageError(f"A network takes 1 (grey) or 3 (colour) channels here, not {self.channels}.")
        if not 0 < self.content_height <= self.height or not 0 < self.content_width <= self.width:
            raise UsageError(
                f"The content box {self.content_height}×{self.content_width} must fit into the frame "
                f"{self.height}×{self.width}."
            )
        if self.height * self.width > MAX_PIXELS:
            raise UsageError(f"A frame of {self.height}×{self.width} has more than 89 megapixels.")
        if self.fit not in get_args(Fit):
            raise UsageError(f'fit is "letterbox", "crop" or "stretch", not {self.fit!r}.')
        if self.interpolation not in get_args(Interpolation):
            raise UsageError(f'interpolation is "bilinear" or "bicubic", not {self.interpolation!r}.')
        if self.short_side and (self.fit != "crop" or not sides[2] <= self.short_side >= sides[3]):
            raise UsageError("short_side goes with the fit crop, and is no shorter than the content box.")
        if self.short_side**2 > MAX_PIXELS:
            raise UsageError(f"A short side of {self.short_side} has more than 89 megapixels.")
        if not all(_is_finite(one) for one in (*self.mean, *self.std)):
            raise UsageError("mean and std are finite numbers.")
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise UsageError("mean and std need one number a channel, std above zero.")

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes, as JSON stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Preprocess:
        """Return the stored preprocessing; UsageError when a field is missing, unknown, mistyped or out of range."""
        try:
            return cls(**{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])})
        except KeyError as error:
            raise UsageError(f"The preprocessing is incomplete: {error} is missing.") from error
        except TypeError as error:
            raise UsageError(f"The preprocessing is damaged: {error}.") from error

    def geometry(self, image: Image.Image) -> np.ndarray:
        """Return `image` (mode L or RGB) as uint8 (H, W, C) at the size that the network takes."""
        mode = "L" if self.channels == 1 else "RGB"
        image = image.convert(mode) if image.mode not in (mode, "L") else image
        box = (self.content_width, self.content_height)
        if image.size != box or self.short_side:
            image = self._fitted(image)
        image = image if image.mode == mode else image.convert(mode)  # grey is fitted once and not in each channel
        content: np.ndarray = np.asarray(image).reshape(image.height, image.width, self.channels)
        framed: np.ndarray = self._framed(content[None])[0]
        return framed

    def geometry_of_arrays(self, pixels: np.ndarray) -> np.ndarray:
        """Return uint8 (N, H, W, C) for uint8 `pixels` (N, h, w, 1 or 3); the same pixels as `geometry` gives."""
        box = (self.content_height, self.content_width, self.channels)
        if pixels.shape[1:] == box and not self.short_side:
            return self._framed(pixels)
        return np.stack([self.geometry(array_picture(image)) for image in pixels])

    def geometry_of_numbers(self, values: np.ndarray) -> np.ndarray:
        """Return float32 (N, H, W, C) of float32 `values` (N, h, w, C): fitted as by `geometry`, with zero around."""
        box = (self.content_width, self.content_height)

        def fitted(plane: np.ndarray) -> np.ndarray:  # (h, w)
            return np.asarray(self._fitted(Image.fromarray(plane)))

        if values.shape[1:3] != box[::-1] or self.short_side:
            planes = values.transpose(0, 3, 1, 2)  # (N, C, h, w)
            values = np.stack([np.stack([fitted(one) for one in image], axis=-1) for image in planes])
        return self._framed(values)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return uint8 `pixels` (B, H, W, C) as float32 (B, C, H, W), channels last in memory: (x/255 - mean) / std."""
        x = pixels.permute(0, 3, 1, 2).float()  # (B, C, H, W)
        scale, shift = _scale_and_shift(self.mean, self.std, str(x.device))
        return x.mul_(scale).sub_(shift)

    def normalise_array(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `normalise` does, to the bit, without torch: float32 (B, C, H, W), laid out plainly."""
        shape = (-1, 1, 1)
        scale = np.array([1 / (255 * one) for one in self.std], np.float32).reshape(shape)
        shift = np.array([middle / one for middle, one in zip(self.mean, self.std, strict=True)], np.float32)
        x = pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C")  # (B, C, H, W)
        x *= scale
        x -= shift.reshape(shape)
        return x

    def _fitted(self, image: Image.Image) -> Image.Image:
        """Return `image` scaled, and cut for ``crop``, by `fit`: of the size of the content box, or within it."""
        how = Image.Resampling[self.interpolation.upper()]
        box = (self.content_width, self.content_height)
        if self.fit == "crop" and self.short_side:
            short = min(image.size)
            scaled = (self.short_side * image.width // short, self.short_side * image.height // short)
            left, top = round((scaled[0] - box[0]) / 2), round((scaled[1] - box[1]) / 2)
            return image.resize(scaled, how).crop((left, top, left + box[0], top + box[1]))
        if self.fit == "crop":
            return ImageOps.fit(image, box, how)
        if self.fit == "letterbox":
            scale = min(box[0] / image.width, box[1] / image.height)
            box = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))  # a line keeps one pixel
        return image.resize(box, how)

    def _framed(self, content: np.ndarray) -> np.ndarray:
        """Centre `content` (N, h, w, C) in the black frame: (N, H, W, C)."""
        top, left = (self.height - content.shape[1]) // 2, (self.width - content.shape[2]) // 2
        bottom, right = self.height - content.shape[1] - top, self.width - content.shape[2] - left
        if not (top or left or bottom or right):
            return content
        return np.pad(content, ((0, 0), (top, bottom), (left, right), (0, 0)))


@functools.lru_cache(maxsize=64)
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 1 / (255 std) and mean / std, each (1, C, 1, 1); kept, since every batch of a run asks for the same."""
    import torch

    scale = torch.tensor([1 / (255 * one) for one in std], device=device)
    shift = torch.tensor([middle / one for middle, one in zip(mean, std, strict=True)], device=device)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_header(content: bytes) -> Header:
    """Return what the file says of itself; UnreadableImageError for a file that `decode` would refuse by its header."""
    with _reasons(content):
        image = _opened(content)
        width, height = image.size
        if _orientation(image, content) in (5, 6, 7, 8):
            width, height = height, width
        return Header(height, width, 1 if image.mode in (*GREY_MODES, "I") else 3)


def decode(content: bytes) -> Image.Image:
    """Return the picture in `content` as mode L or RGB, by the table at the top of this file.

    Raises UnreadableImageError with the reason.
    """
    return read_picture(content).image


def read_picture(content: bytes, most_pixels: int = MAX_PIXELS) -> Picture:
    """Return what `decode` does, with what the file was; one of more than `most_pixels` is refused undecoded."""
    with _reasons(content):
        image: Image.Image = _opened(content, most_pixels)
        kind, mode = str(image.format), image.mode
        deep_grey = mode == "I"  # a PGM, the one file of this mode that `_opened` lets through
        image.load()
        if is_half(image, content):
            raise UnreadableImageError("it is damaged: some of its pixels are missing", "truncated")
        orientation = _orientation(image, content)
        if orientation != 1:
            image = ImageOps.exif_transpose(image)
        return Picture(as_grey_or_rgb(image.convert("I;16") if deep_grey else image), kind, mode, orientation)


def as_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded picture as mode L or RGB, by the table at the top of this file.

    Raises UnreadableImageError for pixels whose range is unknown.
    """
    _refuse_mode(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        return _on_white(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def array_picture(pixels: np.ndarray) -> Image.Image:
    """Return uint8 `pixels` (H, W, 1 or 3) as a picture of mode L or RGB."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def size_is_checked_here() -> AbstractContextManager[None]:
    """Silence Pillow's warning about large images, for code that calls `read_header` or `decode` (which refuse them).

    Pillow warns at the same number of pixels at which Foveal refuses; a warning besides the refusal would only be
    noise. To be entered around a pool of threads, and by any of them again.
    """
    return without_warnings(Image.DecompressionBombWarning)


def _opened(content: bytes, most_pixels: int = MAX_PIXELS) -> ImageFile:
    """Open without decoding, and refuse what the header already rules out."""
    if not content:
        raise UnreadableImageError("the file is empty (0 bytes)", "empty_file")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    pixels = image.width * image.height
    if pixels > most_pixels:
        size, limit = f"{image.width}×{image.height}", most_pixels // 1_000_000
        raise UnreadableImageError(f"{size} is {pixels / 1e6:,.0f} megapixels; the limit is {limit}", "too_many_pixels")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UnreadableImageError(
            "it has more than one frame or page; save the one you mean as a file of its own", "animated"
        )
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        _refuse_tags(image)
    if not (image.format == "PPM" and image.mode == "I"):  # Pillow scales these to 0 to 65,535
        _refuse_mode(image)
    return image


def _refuse_mode(image: Image.Image) -> None:
    if image.mode in REFUSED_MODES:
        raise UnreadableImageError(
            f"its pixels are {REFUSED_MODES[image.mode]}; save it as 8-bit or 16-bit grey or RGB", UNSUPPORTED
        )


def _refuse_tags(image: Image.Image) -> None:
    """Refuse a 16-bit TIFF whose stored values Pillow passes on although its tags say that they mean something else."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (1,))[0]
    if bits != 16:
        raise UnreadableImageError(f"its pixels are {bits}-bit grey; save it as 8-bit or 16-bit grey", UNSUPPORTED)
    if tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO:
        raise UnreadableImageError(
            "its 16-bit grey counts from white (white is zero); save it with black as zero", UNSUPPORTED
        )


def _orientation(image: Image.Image, content: bytes) -> int:
    """Return the EXIF orientation that is still to be applied to `image`, 1 to 8; 1 is none.

    Pillow applies a TIFF's by itself. A PNG may keep it behind the pixels, where Pillow finds it only
    by decoding them, so it is asked only when the file holds such a chunk at all.
    """
    if image.format == "TIFF" or (image.format == "PNG" and not any(name in content for name in PNG_ORIENTATIONS)):
        return 1
    found = image.getexif().get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and 2 <= found <= 8 else 1


def _on_white(image: Image.Image) -> Image.Image:
    grey = image.mode in GREY_MODES
    image = image.convert("LA") if image.mode == "La" else image
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image).convert("L" if grey else "RGB")


@contextmanager
def _reasons(content: bytes) -> Iterator[None]:
    """Turn whatever a decoder of `content` raises into an UnreadableImageError with the reason in plain words."""
    try:
        yield
    except UnreadableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError("it has more than 89 megapixels", "too_many_pixels") from error
    except UnidentifiedImageError as error:
        code = "truncated" if _ends_early(content) else "unsupported_type"
        raise UnreadableImageError(f"it is not an image of a known kind ({', '.join(FORMATS)})", code) from error
    except MemoryError as error:
        raise UnreadableImageError("there is not enough memory to decode it", "decoder_memory") from error
    except Exception as error:  # decoders of hostile files raise nearly anything
        reason = str(error).rstrip(".") or type(error).__name__
        code = "truncated" if _ends_early(content) or "truncated" in reason.lower() else "damaged"
        raise UnreadableImageError(f"it is damaged: {reason}", code) from error


def _ends_early(content: bytes) -> bool:
    """Whether a file that could not be decoded lacks its end, as far as its kind marks one or tells its length."""
    if content.startswith(b"\xff\xd8\xff"):  # JPEG: no end of image behind the last scan
        return content.rfind(b"\xff\xd9") <= content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content
    if content.startswith(b"GIF8"):
        return not content.endswith(b";")
    if content.startswith(b"RIFF"):
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    return content.startswith(b"BM") and len(content) < int.from_bytes(content[2:6], "little")
