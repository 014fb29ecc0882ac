"""Splits that cannot lie: given ones are respected, made ones are stratified, seeded and never tear a group.

The result depends on the images, their labels and the seed alone. Units (groups, and images whose
content is the same) are ordered by the content of their images before any lot is drawn, so another
file order, other file names or another machine give the same split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.data.dataset import SPLITS, Dataset
from foveal.errors import DataError, UsageError, listed

MOST_VALIDATION = 5_000

SplitBy = Literal["group", "image"]


@dataclass(frozen=True, eq=False)
class Split:
    """Which image serves what."""

    assigned: np.ndarray  # (N,) str: train, validation or test
    by: str  # "given", "group" or "image"
    sentences: tuple[str, ...]  # how it was made, for the report

    def indices(self, name: str) -> np.ndarray:
        """Return the rows of one split, in order."""
        return np.flatnonzero(self.assigned == name)


def make_split(dataset: Dataset, *, seed: int, validation: float, test: float, split_by: SplitBy) -> Split:
    """Return the split of `dataset`.

    Where the source gives a test split, it is kept, and only the rest is divided; the same for
    validation. `validation` and `test` are shares of all images; validation takes at most 5,000
    (beyond that another image hardly sharpens the figure). Images with the same content always stay together.

    Raises DataError when a class has too few groups to be in every split, or a given split lacks a class.
    """
    if not 0 < validation < 1 or not 0 < test < 1 or validation + test >= 1:
        raise UsageError(
            f"validation ({validation}) and test ({test}) are shares above 0 that leave some for training."
        )
    given = set(dataset.given_splits.tolist())
    if given - {""} and "" in given:
        rows = dataset.record_ids[dataset.given_splits == ""]
        raise DataError(f"{dataset.name}: {len(rows)} images have no split while others have one:\n{listed(rows, 5)}")
    shares = {name: share for name, share in (("validation", validation), ("test", test)) if name not in given}
    assigned = np.where(dataset.given_splits == "", "train", dataset.given_splits).astype("<U10")
    if given - {""} and "train" not in given:
        raise DataError(f"{dataset.name} has the splits {', '.join(sorted(given))}, but none to train on.")
    grouped = bool((dataset.groups != "").any())
    if shares:
        units = _units(dataset, by_group=grouped and split_by == "group")
        _divide(dataset, assigned, units, shares, seed)
    _refuse_absent(dataset, assigned)
    by = "given" if not shares else ("group" if grouped and split_by == "group" else "image")
    return Split(assigned, by, tuple(_sentences(dataset, assigned, shares, seed, split_by)))


def _units(dataset: Dataset, *, by_group: bool) -> np.ndarray:
    """Return for each image the number of the unit that may not be torn: its group, joined with equal content.

    Units are numbered in the order of the smallest content hash in them.
    """
    digests = dataset.scan.digests
    parent = np.arange(len(dataset))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    columns = [digests, dataset.groups] if by_group else [digests]
    for column in columns:
        first: dict[str, int] = {}
        for row, value in enumerate(column.tolist()):
            if value:
                parent[root(row)] = root(first.setdefault(value, row))
    roots = np.array([root(row) for row in range(len(dataset))])
    smallest: dict[int, str] = {}
    for row, digest in zip(roots.tolist(), digests.tolist(), strict=True):
        smallest[row] = min(digest, smallest.get(row, digest))
    number = {row: index for index, row in enumerate(sorted(smallest, key=smallest.__getitem__))}
    return np.array([number[row] for row in roots.tolist()])


def _divide(dataset: Dataset, assigned: np.ndarray, units: np.ndarray, shares: dict[str, float], seed: int) -> None:
    """Move whole units from train to the splits in `shares`, so that each class gets its share in each."""
    free = assigned == "train"
    classes = len(dataset.classes)
    counts = np.zeros((units.max() + 1, classes), np.int64)  # images of each class in each unit
    np.add.at(counts, (units[free], dataset.labels[free]), 1)
    total = counts.sum(axis=0)
    wanted: dict[str, np.ndarray] = {}
    for name, share in shares.items():
        if name == "validation":
            share = min(share, MOST_VALIDATION / max(int(free.sum()), 1))  # noqa: PLW2901
        wanted[name] = np.maximum(np.round(total * share), (total > 0).astype(float))
    wanted["train"] = total - sum(wanted.values())
    _refuse_few(dataset, units[free], dataset.labels[free], 1 + len(shares))
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"split {seed}".encode()).digest()[:8], "big"))
    order = rng.permutation(len(counts))
    size = counts.sum(axis=1)
    place = np.full(len(counts), "train", dtype="<U10")
    placed = {name: np.zeros(classes) for name in wanted}
    large = order[size[order] > 1]
    for unit in large[np.argsort(-size[large], kind="stable")]:  # large units first, single images even out
        best = max(wanted, key=_need(counts[unit], wanted, placed))
        placed[best] += counts[unit]
        place[unit] = best
    single = order[size[order] == 1]
    for label in range(classes):
        queue = single[counts[single, label] == 1]
        for name in shares:
            take = max(0, int(wanted[name][label] - placed[name][label]))
            place[queue[:take]] = name
            queue = queue[take:]
    assigned[free] = place[units[free]]


def _need(
    unit: np.ndarray, wanted: dict[str, np.ndarray], placed: dict[str, np.ndarray]
) -> Callable[[str], tuple[bool, float]]:
    """Return how much a split needs this unit: first whether it lacks a class of it, then by the missing share."""
    has = unit > 0

    def need(name: str) -> tuple[bool, float]:
        missing = (wanted[name] - placed[name])[has]
        lacks = bool((placed[name][has] == 0).any())
        return lacks, float((missing * unit[has]).sum() / np.maximum((wanted[name][has] * unit[has]).sum(), 1))

    return need


def _refuse_few(dataset: Dataset, units: np.ndarray, labels: np.ndarray, splits: int) -> None:
    few = []
    for index, name in enumerate(dataset.classes):
        images = int((labels == index).sum())
        different = len(np.unique(units[labels == index]))
        if different < splits:
            what = f"{images} images" if different == images else f"{images} images in {different} groups or duplicates"
            few.append(f"{name}: {what}")
    if few:
        raise DataError(
            f"{dataset.name}: every class must be in every split, so it needs at least {splits} different images "
            f"(or groups):\n{listed(few)}"
        )


def _refuse_absent(dataset: Dataset, assigned: np.ndarray) -> None:
    absent = [
        f"{name}: no image in {split}"
        for split in SPLITS
        for index, name in enumerate(dataset.classes)
        if not ((assigned == split) & (dataset.labels == index)).any()
    ]
    if absent:
        raise DataError(f"{dataset.name}: every class must be in every split:\n{listed(absent)}")


def _sentences(
    dataset: Dataset, assigned: np.ndarray, shares: dict[str, float], seed: int, split_by: SplitBy
) -> list[str]:
    sizes = {name: int((assigned == name).sum()) for name in SPLITS}
    numbers = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    groups = dataset.groups[dataset.groups != ""]
    made = [name for name in SPLITS if name in shares]
    if not made:
        sentences = [f"The source gives the splits: {numbers} images."]
    elif len(made) == 2:
        sentences = [f"Split by lot, stratified by class, seed {seed}: {numbers} images."]
    else:
        sentences = [
            f"The source gives the other splits; {made[0]} was drawn from train by lot, stratified, seed {seed}: {numbers} images."
        ]
    if not len(groups):
        sentences.append("The source names no groups (patients), so a leak between related images cannot be excluded.")
        return sentences
    unknown = len(dataset) - len(groups)
    if made and split_by == "image":
        sentences.append(
            "Split by image although groups are known (--split-by image): images of one group can lie on both "
            "sides, and the figures are likely too good."
        )
    elif made:
        sentences.append(f"No group is torn: {len(np.unique(groups)):,} groups, each in one split.")
    if unknown:
        sentences.append(
            f"{unknown:,} images have no group; each counts as its own, and a leak among them cannot be excluded."
        )
    return sentences
