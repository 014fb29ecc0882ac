"""ZIP archives, read in place: the table of contents once, then each member where it lies."""

from __future__ import annotations

import bz2
import itertools
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from foveal.data.images import refuse_huge
from foveal.data.members import refuse_bomb
from foveal.data.sources.listing import Listed, plain_files
from foveal.data.spool import Bytes, FileBytes
from foveal.errors import DataError, listed
from foveal.preprocess import UnreadableImageError

ENCRYPTED, UTF8 = 0x1, 0x800  # general purpose flags (APPNOTE.TXT 4.4.4)
SIGNATURE = b"PK\3\4"  # of a member (4.3.7)
UNIX = 3  # made by a system that stores the kind of file (4.4.2)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature; lengths of name and extra field (4.3.7)


@dataclass(frozen=True, eq=False)
class ZipMembers:
    """The plain files of a ZIP archive.

    Not read through ``zipfile``, which inflates beyond the size that a member declares, and locks threads out.
    """

    store: Bytes
    infos: dict[str, zipfile.ZipInfo]

    def read(self, name: str) -> bytes:
        """Return the bytes of the member `name`, its checksum verified; UnreadableImageError with the reason."""
        if name not in self.infos:
            raise UnreadableImageError("it is not there")
        info = self.infos[name]
        refuse_huge(max(info.file_size, info.compress_size))
        try:
            content = _inflated(self._stored(info), info)
        except (OSError, zlib.error, EOFError) as error:
            raise UnreadableImageError(f"it is damaged in the archive: {error}") from error
        if len(content) != info.file_size:
            raise UnreadableImageError(f"it is damaged in the archive: it has not the {info.file_size:,} bytes it says")
        if zlib.crc32(content) != info.CRC:
            raise UnreadableImageError("it is damaged in the archive: its checksum is wrong")
        return content

    def _stored(self, info: zipfile.ZipInfo) -> bytes:
        """Return the bytes of a member as they lie in the archive."""
        header = self.store.read(info.header_offset, LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or header[:4] != SIGNATURE:
            raise UnreadableImageError("it is damaged in the archive: it does not begin where it should")
        _, name_length, extra_length = LOCAL_HEADER.unpack(header)
        return self.store.read(info.header_offset + LOCAL_HEADER.size + name_length + extra_length, info.compress_size)


def open_zip(path: Path) -> tuple[ZipMembers, list[str]]:
    """Return the files of the ZIP archive `path`, and the names of its folders.

    Raises DataError when it is none or cut off, holds anything but plain files and folders, is
    encrypted, or declares what no images do.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except OSError:
        raise
    except Exception as error:  # hostile tables of contents raise nearly anything
        raise DataError(f"{path} is no ZIP archive, or it is cut off or damaged: {error}.") from error
    found, folders = plain_files(path, [Listed(_name(info), _kind(info)) for info in infos])
    members = {name: infos[position] for name, position in found.items()}
    locked = sorted(name for name, info in members.items() if info.flag_bits & ENCRYPTED)
    if locked:
        raise DataError(f"{path} is encrypted; unpack it with its password and give the folder:\n{listed(locked, 3)}")
    _refuse_overlap(path, list(members.values()))
    refuse_bomb(str(path), sum(info.file_size for info in members.values()), path.stat().st_size)
    return ZipMembers(FileBytes(path.open("rb")), members), folders


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name as written: UTF-8 where it is marked so or reads so, else code page 437, as the format says."""
    name = info.orig_filename
    if info.flag_bits & UTF8 or name.isascii():
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def _kind(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0
    if info.orig_filename.endswith("/") or kind == stat.S_IFDIR:
        return "folder"
    return {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "symbolic link"}.get(kind, "device")


def _refuse_overlap(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes: the way in which one small file becomes petabytes (Fifield 2019)."""
    infos = sorted(infos, key=lambda info: info.header_offset)
    for first, second in itertools.pairwise(infos):
        if first.header_offset + LOCAL_HEADER.size + first.compress_size > second.header_offset:
            raise DataError(
                f"{path} is damaged or made to fill a disk: {first.filename} and {second.filename} lie over each other."
            )


def _inflated(stored: bytes, info: zipfile.ZipInfo) -> bytes:
    """Return at most one byte more than the member declares, whatever is in it."""
    if info.compress_type == zipfile.ZIP_STORED:
        return stored
    if info.compress_type == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, info.file_size + 1)
    if info.compress_type == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(stored, info.file_size + 1)
    raise UnreadableImageError(f"it is compressed by method {info.compress_type}, not the usual one (deflate)")
