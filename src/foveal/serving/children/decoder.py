"""The decoder: the program of a child process, and the only place of a service where an image file is opened.

It is started by `decoding.py` as ``python -m …decoder SOCKET PARENT MEMORY_MIB TIMEOUT_S``, answers one request at a
time, and ends when its socket is closed. It loads numpy and Pillow, and nothing else that is large.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import io
import json
import math
import signal
import socket
import sys
import warnings
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from foveal.preprocess import Picture, Preprocess, UnreadableImageError, read_picture
from foveal.serving.children.confinement import confine
from foveal.serving.children.frames import receive, send
from foveal.serving.children.placement import placed

LOADED = (JpegImagePlugin, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)  # else Pillow loads all that it has
GRACE_S = 2  # beyond the deadline that the service keeps: this one is for a service that hangs or is gone
MOST_WORDS = 300  # letters of a reason


def main(arguments: list[str]) -> None:
    """Answer requests until the socket is closed."""
    handle, parent, memory_mib = (int(one) for one in arguments[:3])
    timeout_s = float(arguments[3])
    connection = socket.socket(fileno=handle)
    warnings.simplefilter("ignore")  # nobody reads them here
    Image.preinit()
    confine(parent, memory_mib)
    gc.freeze()
    send(connection, {"ready": True})
    while (request := receive(connection)) is not None:
        signal.alarm(math.ceil(timeout_s) + GRACE_S)
        _answer(connection, *request)
        signal.alarm(0)


def _answer(connection: socket.socket, asked: bytes, content: bytes) -> None:
    """Send what was asked of the file's `content`, or why it is refused."""
    facts: dict[str, Any]
    body: bytes | memoryview
    try:
        question = _question(asked)
        picture = read_picture(content, question["most_pixels"])
        if question["preprocess"] is None:
            facts, body = _as_png(picture, question["longest_side"])
        else:
            facts, body = _as_pixels(picture, question["preprocess"])
    except UnreadableImageError as error:
        facts, body = {"code": error.code, "reason": _words(error)}, b""
    except MemoryError:
        facts, body = {"code": "decoder_memory", "reason": "there is not enough memory to decode it"}, b""
    send(connection, facts, body)


@functools.lru_cache(maxsize=16)
def _question(asked: bytes) -> dict[str, Any]:
    """Return what is asked; the same is asked of nearly every image."""
    question: dict[str, Any] = json.loads(asked)
    stored = question["preprocess"]
    return {**question, "preprocess": stored and Preprocess.from_dict(stored)}


def _as_pixels(picture: Picture, preprocess: Preprocess) -> tuple[dict[str, Any], bytes | memoryview]:
    """Return the pixels that a network takes, and what was done to get them."""
    image = picture.image
    pixels = np.ascontiguousarray(preprocess.geometry(image))
    where = placed(preprocess, image.width, image.height)
    facts = {
        **_file_facts(picture),
        "pixels_sha256": hashlib.sha256(pixels.data).hexdigest(),
        "preprocessing": {
            "decoded_from": f"{picture.format} {picture.mode}",
            "orientation_applied": picture.orientation,
            "colours": "L" if preprocess.channels == 1 else "RGB",
            "fit": preprocess.fit,
            "interpolation": preprocess.interpolation,
            **where.to_dict(),
        },
    }
    return facts, pixels.data.cast("B")


def _as_png(picture: Picture, longest_side: int | None) -> tuple[dict[str, Any], memoryview]:
    """Return the picture as a viewer shows it, as a PNG without a word of what its file said besides."""
    image = picture.image
    facts = _file_facts(picture)
    if longest_side is not None and (largest := max(image.size)) > longest_side:
        size = [max(1, round(side * longest_side / largest)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=3.0)
    image.info = {}  # a colour profile, say, which would be written along
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return facts, buffer.getbuffer()


def _file_facts(picture: Picture) -> dict[str, Any]:
    return {"format": picture.format, "width": picture.image.width, "height": picture.image.height}


def _words(error: UnreadableImageError) -> str:
    """Return the reason on one line, without what a hostile file may have put into it."""
    words = "".join(one if one.isprintable() else " " for one in str(error))
    return words if len(words) <= MOST_WORDS else f"{words[:MOST_WORDS]}…"


if __name__ == "__main__":
    main(sys.argv[1:])
