"""Archives of small images, written member by member."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.errors import DataError

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "tgz": gzip.compress,
    "xz": lzma.compress,
    "txz": lzma.compress,
    "bz2": bz2.compress,
    "tbz2": bz2.compress,
    "tbz": bz2.compress,
}


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of `files` (name → content; a name that ends in a slash is a folder), its kind by its suffix."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    path.write_bytes(PACKERS.get(path.name.rpartition(".")[2], bytes)(tar_bytes(files)))
    return path


def tar_bytes(files: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in special:
            archive.addfile(info)
    return buffer.getvalue()


def unpacked(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        if not name.endswith("/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    return root


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    str(caught.value).encode()
    return str(caught.value)


def ids(dataset: Dataset) -> list[str]:
    return dataset.record_ids.tolist()


FLAT = {f"{name}/{number:02d}.png": png(number + at) for at, name in enumerate(("cat", "dog")) for number in range(9)}
SPLIT = {
    f"{split}/{name}": content
    for number, (name, content) in enumerate(FLAT.items())
    for split in (("train", "Val", "test")[number % 3],)
}
JUNK = {
    "__MACOSX/cat/._00.png": b"\0",
    ".DS_Store": b"\0",
    "cat/.DS_Store": b"\0",
    "cat/.thumbs/a.png": b"\0",
    "README.txt": b"hello",
    "cat/notes.txt": b"hello",
}
SMALL = {"cat/a.png": png(1), "cat/b.png": png(2), "dog/a.png": png(3), "dog/b.png": png(4)}
TABLE = b"path,label,patient_id\ncat/a.png,cat,p1\ncat/b.png,cat,p1\ndog/a.png,dog,p2\ndog/b.png,dog,\n"


def both(tmp_path: Path, files: dict[str, bytes]) -> list[Path]:
    """The same files as an archive and as a folder."""
    return [packed(tmp_path / "pets.zip", files), unpacked(tmp_path / "pets", files)]
