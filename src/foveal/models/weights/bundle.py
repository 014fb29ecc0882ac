"""A bundle: converted weights of several networks in one ZIP, for a machine without a network.

It holds ``manifest.json``, the records of the cache, and a safetensors file for each. The hashes in it prove that it
arrived whole. Who made it they do not prove, nor that the weights are those of the published file that a record
names: the record of what came in a bundle says so (`Kept.caveat`). But there is nothing in it that could run; each
file must fit its network as any other must; and a record that contradicts the catalog is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from foveal.errors import ClassifierError, OutputError
from foveal.files import replacing, write_bytes
from foveal.models.weights.cache import (
    BUNDLE,
    Kept,
    expected_tensors,
    largest_bytes,
    meant,
    parse_record,
    verified,
    write_record,
)
from foveal.models.weights.published import PUBLISHED

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20
LARGEST_MANIFEST = 1 << 20  # bytes
UNREADABLE = (
    ClassifierError, KeyError, TypeError, ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


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
    """Take all weights of a bundle into the cache and return their records; all of it is checked before any is kept.

    Weights that are here already, to the bit, keep their record. Raises ClassifierError for what is no whole bundle.
    """
    try:
        manifest = json.loads(_content(archive, MANIFEST, LARGEST_MANIFEST))
        if not isinstance(manifest, dict) or manifest.get("foveal_weights") != 1 or not manifest.get("weights"):
            raise ValueError("its manifest is not one of weights, or of a newer Foveal")
        records = [parse_record({**one, "origin": BUNDLE}) for one in manifest["weights"]]
        if len({one.name for one in records}) != len(records):
            raise ValueError("two of its weights have one name")
        for record in records:
            _refuse_unfit(_checked(archive, record), record)
        taken = []
        for record in records:  # read again, rather than all of them in memory at once
            here = verified(meant(record.name))
            if here is None or here.sha256 != record.sha256:
                write_bytes(record.path, _checked(archive, record))
                write_record(record)
                here = record
            taken.append(here)
        return taken
    except UNREADABLE as error:
        raise ClassifierError(f"{where} is no whole bundle of weights: {_reason(error)}.") from error


def _content(archive: zipfile.ZipFile, member: str, limit: int) -> bytes:
    """Return a member; ValueError where it is larger than `limit` bytes, by what the ZIP says or by what comes."""
    info = archive.getinfo(member)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member} is compressed in a way that Foveal does not read")
    if info.file_size <= limit:
        with archive.open(info) as source:
            content = source.read(limit + 1)
        if len(content) <= limit:
            return content
    raise ValueError(f"{member} is too large: more than {limit:,} bytes")


def _checked(archive: zipfile.ZipFile, record: Kept) -> bytes:
    """Return the weights of `record`; ValueError where they are not those that it describes."""
    weights, member = meant(record.name), _member(record)
    published = PUBLISHED.get(record.name)
    if published and not record.file_sha256.startswith(published.sha256):
        raise ValueError(f"{record.name} was made of another file than the published one")
    content = _content(archive, member, largest_bytes(weights))
    if len(content) != record.bytes:
        raise ValueError(f"{member} has another size than its record says")
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise ValueError(f"{member} was changed: its SHA-256 is not its record's")
    return content


def _refuse_unfit(content: bytes, record: Kept) -> None:
    """Raise ClassifierError or ValueError where `content` is not what converting such weights gives."""
    from foveal.models.weights.reading import fitted, read_tensors

    tensors = read_tensors(content, _member(record))
    expected, auxiliary = expected_tensors(meant(record.name), tensors)
    fit = fitted(tensors, expected, _member(record))
    if {name: one.dtype for name, one in tensors.items()} != {name: one.dtype for name, one in fit.items()}:
        raise ValueError(f"{_member(record)} has other names or types than Foveal's own")
    if auxiliary != record.auxiliary:
        raise ValueError(f"the record of {record.name} is wrong about auxiliary heads")


def _reason(error: Exception) -> str:
    text = str(error).strip("'\"" if isinstance(error, KeyError) else "").rstrip(".")
    return f"{text} is missing" if isinstance(error, KeyError) and " " not in text else text
