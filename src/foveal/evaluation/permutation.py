"""Exchange of the slices among units of one class: what gap in accuracy chance alone would make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CELLS_AT_ONCE = 2**21  # parts times permutations: 16 MiB


@dataclass(frozen=True, eq=False)
class Parts:
    """The images of one unit with one value, which are exchanged together. Sorted by class."""

    codes: np.ndarray  # (P,): which slice, from 0, each used
    sizes: np.ndarray  # (P,): images
    hits: np.ndarray  # (P,): right answers
    strata: np.ndarray  # (P,): the most frequent class of the unit's images there, the first of equals
    torn: bool  # a unit has images in several slices

    @staticmethod
    def of(codes: np.ndarray, units: np.ndarray, labels: np.ndarray, right: np.ndarray) -> Parts:
        """Return the parts of images: `codes`, `units` and `labels` (N,) int, `right` (N,) bool."""
        _, codes = np.unique(codes, return_inverse=True)
        pairs, number = np.unique(np.column_stack([units, codes]), axis=0, return_inverse=True)
        count, classes = len(pairs), int(labels.max()) + 1
        cells, images = np.unique(number * classes + labels, return_counts=True)
        part, label = np.divmod(cells, classes)
        best = np.lexsort([label, -images, part])
        strata = label[best][np.unique(part[best], return_index=True)[1]]
        sizes, hits = np.bincount(number), np.bincount(number, weights=right)
        torn = len(np.unique(units)) < count
        order = np.lexsort([hits, sizes, pairs[:, 1], strata])  # an order that no name or place decides
        return Parts(pairs[order, 1], sizes[order], hits[order], strata[order], torn)

    def gaps(self, permutations: int, seed: int) -> np.ndarray:
        """Return the gap (permutations,) between the best and the worst slice, values exchanged within each class."""
        rng = np.random.default_rng(seed)
        ends = np.flatnonzero(np.diff(self.strata, append=-1)) + 1
        at_once = max(1, CELLS_AT_ONCE // len(self.codes))
        gaps = []
        for start in range(0, permutations, at_once):
            drawn = np.tile(self.codes, (min(at_once, permutations - start), 1))  # (B, P)
            for first, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
                drawn[:, first:end] = rng.permuted(drawn[:, first:end], axis=1)
            gaps.append(self._gap_of(drawn))
        return np.concatenate(gaps)

    @property
    def exchangeable(self) -> bool:
        """Whether any class has images in two slices: where none has, there is nothing to exchange."""
        pairs = np.unique(np.column_stack([self.strata, self.codes]), axis=0)
        return bool((np.bincount(pairs[:, 0]) > 1).any())

    def observed(self) -> float:
        """Return the gap as it is."""
        return float(self._gap_of(self.codes[None])[0])

    def _gap_of(self, codes: np.ndarray) -> np.ndarray:
        """Return the gaps (B,) of the parts under `codes` (B, P)."""
        slices = int(self.codes.max()) + 1
        cells = (codes + slices * np.arange(len(codes))[:, None]).ravel()
        hits, sizes = (
            np.bincount(cells, np.tile(of_part, len(codes))).reshape(-1, slices) for of_part in (self.hits, self.sizes)
        )
        accuracies = hits / sizes  # (B, slices): as many parts in each as before, so none is empty
        gaps: np.ndarray = accuracies.max(axis=1) - accuracies.min(axis=1)
        return gaps
