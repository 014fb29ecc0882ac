"""CIFAR-10 and CIFAR-100: the binary and the python version, as a folder or as the published archive.

Format: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and
https://www.cs.toronto.edu/~kriz/cifar.html. An image is 3,072 bytes: 32×32 red, then green, then blue.
The binary version writes one label byte before each image (CIFAR-100 two: coarse, fine); the python
version pickles a dictionary of one array and lists of labels. Both hold the images in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset, unknown
from foveal.data.images import ImageArray
from foveal.data.sources.archives import read_archive
from foveal.data.sources.pickles import read_pickle
from foveal.data.sources.tree import FolderTree, Tree, joined
from foveal.errors import DataError, ResourceError, listed
from foveal.progress import Progress

SIDE, COLOURS = 32, 3
PIXELS = COLOURS * SIDE * SIDE
BATCH, WHOLE = 10_000, 50_000  # images in one file of CIFAR-10, and in the training file of CIFAR-100
NAMES_BYTES = 1 << 16  # a list of class names is shorter
STEPS_AN_IMAGE, NAME_BYTES = 16, 256  # of the python version: labels, a file name, their bookkeeping


@dataclass(frozen=True)
class Part:
    """One file of images."""

    file: str
    split: str
    images: int


@dataclass(frozen=True)
class Layout:
    """One version of one data set: its files, and where in them the labels stand."""

    data_set: str
    archive: str
    folder: str
    parts: tuple[Part, ...]
    names_file: str
    classes: int
    label_bytes: int = 0  # before each image; 0: the python version
    label_at: int = 0  # which of them
    labels_key: bytes = b""  # the same in the python version
    names_key: bytes = b""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that must be there."""
        return (*(part.file for part in self.parts), self.names_file)

    def most_bytes(self, file: str) -> int:
        """Return how many bytes `file` has at most; for a binary part exactly."""
        part = next((part for part in self.parts if part.file == file), None)
        if part is None:
            return NAMES_BYTES
        if self.label_bytes:
            return part.images * (self.label_bytes + PIXELS)
        return part.images * (PIXELS + NAME_BYTES) + NAMES_BYTES


def _ten(suffix: str) -> tuple[Part, ...]:
    numbered = tuple(Part(f"data_batch_{number}{suffix}", "train", BATCH) for number in range(1, 6))
    return (*numbered, Part(f"test_batch{suffix}", "test", BATCH))


def _hundred(suffix: str) -> tuple[Part, ...]:
    return (Part(f"train{suffix}", "train", WHOLE), Part(f"test{suffix}", "test", BATCH))


LAYOUTS = (
    Layout(
        "CIFAR-10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", _ten(".bin"), "batches.meta.txt", 10,
        label_bytes=1,
    ),
    Layout(
        "CIFAR-10", "cifar-10-python.tar.gz", "cifar-10-batches-py", _ten(""), "batches.meta", 10,
        labels_key=b"labels", names_key=b"label_names",
    ),
    Layout(
        "CIFAR-100", "cifar-100-binary.tar.gz", "cifar-100-binary", _hundred(".bin"), "fine_label_names.txt", 100,
        label_bytes=2, label_at=1,
    ),
    Layout(
        "CIFAR-100", "cifar-100-python.tar.gz", "cifar-100-python", _hundred(""), "meta", 100,
        labels_key=b"fine_labels", names_key=b"fine_label_names",
    ),
)  # fmt: skip


def find_cifar(tree: Tree, data_set: str = "") -> tuple[str, Layout] | None:
    """Return the folder in `tree` that holds CIFAR's files, ``""`` for its root, and their layout; None without.

    They lie in the root, or in the folder that the published archive makes. Where both versions lie,
    the binary one is taken. `data_set` wants one of the two; otherwise a tree that holds both is
    refused with DataError.
    """
    found = [
        (where, layout)
        for layout in LAYOUTS
        if data_set in ("", layout.data_set)
        for where in ("", layout.folder)
        if _holds(tree, where, layout)
    ]
    if len({layout.data_set for _, layout in found}) > 1:
        names = ", ".join(where for where, _ in found)
        raise DataError(f"{tree.origin} holds both CIFAR-10 and CIFAR-100 ({names}): give the folder that is meant.")
    return found[0] if found else None


def find_cifar_copy(folder: Path, data_set: str, progress: Progress) -> tuple[Tree, str, Layout] | None:
    """Return where CIFAR's files lie in `folder`, also inside the published archive under its own name."""
    if found := find_cifar(FolderTree(folder), data_set):
        return FolderTree(folder), *found
    for layout in LAYOUTS:
        archive = folder / layout.archive
        if layout.data_set == data_set and archive.is_file():
            tree = read_archive(archive, progress)
            if found := find_cifar(tree, data_set):
                return tree, *found
            raise DataError(f"{archive} does not hold {layout.folder}, as the published archive does.")
    return None


