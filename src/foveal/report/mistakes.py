"""The maps of an evaluation's worst mistakes, as they are stored beside its predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from foveal.errors import ClassifierError
from foveal.files import write_json
from foveal.run import SCHEMA_VERSION, read_json

MISTAKES_FILE = "mistakes.json"


@dataclass(frozen=True)
class MistakeMap:
    """What spoke for the wrong class that an image was given: a small picture under its map."""

    record_id: str
    predicted: str
    title: str  # the method and the stage
    address: str  # the picture as a data address
    width: int
    height: int


def write_mistakes(folder: Path, maps: Sequence[MistakeMap]) -> None:
    """Write `maps` into the evaluation's `folder`; nothing where there are none."""
    if maps:
        write_json(folder / MISTAKES_FILE, {"schema_version": SCHEMA_VERSION, "maps": [asdict(one) for one in maps]})


def read_mistakes(folder: Path) -> Mapping[str, MistakeMap]:
    """Return the maps in `folder` by record, none where none were made; ClassifierError for a damaged file."""
    file = folder / MISTAKES_FILE
    if not file.is_file():
        return {}
    try:
        maps = [MistakeMap(**entry) for entry in read_json(file)["maps"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ClassifierError(f"{file} is damaged: {error!r}.") from error
    if not all(one.address.startswith("data:image/") for one in maps):
        raise ClassifierError(f"{file} is damaged: a picture in it is none.")
    return {one.record_id: one for one in maps}
