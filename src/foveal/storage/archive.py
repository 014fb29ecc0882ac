"""What a backup is: one tar file that any tar can open, with a manifest that names every member and its SHA-256.

::

    blobs/ab/cdef…        the images and maps, as they lie in the data folder
    tables/cases.jsonl …  every table, a row a line, all of one moment
    heads.jsonl           the trail's signed heads
    keys/…                what signs the trail and the forms; left out where that was asked for
    manifest.json         last, so that a file that was cut off has none
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from foveal.errors import StorageError

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 1 << 30
BLOB = re.compile(r"blobs/([0-9a-f]{2})/([0-9a-f]{62})")
MEMBER = re.compile(
    r"blobs/[0-9a-f]{2}/[0-9a-f]{62}|tables/[a-z_]+\.jsonl|heads\.jsonl|keys/[A-Za-z0-9_-][A-Za-z0-9_.-]*"
)
CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file of a backup."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds, and of which moment."""

    made_at: str  # ISO 8601, UTC
    foveal: str  # the version that made it
    schema: str  # of the tables
    database: str  # sqlite or postgresql; it can be restored into either
    rows: dict[str, int]  # table → its rows
    trail_seq: int  # the trail's last row, 0 for none
    trail_hash: str
    members: dict[str, Member]
    missing: tuple[str, ...] = ()  # images that a row needs and that were gone or altered already
    format: int = field(default=FORMAT, kw_only=True)

    def to_json(self) -> bytes:
        """Return it as it is written."""
        return json.dumps(asdict(self), indent=1).encode()


def parse_manifest(content: bytes, file: Path) -> Manifest:
    """Return the manifest; StorageError where it is none, or of a later format."""
    try:
        given = json.loads(content)
        if given["format"] > FORMAT:
            raise StorageError(f"{file} was made by a newer Foveal ({given['foveal']}); restore it with that one.")
        given["members"] = {name: Member(**one) for name, one in given["members"].items()}
        given["missing"] = tuple(given["missing"])
        return Manifest(**{one.name: given[one.name] for one in fields(Manifest)})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{file} is no backup of Foveal: its manifest cannot be read.") from error


class Packing:
    """A tar file under way, which notes what is put into it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        """Write into `tar`."""
        self._tar = tar
        self.members: dict[str, Member] = {}

    def put(self, name: str, content: bytes) -> None:
        """Add a member of these bytes."""
        self._add(name, io.BytesIO(content), len(content), hashlib.sha256(content).hexdigest())

    def put_file(self, name: str, file: Path) -> None:
        """Add a member with what is in `file`, which nobody changes meanwhile."""
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            stream.seek(0)
            self._add(name, stream, size, digest)

    def _add(self, name: str, stream: IO[bytes], size: int, digest: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        self._tar.addfile(entry, stream)
        if name != MANIFEST:
            self.members[name] = Member(size, digest)


def unpack(file: Path, folder: Path) -> Manifest:
    """Unpack a backup into `folder`, which is there and empty, hold it against its manifest, and return that.

    Nothing is taken on trust: a name that is not of a backup's, a link, a member that is cut off, altered, missing or
    too many is refused with StorageError.
    """
    found: dict[str, Member] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(file, "r:") as tar:
            for entry in tar:
                if entry.name == MANIFEST and entry.isreg() and entry.size <= LARGEST_MANIFEST:
                    manifest = parse_manifest(_stream(tar, entry).read(), file)
                    continue
                if not entry.isreg() or not MEMBER.fullmatch(entry.name) or entry.name in found:
                    raise StorageError(f"{file} is no backup of Foveal: it holds {entry.name[:80]!r}.")
                found[entry.name] = _copy(_stream(tar, entry), folder / entry.name)
    except FileNotFoundError as error:
        raise StorageError(f"There is no backup {file}.") from error
    except tarfile.TarError as error:
        raise StorageError(f"{file} is no backup of Foveal, or was cut off: {error}.") from error
    if manifest is None:
        raise StorageError(f"{file} was cut off: its manifest, which comes last, is missing.")
    different = [name for name in {**manifest.members, **found} if manifest.members.get(name) != found.get(name)]
    if different:
        raise StorageError(f"{file} was altered or is damaged: {different[0]} is not what its manifest says.")
    for name, member in found.items():
        blob = BLOB.fullmatch(name)
        if blob and blob[1] + blob[2] != member.sha256:
            raise StorageError(f"{file} holds a damaged image: {name} has another SHA-256.")
    return manifest


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table's file."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _stream(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(entry)
    if stream is None:
        raise tarfile.ReadError(f"{entry.name} cannot be read")
    return stream


def _copy(stream: IO[bytes], path: Path) -> Member:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as out:
        path.chmod(0o600)
        while part := stream.read(CHUNK):
            digest.update(part)
            size += len(part)
            out.write(part)
    return Member(size, digest.hexdigest())
