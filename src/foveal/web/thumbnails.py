"""Thumbnails: small pictures that lie inside a page itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

LONGEST_SIDE = 96
TINY_SIDE = 32
WEBP_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data address."""

    address: str
    width: int
    height: int


def thumbnail(picture: Image.Image) -> Thumbnail:
    """Return `picture` at most 96 pixels long; a smaller one keeps its size."""
    shrink = min(1.0, LONGEST_SIDE / max(picture.size))
    size = max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))
    small = picture if shrink == 1.0 else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if small.mode not in ("L", "RGB"):
        small = small.convert("RGB")
    return Thumbnail(picture_address(small), *small.size)


def picture_address(picture: Image.Image) -> str:
    """Return `picture` (L or RGB) in its own size as a data address: WebP, or PNG where it is tiny and no longer so."""
    kind, content = "webp", _encoded(picture, "WEBP", quality=WEBP_QUALITY, method=2)
    if max(picture.size) <= TINY_SIDE:
        exact = _encoded(picture, "PNG", optimize=True)
        if len(exact) <= len(content):
            kind, content = "png", exact
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _encoded(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
