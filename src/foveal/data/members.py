"""Images that are parts of something larger: members of an archive, cells of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foveal.data.images import EncodedImages, refuse_huge
from foveal.data.spool import Bytes
from foveal.errors import DataError
from foveal.preprocess import UnreadableImageError

BOMB_RATIO = 500  # unpacked to packed; photographs and X-rays stay below 10, drawings as bitmaps below 300
BOMB_FREE_GIB = 1  # what may be unpacked whatever the ratio
MOST_TIB = 2


class Members(Protocol):
    """Bytes under names."""

    def read(self, name: str) -> bytes:
        """Return the bytes called `name`, from any thread; UnreadableImageError with the reason."""
        ...


@dataclass(frozen=True, eq=False)
class Pieces:
    """Members that lie as they are in one store: name → where one begins and how long it is."""

    store: Bytes
    where: Mapping[str, tuple[int, int]]

    def read(self, name: str) -> bytes:
        """Return the bytes called `name`; UnreadableImageError with the reason."""
        if name not in self.where:
            raise UnreadableImageError("it is not there")
        begins, size = self.where[name]
        refuse_huge(size)
        try:
            content = self.store.read(begins, size)
        except OSError as error:
            raise UnreadableImageError(f"it cannot be read: {error.strerror or error}") from error
        if len(content) < size:
            raise UnreadableImageError(f"{len(content):,} of its {size:,} bytes are there")
        return content


@dataclass(frozen=True, eq=False)
class MemberImages(EncodedImages):
    """Images as members of what lies at `home`, read there."""

    members: Members
    home: str
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """Return the bytes of one member; UnreadableImageError with the reason."""
        return self.members.read(self.names[index])

    def location(self, index: int) -> str:
        """Return the path of what holds the image, and its name in there."""
        return f"{self.home}/{self.names[index]}"

    def take(self, indices: np.ndarray) -> MemberImages:
        """Return the members at `indices`, in that order."""
        return MemberImages(self.members, self.home, [self.names[i] for i in indices])


def refuse_bomb(place: str, unpacked: int, packed: int) -> None:
    """Raise DataError when `packed` bytes become more than any images would: such a file is made to fill disks."""
    if unpacked > MOST_TIB << 40:
        raise DataError(f"{place} unpacks to more than {MOST_TIB} TiB; divide it, or give a folder.")
    if unpacked > BOMB_FREE_GIB << 30 and unpacked > BOMB_RATIO * packed:
        raise DataError(
            f"{place} unpacks to more than {BOMB_RATIO} times its size, which images do not: it may be made to fill "
            "a disk. If it is sound, unpack it and give the folder."
        )
