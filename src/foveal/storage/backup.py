"""A backup while the service runs: every table of one moment, and every file that these rows need.

The rows are read in one snapshot, the files afterwards. A file that an erasure took away in between is no loss: the
rows are read once more, and no longer ask for it. So whatever was acknowledged before a backup began is in it, whole.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, select

from foveal.errors import OutputError, StorageError
from foveal.files import replacing, saying_why
from foveal.storage.archive import MANIFEST, Manifest, Packing
from foveal.storage.blobs import Blobs
from foveal.storage.database import REVISIONS, Database, schema_state
from foveal.storage.folder import DataFolder
from foveal.storage.tables import cases, explanations, images, metadata, trail
from foveal.storage.trail import START, Event, append

BATCH = 1000
MOST_LOOKS = 5  # at the rows, while erasures take files away


@dataclass(frozen=True)
class Backup:
    """A backup that was made."""

    file: Path
    manifest: Manifest

    @property
    def images(self) -> int:
        """How many files of images and maps it holds."""
        return sum(name.startswith("blobs/") for name in self.manifest.members)


@dataclass(frozen=True)
class _Snapshot:
    rows: dict[str, int]
    seq: int
    hash: str
    files: frozenset[str]  # SHA-256 of each that a row needs


def back_up(
    database: Database, folder: DataFolder, file: Path, *, with_keys: bool = True, actor: str = "service"
) -> Backup:
    """Write a backup of `database` and the files in `folder` to `file`, for its owner's eyes only, whole or not at all.

    It notes itself in the trail first: whoever takes everything away is remembered. Files that are gone or altered
    do not stop it; the manifest names them as `missing`. Raises OutputError where `file` cannot be written or is
    there already, StorageError or BusyError where the database cannot be read.
    """
    if file.exists():
        raise OutputError(f"{file} is there already; a backup does not overwrite another one.")
    if schema_state(database) != "current":
        raise StorageError("The database has not this version's schema: start its service with this version first.")
    with database.write() as connection:
        append(connection, [Event("backed-up", actor, "", {"keys": with_keys})])
    blobs = Blobs(folder.blobs)
    with replacing(file) as part, tempfile.TemporaryDirectory(dir=part.parent, prefix=".foveal-backup-") as scratch:
        part.touch(mode=0o600)
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            packing = Packing(tar)
            snapshot, missing = _pack_files(database, blobs, packing, Path(scratch))
            for name in snapshot.rows:
                packing.put_file(f"tables/{name}.jsonl", Path(scratch) / name)
            if folder.heads.is_file():
                packing.put(folder.heads.name, _signed_by_then(folder.heads.read_bytes(), snapshot.seq))
            for key in sorted(folder.keys.glob("[!.]*")) if with_keys and folder.keys.is_dir() else ():
                if key.is_file():
                    packing.put(f"keys/{key.name}", key.read_bytes())
            manifest = Manifest(
                made_at=datetime.now(UTC).isoformat(timespec="seconds"),
                foveal=version("foveal"),
                schema=REVISIONS[-1],
                database=database.engine.dialect.name,
                rows=snapshot.rows,
                trail_seq=snapshot.seq,
                trail_hash=snapshot.hash,
                members=packing.members,
                missing=missing,
            )
            packing.put(MANIFEST, manifest.to_json())
    return Backup(file, manifest)


def _pack_files(database: Database, blobs: Blobs, packing: Packing, scratch: Path) -> tuple[_Snapshot, tuple[str, ...]]:
    """Pack the files that the rows need, reading the rows again where files went meanwhile; return those, and lost."""
    packed: set[str] = set()
    lost: set[str] = set()
    for _ in range(MOST_LOOKS):
        with saying_why(scratch), database.read() as connection:
            snapshot = _dump(connection, scratch)
        before, lost = lost, set()
        for name in sorted(snapshot.files - packed):
            try:
                content = blobs.get(name)
            except StorageError:
                lost.add(name)
                continue
            packing.put(f"blobs/{name[:2]}/{name[2:]}", content)
            packed.add(name)
        if not lost or lost == before:  # no erasure: rows go on to ask for it
            break
    return snapshot, tuple(sorted(lost))


def _dump(connection: Connection, scratch: Path) -> _Snapshot:
    """Write every table into `scratch`, a row a line, as the snapshot of `connection` has it."""
    rows: dict[str, int] = {}
    last = connection.execute(select(trail.c.seq, trail.c.hash).order_by(trail.c.seq.desc()).limit(1)).first()
    for table in metadata.sorted_tables:
        key = [*table.primary_key.columns]
        wanted = select(table).order_by(*key)
        count = 0
        with (scratch / table.name).open("w", encoding="utf-8") as out:
            found = connection.execution_options(yield_per=BATCH).execute(wanted)
            for row in found.mappings():
                out.write(json.dumps(dict(row), ensure_ascii=False, separators=(",", ":")) + "\n")
                count += 1
        rows[table.name] = count
    kept = select(images.c.sha256).join(cases, cases.c.id == images.c.case_id).where(images.c.kept.is_(True))
    files = {*connection.execute(kept).scalars(), *connection.execute(select(explanations.c.map_sha256)).scalars()}
    return _Snapshot(rows, last.seq if last else 0, last.hash if last else START, frozenset(files))


def _signed_by_then(content: bytes, seq: int) -> bytes:
    """Return the heads in `content` of rows up to `seq`: later ones, signed while files were packed, would show a cut.

    What comes after the last line's end is being written just now, and is left out as well.
    """
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    return b"".join(line for line in lines if not _is_later(line, seq))


def _is_later(line: bytes, seq: int) -> bool:
    try:
        return bool(json.loads(line)["seq"] > seq)
    except (ValueError, KeyError, TypeError):
        return False  # no head: whoever reads it says so
