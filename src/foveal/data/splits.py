"""Splits that cannot lie: given ones are respected, made ones are stratified, seeded and never tear a group.

The result depends on the images, their labels and the seed alone. Units (groups, and images whose
content is the same) are ordered by the content of their images before any lot is drawn, so another
file order, other file names or another machine give the same split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.data.dataset import CALIBRATION, KNOWN_SPLITS, SPLITS, Dataset
from foveal.errors import DataError, UsageError, listed

MOST_VALIDATION = 5_000
ATTEMPTS = 100  # lots that are drawn until every class is in every split; the first nearly always does
UNPLACED = -1

SplitBy = Literal["group", "image"]


@dataclass(frozen=True, eq=False)
class Split:
    """Which image serves what."""

    assigned: np.ndarray  # (N,) str: of KNOWN_SPLITS
    by: str  # "given", "group" or "image"
    sentences: tuple[str, ...]  # how it was made, for the report

    @property
    def names(self) -> list[str]:
        """Those that every run has, and those others that hold an image."""
        return _names(self.assigned)

    def indices(self, name: str) -> np.ndarray:
        """Return the rows of one split, in order."""
        return np.flatnonzero(self.assigned == name)


def make_split(
    dataset: Dataset,
    *,
    seed: int,
    validation: float,
    test: float,
    split_by: SplitBy,
    calibration: float = 0.0,
    copies: np.ndarray | None = None,
    near: np.ndarray | None = None,
    units: np.ndarray | None = None,
) -> Split:
    """Return the split of `dataset`.

    Where the source gives a test split, it is kept, and only the rest is divided; the same for validation and
    calibration. `validation`, `test` and `calibration`, which may be 0, are shares of the images that are divided;
    validation and calibration take at most 5,000 (beyond that another image hardly sharpens the figure), unless there
    are more classes than that. Among the divided, images with the same content always stay together, also those to
    which `copies` (N,), a hash of what the network sees of each, or `near`, which near duplicates share, gives the
    same value. `units` (N,) are those of `find_units` by group, where they are known already.

    Raises DataError when a class has too few groups to be in every split, when groups that hold
    several classes cannot be divided so, or when a given split lacks a class.
    """
    refuse_shares(validation, test, calibration)
    refuse_partly_given(dataset)
    given = set(dataset.given_splits.tolist())
    asked = {"validation": validation, "test": test, **({CALIBRATION: calibration} if calibration else {})}
    shares = {name: share for name, share in asked.items() if name not in given}
    assigned = np.where(dataset.given_splits == "", "train", dataset.given_splits).astype("<U11")
    if given - {""} and "train" not in given:
        raise DataError(f"{dataset.name} has the splits {', '.join(sorted(given))}, but none to train on.")
    grouped = bool((dataset.groups != "").any())
    if shares:
        by_group = grouped and split_by == "group"
        together = (
            units
            if units is not None and by_group == grouped
            else find_units(dataset, by_group=by_group, copies=copies, near=near)
        )
        _divide(dataset, assigned, together, shares, seed)
    _refuse_absent(dataset, assigned)
    by = "given" if not shares else ("group" if grouped and split_by == "group" else "image")
    return Split(assigned, by, tuple(_sentences(dataset, assigned, shares, seed, split_by)))


def make_folds(dataset: Dataset, units: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the fold (N,), from 1 to `count`, of each image: stratified by class, no unit of `units` (N,) torn.

    Raises DataError when a class has fewer units than there are folds, or no division has all classes in all folds.
    """
    _refuse_few(dataset, units, dataset.labels, count)
    folds = deal_folds(dataset.labels, units, count, seed)
    if folds is None:
        raise DataError(
            f"{dataset.name}: no division into {count} folds was found that has every class in every fold; take fewer."
        )
    return folds + 1


