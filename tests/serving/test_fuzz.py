"""The ingest path under mutated files: FOVEAL_FUZZ_S seconds of them (20 by default), two decoders at work.

A finding is repeated by its number: `mutated(number)` gives the same bytes every time.
"""

from __future__ import annotations

import asyncio
import io
import os
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from bad_images import BAD_IMAGES, COLOUR, GREY, SMOOTH, encoded, frames
from PIL import Image

from foveal.preprocess import Preprocess
from foveal.serving.children.decoding import Decoders
from foveal.serving.children.refused_image import CODES, RefusedImageError

SECONDS = float(os.environ.get("FOVEAL_FUZZ_S", "20"))
AT_ONCE = 8
MOST_RESIDENT_KIB = 300 << 10  # of a decoder, afterwards
EDGES = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\1\0\0\0", b"\xff\xd9", b"\xff\xda")
PREPROCESS = Preprocess(3, 32, 32, 32, 32, "letterbox", (0.5,) * 3, (0.5,) * 3)


def _seeds() -> list[bytes]:
    pictures = [Image.fromarray(COLOUR), Image.fromarray(GREY), Image.fromarray(COLOUR).quantize(16)]
    pictures += [Image.fromarray(np.dstack([COLOUR, GREY])), Image.fromarray(GREY > 99), Image.fromarray(SMOOTH)]
    kinds = (
        ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("TIFF", {}), ("BMP", {}), ("PPM", {}),
        ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}), ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "jpeg"}),
    )  # fmt: skip
    found = []
    for picture in pictures:
        for kind, options in kinds:
            try:
                found.append(encoded(picture, kind, **options))
            except (OSError, RuntimeError):  # not every kind keeps every mode
                continue
    deep = encoded(GREY.astype(np.uint16) * 257, "PNG"), encoded(GREY.astype(np.uint16), "TIFF")
    several = [frames(kind) for kind in ("GIF", "PNG", "WEBP", "TIFF")]
    small = [content for one in BAD_IMAGES if len(content := one.make()) < 1 << 15]
    return [*found, *deep, *several, *small]


SEEDS = [one for one in _seeds() if one]


def mutated(number: int) -> bytes:
    chance = np.random.default_rng([7, number])
    content = bytearray(SEEDS[chance.integers(len(SEEDS))])
    for _ in range(1 + int(chance.geometric(0.3))):
        at, kind = int(chance.integers(len(content) + 1)), chance.integers(8)
        run = int(chance.integers(1, 64))
        if kind in (0, 1) and at < len(content):
            content[at] = int(chance.integers(256)) if kind else content[at] ^ (1 << int(chance.integers(8)))
        elif kind == 2:
            edge = EDGES[chance.integers(len(EDGES))]
            content[at : at + len(edge)] = edge
        elif kind == 3:
            del content[at : at + run]
        elif kind == 4:
            content[at:at] = chance.bytes(run)
        elif kind == 5:
            content[at:at] = content[at : at + run] * int(chance.integers(1, 40))
        elif kind == 6 and chance.random() < 0.3:
            del content[at:]
        elif kind == 7:
            other = SEEDS[chance.integers(len(SEEDS))]
            start = int(chance.integers(len(other)))
            content[at : at + run * 8] = other[start : start + run * 8]
        content = content or bytearray(b"\0")
    return _with_checksums(bytes(content)) if chance.random() < 0.7 else bytes(content)


def _with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums again, so that what was changed is looked at."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    out, at = io.BytesIO(), 8
    out.write(content[:8])
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        body = content[at + 4 : at + 8 + length]
        out.write(struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    out.write(content[at:])
    return out.getvalue()


def resident_kib(pid: int | str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.slow
def test_mutated_files_are_decoded_or_refused_and_nothing_else_happens() -> None:
    async def main() -> Counter[str]:
        decoders = Decoders(2, 768, 10)
        await decoders.start()
        pids, found = set(decoders.pids), Counter[str]()
        numbers = iter(range(1 << 40))
        end = time.monotonic() + SECONDS

        async def ask() -> None:
            while time.monotonic() < end:
                number = next(numbers)
                try:
                    answer = await decoders.decode(mutated(number), PREPROCESS, 20)
                except RefusedImageError as error:
                    assert error.code in CODES
                    assert not error.poison, f"number {number}: {error.code}"
                    assert error.reason.isprintable()
                    found[error.code] += 1
                else:
                    assert answer.pixels.shape == (32, 32, 3)
                    found["decoded"] += 1

        try:
            await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
            assert set(decoders.pids) == pids, "a decoder was replaced"
            assert max(resident_kib(pid) for pid in pids) < MOST_RESIDENT_KIB
        finally:
            await decoders.stop()
        return found

    found = asyncio.run(main())
    print(f"\n{found.total():,} files in {SECONDS:g} s: {dict(found.most_common())}")  # noqa: T201
    assert found["decoded"] > 0 and len(found) >= 6
