"""Names below one root: what the rules for class folders and manifests look at, on disk or in an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from foveal.data.images import EncodedImages, ImageFiles
from foveal.errors import DataError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}
DICOM_SUFFIXES = {".dcm", ".dicom"}
NOT_OURS = ("__MACOSX",)  # what packers leave behind


class Tree(Protocol):
    """Folders and files below one root. A path begins there and has forward slashes; ``""`` is the root.

    What `is_passed_over` names is not among the folders and files, but can be read.
    """

    @property
    def origin(self) -> str:
        """Return what the user gave, for messages and to find the root again."""
        ...

    @property
    def name(self) -> str:
        """Return what reports call the root."""
        ...

    def folders(self, where: str = "") -> list[str]:
        """Return the names of the folders in the folder `where`, sorted."""
        ...

    def files(self, where: str = "") -> list[str]:
        """Return the names of all that lies in the folder `where` and is no folder, sorted."""
        ...

    def below(self, where: str = "") -> Iterator[str]:
        """Yield the path of every file in the folder `where` and in the folders inside it."""
        ...

    def holds(self, path: str) -> bool:
        """Return whether there is something at `path`."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Return the file at `path`, opened; DataError when it cannot be read."""
        ...

    def images(self, paths: Sequence[str]) -> EncodedImages:
        """Return the images at `paths`."""
        ...

    def place(self, path: str) -> str:
        """Return where `path` lies, for people."""
        ...


class FolderTree:
    """A folder on disk. Links to folders are followed where classes stand, not inside a class (`below`)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.origin = str(root)

    @property
    def name(self) -> str:
        """Return the folder's name."""
        return self.root.resolve().name

    def folders(self, where: str = "") -> list[str]:
        """Return the names of the folders in the folder `where`, sorted."""
        return sorted(
            one.name for one in (self.root / where).iterdir() if not is_passed_over(one.name) and one.is_dir()
        )

    def files(self, where: str = "") -> list[str]:
        """Return the names of all that lies in the folder `where` and is no folder, sorted."""
        entries = (self.root / where).iterdir()
        return sorted(one.name for one in entries if not one.name.startswith(".") and not one.is_dir())

    def below(self, where: str = "") -> Iterator[str]:
        """Yield the path of every file in the folder `where` and in the folders inside it."""
        top = os.fspath(self.root / where)
        for folder, folders, files in os.walk(top, onerror=_refuse_closed):
            folders[:] = [name for name in folders if not is_passed_over(name)]
            inside = joined(where, folder[len(top) :].replace(os.sep, "/").strip("/"))
            for name in files:
                if not name.startswith("."):
                    yield joined(inside, name)

    def holds(self, path: str) -> bool:
        """Return whether there is something at `path`."""
        return (self.root / path).exists()

    def open(self, path: str) -> BinaryIO:
        """Return the file at `path`, opened."""
        return (self.root / path).open("rb")

    def images(self, paths: Sequence[str]) -> ImageFiles:
        """Return the image files at `paths`."""
        return ImageFiles([self.root / path for path in paths])

    def place(self, path: str) -> str:
        """Return the path as the user would write it."""
        return str(self.root / path)


def joined(folder: str, name: str) -> str:
    """Return the path of `name` in `folder`; either may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name


def is_passed_over(folder: str) -> bool:
    """Return whether a folder of this name is hidden or left behind by a packer, so that nobody means it."""
    return folder.startswith(".") or folder in NOT_OURS


def ends_like_image(path: str) -> bool:
    """Return whether `path` ends as the name of an image file does."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path a file costs as much as reading it


def _refuse_closed(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def ends_like_dicom(path: str) -> bool:
    """Return whether a file of this name says that it is DICOM."""
    return os.path.splitext(path)[1].lower() in DICOM_SUFFIXES  # noqa: PTH122 - as above