def deal_folds(labels: np.ndarray, units: np.ndarray, count: int, seed: int) -> np.ndarray | None:
    """Return the fold (N,), from 0 on, of each row, or None where not every class is in every one of `count` folds."""
    present, labels = np.unique(labels, return_inverse=True)
    units = np.unique(units, return_inverse=True)[1]
    counts = np.zeros((int(units.max()) + 1, len(present)), np.int64)  # rows of each class in each unit
    np.add.at(counts, (units, labels), 1)
    if ((counts > 0).sum(axis=0) < count).any():
        return None
    total = counts.sum(axis=0)
    wanted = np.stack([np.maximum(_quota(total, 1 / count), 1) for _ in range(count)])  # (folds, classes)
    wanted[-1] = np.maximum(total - wanted[:-1].sum(axis=0), 1)
    for attempt in range(ATTEMPTS):
        place = _deal(counts, wanted, _lot(len(counts), seed, attempt), smallest_first=attempt == 0)
        dealt = np.stack([counts[place == fold].sum(axis=0) for fold in range(count)])
        if (dealt > 0).all():
            folds: np.ndarray = place[units]
            return folds
    return None


def find_units(
    dataset: Dataset, *, by_group: bool, copies: np.ndarray | None = None, near: np.ndarray | None = None
) -> np.ndarray:
    """Return for each image the number of the unit that may not be torn: its group, joined with equal content.

    `near` (N,) is a text that near duplicates share; an empty one joins nothing. Units are numbered in the order of
    the smallest content hash in them.
    """
    columns = [one for one in (copies, near, dataset.groups if by_group else None) if one is not None]
    return joined_units(dataset.scan.digests, columns)


