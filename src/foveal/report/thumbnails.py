"""Thumbnails: small pictures that lie inside the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image

LONGEST_SIDE = 96
TINY_SIDE = 32
WEBP_QUALITY = 80
MOST_THUMBNAILS = 2_400
MOST_CHARACTERS = 4_200_000  # of all data addresses together, so that the page stays below 5 MB


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data address."""

    address: str
    width: int
    height: int


def make_thumbnails(
    record_ids: Iterable[str], pictures: Callable[[str], Image.Image | None]
) -> dict[str, Thumbnail | None]:
    """Return the thumbnails of `record_ids`, most important first, each made once.

    The value is None where the picture can no longer be read. An identifier that is not among the keys
    came after the room in the page was used up.
    """
    made: dict[str, Thumbnail | None] = {}
    characters = 0
    for record_id in record_ids:
        if record_id in made:
            continue
        if len(made) >= MOST_THUMBNAILS or characters >= MOST_CHARACTERS:
            break
        made[record_id] = made_one = _readable(record_id, pictures)
        characters += len(made_one.address) if made_one else 0
    return made


def thumbnail(picture: Image.Image) -> Thumbnail:
    """Return `picture` at most 96 pixels long; a smaller one keeps its size."""
    shrink = min(1.0, LONGEST_SIDE / max(picture.size))
    size = max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))
    small = picture if shrink == 1.0 else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if small.mode not in ("L", "RGB"):
        small = small.convert("RGB")
    kind, content = "webp", _encoded(small, "WEBP", quality=WEBP_QUALITY, method=2)
    if max(small.size) <= TINY_SIDE:
        exact = _encoded(small, "PNG", optimize=True)
        if len(exact) <= len(content):
            kind, content = "png", exact
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Thumbnail(address, *small.size)


def _readable(record_id: str, pictures: Callable[[str], Image.Image | None]) -> Thumbnail | None:
    try:
        picture = pictures(record_id)
        return None if picture is None else thumbnail(picture)
    except OSError:  # Pillow decodes only now: the file is cut off or gone
        return None


def _encoded(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
