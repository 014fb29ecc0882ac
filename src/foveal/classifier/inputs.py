"""What a classifier is asked about: paths, pictures and arrays, each opened in one way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from foveal.data.images import picture_of, read_file
from foveal.data.sources.folders import image_files
from foveal.errors import UsageError
from foveal.preprocess import UnreadableImageError, array_picture, as_grey_or_rgb

Input = str | Path | Image.Image | np.ndarray


def opened(image: Input) -> tuple[Image.Image, str]:
    """Return the picture of mode L or RGB and the SHA-256 of its file's bytes, or of its pixels in memory.

    Raises UnreadableImageError with the reason.
    """
    if isinstance(image, str | Path):
        content = read_file(Path(image))
        return picture_of(content), hashlib.sha256(content).hexdigest()
    picture = _array(image) if isinstance(image, np.ndarray) else _picture(image)
    return picture, hashlib.sha256(picture.tobytes()).hexdigest()


def as_sequence(images: Input | Iterable[Input]) -> Sequence[Input]:
    """Return the single images of what was given; UsageError for what is none."""
    """Return the single images of what was given; UsageError for what is none."""
    if isinstance(images, str | Path) and Path(images).is_dir():
        return list(image_files(Path(images)))
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if hasattr(images, "__array__"):  # a tensor, say
        images = np.asarray(images)
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 or (images.ndim == 3 and images.shape[2] not in (1, 3)) else [images]
    if not isinstance(images, Iterable):
        raise UsageError(f"Give paths, pictures or arrays to predict, not {type(images).__name__}.")
    return list(images)


def _picture(image: Image.Image) -> Image.Image:
    """Return a picture given from Python as a file of it would be read: upright, grey or RGB."""
    if not isinstance(image, Image.Image):
        raise UsageError(f"Give paths, pictures or arrays to predict, not {type(image).__name__}.")
    if 0 in image.size:
        raise UnreadableImageError(f"its size is {image.width}×{image.height}")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UnreadableImageError(f"it has {getattr(image, 'n_frames', 1)} frames or pages; give the one you mean")
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImageError(f"it is damaged: {error}") from error
    return as_grey_or_rgb(ImageOps.exif_transpose(image))


def _array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise UnreadableImageError(f"it is {pixels.dtype}; give uint8 from 0 to 255")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise UnreadableImageError(f"its shape is {pixels.shape}; give (H, W) or (H, W, 1 or 3)")
    return array_picture(pixels)
