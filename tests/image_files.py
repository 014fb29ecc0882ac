"""Image files made in memory, whole ones and by hand."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image


def encoded(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def damaged_files(colour: np.ndarray, grey: np.ndarray) -> st.SearchStrategy[bytes]:
    """Return files of every kind that hold these images, some whole, some with other bytes in them, some cut."""
    seeds = [encoded(colour, kind) for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM")]
    seeds += [encoded(colour, "TIFF", compression="jpeg"), encoded(grey.astype(np.uint16), "PNG")]

    def damaged(content: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
        changed = bytearray(content)
        for position, value in changes:
            changed[position % len(changed)] = value
        return bytes(changed[: cut % len(changed)] if cut is not None else changed)

    changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6)
    return st.builds(damaged, st.sampled_from(seeds), changes, st.one_of(st.none(), st.integers(0, 10_000)))
