"""The dataset: the records read from a source, column by column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from foveal.data.images import Images, Scan
from foveal.errors import DataError, listed
from foveal.progress import Progress

SPLITS = ("train", "validation", "test")  # which every run has
CALIBRATION = "calibration"  # which it may have: held back for prediction sets and the out-of-domain gate
KNOWN_SPLITS = (*SPLITS, CALIBRATION)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels and, where the source says them, groups, sources and splits.

    Row i of every column speaks of image i. Empty strings in `groups`, `sources` and `given_splits`
    mean *unknown*; a column of which nothing is known is all empty.
    """

    name: str
    origin: str  # what `foveal train` was given, to find the data again; empty for arrays
    classes: tuple[str, ...]
    images: Images
    record_ids: np.ndarray  # (N,) str, unique
    labels: np.ndarray  # (N,) int64, index into classes; -1 where unlabelled
    groups: np.ndarray  # (N,) str: patient or other unit that must not be torn apart
    sources: np.ndarray  # (N,) str: hospital, device, collection
    given_splits: np.ndarray  # (N,) str: of KNOWN_SPLITS, or empty
    notes: tuple[str, ...] = ()  # what the source did to the values by a documented rule, in sentences
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)  # (N,) str each: what else slices are made of

    def __post_init__(self) -> None:
        count = len(self.images)
        columns = ("record_ids", "labels", "groups", "sources", "given_splits")
        uneven = [name for name in columns if len(getattr(self, name)) != count]
        uneven += [name for name, values in self.columns.items() if len(values) != count]
        if uneven:
            raise DataError(f"{self.name}: {count} images, but {', '.join(uneven)} of another length.")
        if len(set(self.record_ids.tolist())) != count:
            ids, counts = np.unique(self.record_ids, return_counts=True)
            raise DataError(f"{self.name}: these records appear more than once:\n{listed(ids[counts > 1])}")
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name}: a class is named twice: {', '.join(self.classes)}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        classes = ", ".join(self.classes[:6]) + (", …" if len(self.classes) > 6 else "")
        return f"Dataset({self.name!r}: {len(self):,} images, {len(self.classes)} classes: {classes})"

    def _repr_html_(self) -> str:
        from foveal.data.contact_sheet import notebook_card

        return notebook_card(self)

    @cached_property
    def scan(self) -> Scan:
        """What every image is (hash, size, grey or colour), read once and without a display."""
        return self.scanned(Progress(silent=True))

    def scanned(self, progress: Progress) -> Scan:
        """Return `scan`, showing the progress of the first reading."""
        if "scan" not in self.__dict__:
            self.__dict__["scan"] = self.images.scan(progress)
        scan: Scan = self.__dict__["scan"]
        return scan

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over every image's content, label, group, source and given split, whatever their order."""
        names = np.array([*self.classes, ""])  # index -1 is the empty name
        columns = (names[self.labels], self.groups, self.sources, self.given_splits)
        digests = self.scan.digests.astype("S")
        order = np.argsort(digests, kind="stable")
        if (digests[order[1:]] == digests[order[:-1]]).any():  # copies: the other columns decide
            order = np.lexsort((*columns[::-1], digests))
        content = hashlib.sha256(digests[order].tobytes())
        for column in columns:
            values, numbers = np.unique(column, return_inverse=True)
            content.update(json.dumps(values.tolist()).encode())
            content.update(numbers[order].astype("<u4").tobytes())
        return content.hexdigest()

    def take(self, indices: np.ndarray) -> Dataset:
        """Return the dataset of the records at `indices`, in that order, with the same classes."""
        taken = Dataset(
            self.name,
            self.origin,
            self.classes,
            self.images.take(indices),
            self.record_ids[indices],
            self.labels[indices],
            self.groups[indices],
            self.sources[indices],
            self.given_splits[indices],
            self.notes,
            {name: values[indices] for name, values in self.columns.items()},
        )
        if "scan" in self.__dict__:
            old = self.scan
            kept = {int(row): i for i, row in enumerate(indices)}
            unreadable = {kept[i]: why for i, why in old.unreadable.items() if i in kept}
            taken.__dict__["scan"] = Scan(
                old.digests[indices], old.heights[indices], old.widths[indices], old.channels[indices], unreadable
            )
        return taken

    def with_splits(self, given_splits: np.ndarray) -> Dataset:
        """Return the same images with other given splits (N,), and with what was scanned of them."""
        return self.described_anew(replace(self, given_splits=given_splits))

    def described_anew(self, other: Dataset) -> Dataset:
        """Return `other`, which describes the same images in the same order, with what was scanned of them here."""
        if "scan" in self.__dict__:
            other.__dict__["scan"] = self.scan
        return other

    def class_counts(self) -> dict[str, int]:
        """Return class → number of images."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


def unknown(count: int) -> np.ndarray:
    """Return a column of which nothing is known."""
    return np.zeros(count, dtype="<U1")