def read_cifar(
    tree: Tree, where: str, layout: Layout, *, coarse: bool = False, name: str | None = None, origin: str | None = None
) -> Dataset:
    """Return the dataset of the files in the folder `where` of `tree`, as `find_cifar` has found them.

    Args:
        tree: a folder or an archive.
        where: the folder in it.
        layout: what the files are.
        coarse: CIFAR-100's 20 superclasses instead of its 100 classes.
        name: what the dataset is called; the folder's name by default.
        origin: how it is found again; the tree's origin by default.

    Raises:
        DataError: for a missing file, a wrong size, a label outside the classes, or a pickle that
            holds more than plain data.
    """
    layout = _coarse(layout) if coarse else layout
    missing = sorted({*layout.files} - {*tree.files(where)})
    if missing:
        raise DataError(
            f"{tree.place(where)} is {layout.data_set} without these files; get them again:\n{listed(missing)}"
        )
    files = _Files(tree, where, layout)
    classes = _class_names(files)
    counts = [part.images for part in layout.parts]
    try:
        pixels = np.empty((sum(counts), SIDE, SIDE, COLOURS), np.uint8)
        labels = np.empty(sum(counts), np.int64)
        start = 0
        for part in layout.parts:
            rows = slice(start, start + part.images)
            planes, labels[rows] = _read_part(files, part)
            pixels[rows] = planes.reshape(-1, COLOURS, SIDE, SIDE).transpose(0, 2, 3, 1)
            start = rows.stop
    except MemoryError as error:
        raise ResourceError(f"There is not enough memory to read {tree.origin}.") from error
    splits = np.repeat([part.split for part in layout.parts], counts)
    return Dataset(
        name=name or where or tree.name,
        origin=origin or tree.origin,
        classes=classes,
        images=ImageArray(pixels),
        record_ids=_record_ids(splits),
        labels=labels,
        groups=unknown(len(labels)),
        sources=unknown(len(labels)),
        given_splits=splits,
    )


@dataclass(frozen=True)
class _Files:
    """The files of one layout, wherever they lie."""

    tree: Tree
    where: str
    layout: Layout

    def place(self, file: str) -> str:
        """Return where one of them lies, for people."""
        return self.tree.place(joined(self.where, file))

    def read(self, file: str) -> bytes:
        """Return the bytes of one; no more is read than it may have, and a part of the binary version has all."""
        most = self.layout.most_bytes(file)
        with self.tree.open(joined(self.where, file)) as stream:
            content = stream.read(most + 1)
        exact = self.layout.label_bytes > 0 and file != self.layout.names_file
        if len(content) > most or (exact and len(content) < most):
            size = f"more than {most:,}" if len(content) > most else f"{len(content):,}"
            has = "" if exact else "at most "
            raise DataError(f"{self.place(file)} has {size} bytes; {self.layout.data_set}'s has {has}{most:,}.")
        return content


def _holds(tree: Tree, where: str, layout: Layout) -> bool:
    """Whether two of the layout's files lie there: one alone, such as ``train``, may be anything."""
    if where and where not in tree.folders():
        return False
    return len({*layout.files} & {*tree.files(where)}) >= 2


def _coarse(layout: Layout) -> Layout:
    return replace(
        layout,
        names_file=layout.names_file.replace("fine", "coarse"),
        classes=20,
        label_at=0,
        labels_key=b"coarse_labels",
        names_key=b"coarse_label_names",
    )


def _class_names(files: _Files) -> tuple[str, ...]:
    """Return the class names in the order of the labels."""
    layout = files.layout
    content, place = files.read(layout.names_file), files.place(layout.names_file)
    try:
        if layout.label_bytes:
            names = [line.strip() for line in content.decode("utf-8").splitlines() if line.strip()]
        else:
            stored = _unpickled(place, content, 0)[layout.names_key]
            names = [one.decode("utf-8") if isinstance(one, bytes) else str(one) for one in _list(stored)]
    except (UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{place} does not hold the names of the classes.") from error
    if len(names) != layout.classes:
        raise DataError(f"{place} names {len(names)} classes; {layout.data_set} has {layout.classes}.")
    return tuple(names)


def _read_part(files: _Files, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, 3072) and the labels (n,) of one file."""
    layout, content, place = files.layout, files.read(part.file), files.place(part.file)
    if layout.label_bytes:
        rows = np.frombuffer(content, np.uint8).reshape(part.images, layout.label_bytes + PIXELS)
        planes, labels = rows[:, layout.label_bytes :], rows[:, layout.label_at].astype(np.int64)
    else:
        planes, labels = _pickled_part(place, _unpickled(place, content, part.images), part, layout)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= layout.classes:
        strange = high if high >= layout.classes else low
        raise DataError(f"{place} has the label {strange}; {layout.data_set} has {layout.classes} classes from 0 on.")
    return planes, labels


def _unpickled(place: str, content: bytes, images: int) -> dict[object, object]:
    """Return the dictionary in a file of the python version."""
    try:
        fields = read_pickle(content, most_steps=1_000 + images * STEPS_AN_IMAGE, most_values=images * PIXELS)
    except DataError as error:
        raise DataError(
            f"{place} {error}, so it is not read; the binary version ({LAYOUTS[0].archive}, {LAYOUTS[2].archive}) "
            "needs no pickle."
        ) from error
    if not isinstance(fields, dict):
        raise DataError(f"{place} holds no dictionary.")
    return fields


def _pickled_part(
    place: str, fields: dict[object, object], part: Part, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    planes, stored = fields.get(b"data"), fields.get(layout.labels_key)
    if not isinstance(planes, np.ndarray) or planes.shape != (part.images, PIXELS):
        shape = planes.shape if isinstance(planes, np.ndarray) else "none"
        raise DataError(f"{place}: its images have the shape {shape}, not {(part.images, PIXELS)}.")
    labels = stored if isinstance(stored, list) else []
    if len(labels) != part.images or not all(type(one) is int and abs(one) < 1 << 31 for one in labels):
        key = layout.labels_key.decode()
        raise DataError(f"{place}: {key} are not {part.images:,} whole numbers, one an image.")
    return planes, np.array(labels, np.int64)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _record_ids(splits: np.ndarray) -> np.ndarray:
    """Return ``train/00000`` … ``test/09999``: the same in both versions."""
    counts = {"train": 0, "test": 0}
    ids = []
    for split in splits.tolist():
        ids.append(f"{split}/{counts[split]:05d}")
        counts[split] += 1
    return np.array(ids)
