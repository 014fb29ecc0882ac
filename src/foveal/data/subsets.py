"""Nested subsets of images: each holds the smaller ones, every class by its share, and no unit is torn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def nested_subsets(labels: np.ndarray, units: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Return for each of `shares` (ascending, above 0, up to 1) which rows (N,) bool belong to that subset.

    `labels` (N,) are indices of classes, `units` (N,) numbers of units that may not be torn. A unit goes by its rarest
    class. Of each class the units are shuffled by `seed`, and a subset takes so many from the front that the number of
    images comes nearest to its share, at least one unit; so a larger share always takes what a smaller one took. With
    large units the shares are met only roughly.
    """
    _, numbers = np.unique(units, return_inverse=True)
    present, classes = np.unique(labels, return_inverse=True)
    counts = np.zeros((int(numbers.max()) + 1, len(present)), np.int64)  # images of each class in each unit
    np.add.at(counts, (numbers, classes), 1)
    total = counts.sum(axis=0)
    stratum = np.where(counts > 0, total, total.sum() + 1).argmin(axis=1)  # (units,): the rarest class in it
    lot = np.random.default_rng(seed).permutation(len(counts))
    taken = np.zeros((len(shares), len(counts)), bool)
    for index in range(len(present)):
        queue = lot[stratum[lot] == index]
        if not len(queue):
            continue
        reached = np.cumsum(counts[queue].sum(axis=1))
        for at, share in enumerate(shares):
            front = int(np.abs(reached - share * reached[-1]).argmin()) + 1
            taken[at, queue[:front]] = True
    return [of_unit[numbers] for of_unit in taken]
