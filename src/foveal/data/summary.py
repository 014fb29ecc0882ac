"""A dataset in numbers: its classes, splits, groups, sources, and what its images are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foveal.data.dataset import KNOWN_SPLITS, Dataset
from foveal.data.images import ImageArray, Scan

UNLABELLED = "(no label)"


@dataclass(frozen=True)
class ClassCounts:
    """How many images one class has: in all, in each given split, from each source; and from how many groups."""

    name: str
    images: int
    splits: dict[str, int]
    sources: dict[str, int]
    groups: int


@dataclass(frozen=True)
class Summary:
    """What can be said of a dataset without judging it. Empty mappings mean that the source names none."""

    name: str
    origin: str
    images: int
    classes: tuple[ClassCounts, ...]
    splits: dict[str, int]  # given split → images
    sources: dict[str, int]  # source → images, the most frequent first
    groups: int
    ungrouped: int  # images without a group, where others have one
    sizes: str  # in words; empty where the images were not read
    channels: str
    unreadable: tuple[tuple[str, str], ...]  # (record, reason)
    judged_by: str = ""  # what "none" is said by, where not every image was decoded

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what is said beside the table of classes: (what, in words)."""
        if self.sizes:
            yield "sizes", self.sizes
        if self.channels:
            yield "channels", self.channels
        yield "splits", _listed(self.splits) or "none given"
        groups = f"{self.groups:,}" + (f", and {self.ungrouped:,} images without" if self.ungrouped else "")
        yield "groups", groups if self.groups else "none named"
        yield "sources", _listed(self.sources) or "none named"
        if self.sizes:
            yield "unreadable", f"{len(self.unreadable):,}" if self.unreadable else f"none{self.judged_by}"


def summarise(dataset: Dataset, scan: Scan | None) -> Summary:
    """Return `dataset` in numbers; what its images are only where their `scan` is given."""
    grouped = dataset.groups != ""
    names = [*enumerate(dataset.classes), *([(-1, UNLABELLED)] if (dataset.labels < 0).any() else [])]
    unreadable = () if scan is None else tuple(
        (str(dataset.record_ids[row]), reason) for row, reason in sorted(scan.unreadable.items())
    )  # fmt: skip
    return Summary(
        name=dataset.name,
        origin=dataset.origin,
        images=len(dataset),
        classes=tuple(_class_counts(dataset, name, dataset.labels == label) for label, name in names),
        splits=_in_order(_counts(dataset.given_splits)),
        sources=_counts(dataset.sources),
        groups=len(np.unique(dataset.groups[grouped])),
        ungrouped=int((~grouped).sum()) if grouped.any() else 0,
        sizes="" if scan is None else sizes_in_words(scan.heights, scan.widths),
        channels="" if scan is None else _channels_in_words(scan),
        unreadable=unreadable,
        judged_by="" if isinstance(dataset.images, ImageArray) else ", judging by the headers of the files",
    )


def sizes_in_words(heights: np.ndarray, widths: np.ndarray) -> str:
    """Return the sizes of images, height first; a height of 0 is an image that could not be read."""
    readable = heights > 0
    sizes = np.unique(np.stack([heights[readable], widths[readable]], axis=1), axis=0)
    if not len(sizes):
        return "unknown: no image can be read"
    by_area = sizes[np.argsort(sizes[:, 0].astype(np.int64) * sizes[:, 1], kind="stable")].tolist()
    low, high = (f"{height}×{width}" for height, width in (by_area[0], by_area[-1]))
    if len(sizes) == 1:
        return f"{low} (height × width)"
    return f"{low} to {high} (height × width), {len(sizes):,} different"


def _class_counts(dataset: Dataset, name: str, mine: np.ndarray) -> ClassCounts:
    groups = dataset.groups[mine]
    return ClassCounts(
        name,
        int(mine.sum()),
        _in_order(_counts(dataset.given_splits[mine])),
        _counts(dataset.sources[mine]),
        len(np.unique(groups[groups != ""])),
    )


def _counts(column: np.ndarray) -> dict[str, int]:
    """Return value → rows, the most frequent first; nothing for a column of which nothing is known."""
    values, counts = np.unique(column, return_counts=True)
    found = sorted(zip(values.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return {} if [value for value, _ in found] in ([], [""]) else {value or "(unknown)": n for value, n in found}


def _in_order(splits: dict[str, int]) -> dict[str, int]:
    return {name: splits[name] for name in sorted(splits, key=lambda one: (*KNOWN_SPLITS, one).index(one))}


def _channels_in_words(scan: Scan) -> str:
    readable = scan.heights > 0
    kinds = {"grey": int((scan.channels[readable] == 1).sum()), "colour": int((scan.channels[readable] == 3).sum())}
    present = {kind: count for kind, count in kinds.items() if count}
    return next(iter(present), "") if len(present) < 2 else _listed(present)


def _listed(counts: dict[str, int], most: int = 6) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f", and {len(counts) - most:,} more" if len(counts) > most else "")
