"""Archives of class folders, or of a manifest and its images, read in place: nothing is unpacked beside them."""

from __future__ import annotations

import copy
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from foveal.data.members import MemberImages, Members
from foveal.data.sources.folders import SPLIT_NAMES
from foveal.data.sources.listing import SUFFIXES
from foveal.data.sources.manifest import is_table
from foveal.data.sources.tars import COMPRESSED, open_tar
from foveal.data.sources.tree import ends_like_image, joined
from foveal.data.sources.zips import open_zip
from foveal.errors import DataError
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress

ZIP_SIGNATURES = (b"PK\3\4", b"PK\5\6")  # with members, and without
SIGNATURE_LENGTH = 6


class ArchiveTree:
    """The files of an archive, from the folder `root` in it on. Paths are as they would be in that folder unpacked."""

    def __init__(self, archive: Path, members: Members, files: Iterable[str], folders: Iterable[str]) -> None:
        """`files` and `folders` are the names of all there are, from the archive's own top on."""
        self.origin = str(archive)
        self._archive, self._members, self._root = archive, members, ""
        self._files: dict[str, list[str]] = defaultdict(list)  # folder → names in it
        self._folders: dict[str, set[str]] = defaultdict(set)
        for path in files:
            folder, _, name = path.rpartition("/")
            self._files[folder].append(name)
        for path in [*self._files, *folders]:
            folder = path
            while folder:
                folder, _, name = folder.rpartition("/")
                self._folders[folder].add(name)

    @property
    def name(self) -> str:
        """Return the name of the folder that wraps everything, else the archive's without its suffixes."""
        return self._root.rpartition("/")[2] or stem(self._archive)

    def folders(self, where: str = "") -> list[str]:
        """Return the names of the folders in the folder `where`, sorted."""
        return sorted(self._folders.get(joined(self._root, where), ()))

    def files(self, where: str = "") -> list[str]:
        """Return the names of the files in the folder `where`, sorted."""
        return sorted(self._files.get(joined(self._root, where), ()))

    def below(self, where: str = "") -> Iterator[str]:
        """Yield the path of every file in the folder `where` and in the folders inside it."""
        waiting = [where]
        while waiting:
            folder = waiting.pop()
            yield from (joined(folder, name) for name in self.files(folder))
            waiting += [joined(folder, name) for name in self.folders(folder)]

    def holds(self, path: str) -> bool:
        """Return whether there is a file at `path`."""
        folder, _, name = joined(self._root, path).rpartition("/")
        return name in self._files.get(folder, ())

    def open(self, path: str) -> BinaryIO:
        """Return the file at `path`, read; DataError when it is damaged."""
        try:
            return io.BytesIO(self._members.read(joined(self._root, path)))
        except UnreadableImageError as error:
            raise DataError(f"{self.place(path)} cannot be read: {error}.") from error

    def images(self, paths: Sequence[str]) -> MemberImages:
        """Return the images at `paths`."""
        return MemberImages(self._members, self.origin, [joined(self._root, path) for path in paths])

    def place(self, path: str) -> str:
        """Return the archive's path and the path in it."""
        return str(self._archive / self._root / path)

    def unwrapped(self) -> ArchiveTree:
        """Return the tree without the folders at the top that only wrap: those with nothing beside them.

        A folder of images is a class, and one that is called as a split is a split (unless splits lie
        in it); a folder beside which a table or images lie does not only wrap.
        """
        tree = self
        while True:
            folders = tree.folders()
            if len(folders) != 1 or any(is_table(name) or ends_like_image(name) for name in tree.files()):
                return tree
            inner = folders[0]
            within = tree.folders(inner)
            wraps_splits = any(name.lower() in SPLIT_NAMES for name in within)
            if inner.lower() in SPLIT_NAMES and not wraps_splits:
                return tree
            if not within and not any(map(is_table, tree.files(inner))):
                return tree
            tree = tree._within(inner)

    def _within(self, folder: str) -> ArchiveTree:
        tree = copy.copy(self)
        tree._root = joined(self._root, folder)
        return tree


def read_archive(path: Path, progress: Progress) -> ArchiveTree:
    """Return what the archive `path` holds: ZIP or tar, as its first bytes say, whatever its name does.

    Raises DataError when it is none, cut off or damaged, or holds what no archive of images does.
    """
    with path.open("rb") as file:
        first = file.read(SIGNATURE_LENGTH)
    if first.startswith(ZIP_SIGNATURES) or (path.suffix.lower() == ".zip" and not first.startswith(COMPRESSED)):
        zipped, folders = open_zip(path)
        return ArchiveTree(path, zipped, zipped.infos, folders).unwrapped()
    pieces, folders = open_tar(path, progress)
    return ArchiveTree(path, pieces, pieces.where, folders).unwrapped()


def stem(archive: Path) -> str:
    """Return the archive's name without the suffixes that make it one."""
    suffix = max((one for one in SUFFIXES if archive.name.lower().endswith(one)), key=len, default="")
    return archive.name[: len(archive.name) - len(suffix)]
