"""The thumbnails of a report: which of them there is room for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from PIL import Image

from foveal.data.images import ordered
from foveal.preprocess import size_is_checked_here
from foveal.web.thumbnails import Thumbnail, thumbnail

MOST_THUMBNAILS = 2_400
THREADS = min(4, os.cpu_count() or 1)
MOST_CHARACTERS = 4_200_000  # of all data addresses together, so that the page stays below 5 MB


def make_thumbnails(
    record_ids: Iterable[str], pictures: Callable[[str], Image.Image | None]
) -> dict[str, Thumbnail | None]:
    """Return the thumbnails of `record_ids`, most important first, each made once.

    The value is None where the picture can no longer be read. An identifier that is not among the keys
    came after the room in the page was used up. `pictures` is asked by a few threads at once.
    """
    made: dict[str, Thumbnail | None] = {}
    characters = 0
    wanted = dict.fromkeys(record_ids)
    with (
        size_is_checked_here(),
        ThreadPoolExecutor(THREADS) as pool,
        closing(ordered(pool, lambda name: (name, _readable(name, pictures)), wanted, 2 * THREADS)) as found,
    ):
        for record_id, small in islice(found, MOST_THUMBNAILS):
            made[record_id] = small
            characters += len(small.address) if small else 0
            if characters >= MOST_CHARACTERS:
                break
    return made


def _readable(record_id: str, pictures: Callable[[str], Image.Image | None]) -> Thumbnail | None:
    try:
        picture = pictures(record_id)
        return None if picture is None else thumbnail(picture)
    except OSError:  # Pillow decodes only now: the file is cut off or gone
        return None
