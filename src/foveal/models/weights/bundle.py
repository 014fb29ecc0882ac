"""A bundle: converted weights of several networks in one ZIP, for a machine without a network.

It holds ``manifest.json``, the records of the cache, and a safetensors file for each. The hashes in it prove that it
arrived whole. Who made it they do not prove; but there is nothing in it that could run, and of each file whose
published SHA-256 is in the catalog the record must agree with that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from foveal.errors import ClassifierError, OutputError
from foveal.files import replacing
from foveal.models.weights.cache import Kept, parse_record, write_record
from foveal.models.weights.published import PUBLISHED

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20


def write_bundle(records: Sequence[Kept], out: Path) -> None:
    """Write the weights of `records` into the ZIP `out`; OutputError where it exists or cannot be written."""
    if out.exists():
        raise OutputError(f"{out} exists already; choose another --out.")
    manifest = {"foveal_weights": 1, "weights": [dataclasses.asdict(one) for one in records]}
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest, indent=2) + "\n")
        for one in records:
            with one.path.open("rb") as source, archive.open(_info(one), "w", force_zip64=True) as target:
                digest = hashlib.sha256()
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != one.sha256:
                raise ClassifierError(
                    f"{one.path} is damaged or was changed; fetch it again: foveal weights fetch {one.name}"
                )


def _info(record: Kept) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(_member(record))


def _member(record: Kept) -> str:
    return f"{record.name}.safetensors"


def read_bundle(archive: zipfile.ZipFile, where: Path) -> list[Kept]:
    """Take all weights of a bundle into the cache and return their records; all of it is checked before any is kept."""
    try:
        manifest = json.loads(archive.read(MANIFEST))
        if not isinstance(manifest, dict) or manifest.get("foveal_weights") != 1 or not manifest.get("weights"):
            raise ValueError("its manifest is not one of weights, or of a newer Foveal")
        records = [parse_record(one) for one in manifest["weights"]]
        for record in records:
            _refuse_changed(archive, record)
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ClassifierError(f"{where} is no whole bundle of weights: {_reason(error)}.") from error
    for record in records:
        with replacing(record.path) as temporary, archive.open(_member(record)) as source, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK_BYTES)
        write_record(record)
    return records


def _refuse_changed(archive: zipfile.ZipFile, record: Kept) -> None:
    published = PUBLISHED.get(record.name)
    if published and not record.file_sha256.startswith(published.sha256):
        raise ValueError(f"{record.name} was made of another file than the published one")
    if archive.getinfo(_member(record)).file_size != record.bytes:
        raise ValueError(f"{_member(record)} has another size than its record says")
    with archive.open(_member(record)) as source:
        digest = hashlib.sha256()
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != record.sha256:
        raise ValueError(f"{_member(record)} was changed: its SHA-256 is not its record's")


def _reason(error: Exception) -> str:
    text = str(error).strip("'\"").rstrip(".")
    return f"{text} is missing" if isinstance(error, KeyError) and " " not in text else text
