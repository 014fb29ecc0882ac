"""Decode → geometry → normalise: the only way by which any image reaches a network.

The choices are made once, at training, stored in the classifier, and applied to every later image
by the same code. What happens to an unusual file is fixed here:

================================  ==================================================================
file                              what happens
================================  ==================================================================
EXIF orientation                  applied: the picture is used as a viewer shows it
16-bit grey                       scaled to 8 bits over its full range (v / 257), never clipped
palette, CMYK, YCbCr, 1-bit       converted to RGB (1-bit: to grey)
alpha                             laid on white, as on a page
MPO (two-lens phone photo)        its first, full-size picture
animated, several pages           refused: which frame is meant is not ours to guess
32-bit integer, float, Lab, HSV   refused: the range of the values is unknown
more than 89 megapixels           refused from the header, before anything is decoded
other formats, damaged, empty     refused with the reason
================================  ==================================================================
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

from foveal.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "MPO")
MAX_PIXELS = 89_478_485
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
REFUSED_MODES = {"I": "32-bit integer", "F": "floating-point", "LAB": "Lab", "HSV": "HSV"}

Fit = Literal["letterbox", "crop", "stretch"]


class UnreadableImageError(DataError):
    """One image cannot be used; the message is the reason alone, the caller knows the file's name."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded: the size as seen (orientation applied) and grey or colour."""

    height: int
    width: int
    channels: int  # 1 grey, 3 colour


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a tensor.

    The image is brought to `channels`, fitted into the content box (`content_height` × `content_width`)
    and centred in the frame (`height` × `width`), whose margin is black. `fit` says how an image of
    another size enters the content box: ``letterbox`` scales it until it fits and leaves black bars,
    ``crop`` scales it until it covers the box and cuts the centre, ``stretch`` changes its proportions.
    MNIST in LeNet-5 is 28×28 content in a 32×32 frame: no pixel is changed. Scaling is bilinear with
    antialiasing. `mean` and `std` are per channel, on the scale 0 to 1.
    """

    channels: int
    height: int
    width: int
    content_height: int
    content_width: int
    fit: Fit
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"A network takes 1 (grey) or 3 (colour) channels here, not {self.channels}.")
        if not 0 < self.content_height <= self.height or not 0 < self.content_width <= self.width:
            raise UsageError(
                f"The content box {self.content_height}×{self.content_width} must fit into the frame "
                f"{self.height}×{self.width}."
            )
        if self.fit not in ("letterbox", "crop", "stretch"):
            raise UsageError(f'fit is "letterbox", "crop" or "stretch", not "{self.fit}".')
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise UsageError("mean and std need one number a channel, std above zero.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Preprocess:
        """Return the stored preprocessing; UsageError when a field is missing, unknown or out of range."""
        try:
            return cls(**{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])})
        except (KeyError, TypeError) as error:
            raise UsageError(f"the preprocessing is incomplete: {error}") from error

    def geometry(self, image: Image.Image) -> np.ndarray:
        """Return `image` (mode L or RGB) as uint8 (H, W, C) at the size that the network takes."""
        image = image.convert("L" if self.channels == 1 else "RGB")
        box = (self.content_width, self.content_height)
        if image.size != box:
            image = _fit(image, box, self.fit)
        content = np.asarray(image).reshape(image.height, image.width, self.channels)
        return self._framed(content[None])[0]

    def geometry_of_arrays(self, pixels: np.ndarray) -> np.ndarray:
        """Return uint8 (N, H, W, C) for uint8 `pixels` (N, h, w, 1 or 3); the same pixels as `geometry` gives."""
        if pixels.shape[1:] == (self.content_height, self.content_width, self.channels):
            return self._framed(pixels)
        return np.stack([self.geometry(array_picture(image)) for image in pixels])

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return uint8 `pixels` (B, H, W, C) as float32 (B, C, H, W), channels last in memory: (x/255 - mean) / std."""
        x = pixels.permute(0, 3, 1, 2).float()  # (B, C, H, W)
        scale, shift = _scale_and_shift(self.mean, self.std, str(x.device))
        return x.mul_(scale).sub_(shift)

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


def _fit(image: Image.Image, box: tuple[int, int], fit: Fit) -> Image.Image:
    if fit == "stretch":
        return image.resize(box, Image.Resampling.BILINEAR)
    if fit == "crop":
        return ImageOps.fit(image, box, Image.Resampling.BILINEAR)
    return ImageOps.contain(image, box, Image.Resampling.BILINEAR)


def read_header(content: bytes) -> Header:
    """Return what the file says of itself; UnreadableImageError for a file that `decode` would refuse by its header."""
    with _reasons():
        return _header(_opened(content))


def decode(content: bytes) -> Image.Image:
    """Return the picture in `content` as mode L or RGB, by the table at the top of this file.

    Raises UnreadableImageError with the reason.
    """
    with _reasons():
        image = _opened(content)
        image.load()
        return as_grey_or_rgb(ImageOps.exif_transpose(image))


def as_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded picture as mode L or RGB, by the table at the top of this file.

    Raises UnreadableImageError for pixels whose range is unknown.
    """
    if image.mode in REFUSED_MODES:
        raise UnreadableImageError(
            f"its pixels are {REFUSED_MODES[image.mode]}; save it as 8-bit or 16-bit grey or RGB"
        )
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


@contextmanager
def size_is_checked_here() -> Iterator[None]:
    """Silence Pillow's warning about large images, for code that calls `read_header` or `decode` (which refuse them).

    Pillow warns at the same number of pixels at which Foveal refuses; a warning besides the refusal
    would only be noise. Entered once around a pool of threads, since warning filters are global.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _opened(content: bytes) -> Image.Image:
    """Open without decoding, and refuse what the header already rules out."""
    if not content:
        raise UnreadableImageError("the file is empty (0 bytes)")
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UnreadableImageError(f"{image.width}×{image.height} is {pixels / 1e6:,.0f} megapixels; the limit is 89")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UnreadableImageError(f"it has {frames} frames or pages; save the one you mean as a file of its own")
    if image.mode in REFUSED_MODES:
        raise UnreadableImageError(
            f"its pixels are {REFUSED_MODES[image.mode]}; save it as 8-bit or 16-bit grey or RGB"
        )
    return image


def _header(image: Image.Image) -> Header:
    width, height = image.size
    if image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        width, height = height, width
    return Header(height, width, 1 if image.mode in GREY_MODES else 3)


def _on_white(image: Image.Image) -> Image.Image:
    grey = image.mode in GREY_MODES
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image).convert("L" if grey else "RGB")


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever a decoder raises into an UnreadableImageError with the reason in plain words."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("it has more than 89 megapixels") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError(f"it is not an image of a known kind ({', '.join(FORMATS[:-1])})") from error
    except MemoryError as error:
        raise UnreadableImageError("there is not enough memory to decode it") from error
    except Exception as error:  # noqa: BLE001 - decoders of hostile files raise nearly anything
        reason = str(error) or type(error).__name__
        raise UnreadableImageError(f"it is damaged: {reason}") from error