def joined_units(digests: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each row the number of its unit: rows of equal digest, or of an equal text in one of `columns`.

    An empty text joins nothing. Units are numbered in the order of the smallest digest in them.
    """
    _, units = np.unique(digests.astype("S"), return_inverse=True)  # in the order of the digests
    telling = [column for column in columns if column is not digests and (column != "").any()]
    joins = [numbers for numbers in map(_numbered, telling) if _joins_more(numbers, units)]
    if joins:
        units = _connected(units, joins)
    return units


def _numbered(texts: np.ndarray) -> np.ndarray:
    """Return a number for each of `texts` (N,), equal ones alike; every empty text has its own."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(text, row) if text else row for row, text in enumerate(texts.tolist())], np.int64)


def _joins_more(numbers: np.ndarray, units: np.ndarray) -> bool:
    """Whether rows of equal number lie in different units."""
    return bool((units[numbers] != units).any())


def _connected(units: np.ndarray, joins: Sequence[np.ndarray]) -> np.ndarray:
    """Return the units (N,) joined where rows have an equal number in one of `joins`; the smallest unit leads."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    start, end = np.tile(units, len(joins)), np.concatenate([units[numbers] for numbers in joins])
    count = int(units.max()) + 1
    links = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    _, parts = connected_components(links, directed=False)  # (count,)
    lead = np.full(count, count)
    np.minimum.at(lead, parts, np.arange(count))  # part → its smallest unit
    _, joined = np.unique(lead[parts], return_inverse=True)
    whole: np.ndarray = joined[units]
    return whole


def hold_out(labels: np.ndarray, units: np.ndarray, *, share: float, seed: int) -> np.ndarray:
    """Return which rows (N,) bool are held out for validation: whole units, about `share` of each class.

    `labels` (N,) are indices of classes, `units` (N,) numbers of units that may not be torn. A class
    that lies in one unit only stays in training, and so does all of that unit. At most 5,000 rows are
    held out. Raises DataError when that leaves nothing to hold out.
    """
    counts = np.zeros((units.max() + 1, labels.max() + 1), np.int64)  # images of each class in each unit
    np.add.at(counts, (units, labels), 1)
    rare = (counts > 0).sum(axis=0) == 1
    counts[(counts[:, rare] > 0).any(axis=1)] = 0
    counts = counts[:, counts.sum(axis=0) > 0]
    total = counts.sum(axis=0)
    if total.size:
        share = min(share, MOST_VALIDATION / int(total.sum()))
        out = _quota(total, share)
        wanted = np.stack([out, np.maximum(total - out, 1)])  # (validation and train, classes)
        for attempt in range(ATTEMPTS):
            place = _deal(counts, wanted, _lot(len(counts), seed, attempt), smallest_first=attempt == 0)
            dealt = np.stack([counts[place == split].sum(axis=0) for split in range(2)])
            if (dealt > 0).all():
                held: np.ndarray = (place == 0)[units]
                return held
    raise DataError(
        f"Nothing can be held out of these {len(labels):,} images for validation, with images of every class on both "
        f"sides: they are {len(counts):,} groups or different images."
    )


def _divide(dataset: Dataset, assigned: np.ndarray, units: np.ndarray, shares: dict[str, float], seed: int) -> None:
    """Move whole units from train to the splits in `shares`, so that each class gets its share in each."""
    free = assigned == "train"
    _refuse_few(dataset, units[free], dataset.labels[free], 1 + len(shares))
    counts = np.zeros((units.max() + 1, len(dataset.classes)), np.int64)  # images of each class in each unit
    np.add.at(counts, (units[free], dataset.labels[free]), 1)
    total = counts.sum(axis=0)
    most = MOST_VALIDATION / int(total.sum())
    shares = {name: share if name == "test" else min(share, most) for name, share in shares.items()}
    wanted = np.stack([_quota(total, share) for share in shares.values()])  # (splits, classes)
    wanted = np.vstack([wanted, np.maximum(total - wanted.sum(axis=0), 1)])  # the last row is train
    for attempt in range(ATTEMPTS):
        place = _deal(counts, wanted, _lot(len(counts), seed, attempt), smallest_first=attempt == 0)
        dealt = np.stack([counts[place == split].sum(axis=0) for split in range(len(wanted))])
        if (dealt > 0).all():
            assigned[free] = np.array([*shares, "train"])[place][units[free]]
            return
    groups = int((counts.sum(axis=1) > 0).sum())
    raise DataError(
        f"{dataset.name}: every class must be in every split, but no division of the {groups:,} groups was found "
        "that does so: groups that hold several classes leave too little freedom."
    )


def _quota(total: np.ndarray, share: float) -> np.ndarray:
    """Return how many images of each class a split of `share` gets: whole numbers, at least 1, with the right sum.

    The largest remainders are rounded up (Hamilton's method), so that no class is off by one or more.
    """
    exact = total * share
    quota = np.floor(exact)
    up = np.argsort(quota - exact, kind="stable")[: round(float(exact.sum()) - float(quota.sum()))]
    quota[up] += 1
    return np.maximum(quota, 1)


def _lot(count: int, seed: int, attempt: int) -> np.ndarray:
    """Return a permutation of `count` units, the same with every version of every library."""
    start = f"split {seed} {attempt} ".encode()
    keys = b"".join([hashlib.sha256(start + b"%d" % unit).digest() for unit in range(count)])
    words = np.frombuffer(keys, ">u8").reshape(count, 4)  # of a hash, the weightiest first
    return np.lexsort(words.T[::-1])


def _deal(counts: np.ndarray, wanted: np.ndarray, order: np.ndarray, *, smallest_first: bool) -> np.ndarray:
    """Return the split (a row of `wanted`) of each unit; `order` is the lot that decides between equals.

    First every split gets one unit of every class, rare classes first: the smallest, or any by lot.
    Then units of several images are dealt, large ones first, each to where it disturbs the wanted
    numbers least (chi-square); single images fill what is left, exactly.
    """
    splits, classes = wanted.shape
    size = counts.sum(axis=1)
    place = np.full(len(counts), UNPLACED)
    place[size == 0] = splits - 1
    placed = np.zeros_like(wanted)

    def put(unit: int, split: int) -> None:
        place[unit] = split
        placed[split] += counts[unit]

    by_size = order[np.argsort(size[order], kind="stable")] if smallest_first else order
    for label in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        holders = iter(by_size[counts[by_size, label] > 0].tolist())
        for split in range(splits):
            if placed[split, label] == 0:
                unit = next((one for one in holders if place[one] == UNPLACED), None)
                if unit is not None:
                    put(unit, split)
    large = order[(size[order] > 1) & (place[order] == UNPLACED)]
    for unit in large[np.argsort(-size[large], kind="stable")].tolist():
        images = counts[unit]
        disturbance = (images * (images + 2 * (placed - wanted)) / wanted).sum(axis=1)
        put(unit, int(disturbance.argmin()))
    for label in range(classes):
        queue = order[(place[order] == UNPLACED) & (counts[order, label] == 1)]
        for split in range(splits - 1):
            take = max(0, int(wanted[split, label] - placed[split, label]))
            place[queue[:take]] = split
            queue = queue[take:]
        place[queue] = splits - 1
    return place


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


def refuse_shares(validation: float, test: float, calibration: float = 0.0) -> None:
    """Raise UsageError for shares that leave nothing for validation, for the test or for training."""
    if not 0 < validation < 1 or not 0 < test < 1 or not 0 <= calibration < 1 or validation + test + calibration >= 1:
        also = f", and calibration ({calibration})" if calibration else ""
        raise UsageError(
            f"validation ({validation}) and test ({test}) are shares above 0 that{also} leave some for training."
        )


def refuse_partly_given(dataset: Dataset) -> None:
    """Raise DataError where some images have a given split and others none."""
    without = dataset.given_splits == ""
    if without.any() and not without.all():
        rows = dataset.record_ids[without]
        raise DataError(f"{dataset.name}: {len(rows)} images have no split while others have one:\n{listed(rows, 5)}")


def refuse_absent_given(dataset: Dataset) -> None:
    """Raise DataError where a given split lacks a class, as `make_split` would; where some are to be made, do not."""
    given = set(dataset.given_splits.tolist())
    if "" not in given and given >= set(SPLITS):
        _refuse_absent(dataset, dataset.given_splits)


def _refuse_absent(dataset: Dataset, assigned: np.ndarray) -> None:
    absent = absent_classes(dataset, assigned)
    if absent:
        raise DataError(f"{dataset.name}: every class must be in every split:\n{listed(absent)}")


def absent_classes(dataset: Dataset, assigned: np.ndarray, splits: Sequence[str] = SPLITS) -> list[str]:
    """Return, in words, each class that has no image in one of `splits` under the split `assigned` (N,)."""
    return [
        f"{name}: no image in {split}"
        for split in splits
        for index, name in enumerate(dataset.classes)
        if not ((assigned == split) & (dataset.labels == index)).any()
    ]


def _sentences(
    dataset: Dataset, assigned: np.ndarray, shares: dict[str, float], seed: int, split_by: SplitBy
) -> list[str]:
    numbers = ", ".join(f"{int((assigned == name).sum()):,} {name}" for name in _names(assigned))
    made = [name for name in KNOWN_SPLITS if name in shares]
    if not made:
        how = "The source gives the splits"
    elif {"validation", "test"} <= set(made):
        how = f"Split by lot, stratified by class, seed {seed}"
    else:
        drawn = " and ".join(made) + (" was" if len(made) == 1 else " were")
        how = f"The source gives the other splits; {drawn} drawn from train by lot, stratified, seed {seed}"
    return [f"{how}: {numbers} images.", *_about_groups(dataset, assigned, by_image=bool(made) and split_by == "image")]


def _names(assigned: np.ndarray) -> list[str]:
    return [name for name in KNOWN_SPLITS if name in SPLITS or (assigned == name).any()]


def _about_groups(dataset: Dataset, assigned: np.ndarray, *, by_image: bool) -> Iterator[str]:
    known = dataset.groups != ""
    groups = np.unique(dataset.groups[known])
    if not len(groups):
        yield "The source names no groups (patients), so a leak between related images cannot be excluded."
        return
    torn = len(set(zip(dataset.groups[known].tolist(), assigned[known].tolist(), strict=True))) > len(groups)
    if by_image:
        yield (
            "Split by image although groups are known (--split-by image): images of one group can lie on both "
            "sides, and the figures are likely too good."
        )
    elif torn:
        yield "Groups lie in more than one of the given splits, so the figures are likely too good."
    else:
        yield f"No group is torn: {len(groups):,} groups, each in one split."
    if not known.all():
        yield (
            f"{int((~known).sum()):,} images have no group; each counts as its own, and a leak among them "
            "cannot be excluded."
        )
