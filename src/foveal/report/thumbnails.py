"""The thumbnails of a report: which of them there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PIL import Image

from foveal.web.thumbnails import Thumbnail, thumbnail

MOST_THUMBNAILS = 2_400
MOST_CHARACTERS = 4_200_000  # of all data addresses together, so that the page stays below 5 MB


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


def _readable(record_id: str, pictures: Callable[[str], Image.Image | None]) -> Thumbnail | None:
    try:
        picture = pictures(record_id)
        return None if picture is None else thumbnail(picture)
    except OSError:  # Pillow decodes only now: the file is cut off or gone
        return None
