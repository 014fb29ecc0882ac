"""What weighted images add up to: right answers, losses and rankings, for many sets of weights at once.

A set of weights says how often each unit (a patient, or an image on its own) was drawn. All that a figure needs of
the images is then a sum of weights over images, so a product of a sparse matrix, built once, with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

SMALLEST_PROBABILITY = 1e-9  # probabilities are stored to nine decimals
RUN = 16  # rows that are added up one after the other; the runs of a piece are side by side
ABREAST = 2048  # runs of a piece, times sets of weights: two sums of RUN * ABREAST numbers stay in a core's cache


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of B sets of weights over C classes. NaN where a ranking lacks one of its sides."""

    n: np.ndarray  # (B,): weight of all images
    loss: np.ndarray  # (B,): Σ negative log probability of the true class
    brier: np.ndarray  # (B,): Σ Σ over classes (probability - truth)²
    hits: np.ndarray  # (C, B): weight of the class's images that were answered right
    truths: np.ndarray  # (C, B): weight of the class's images
    answers: np.ndarray  # (C, B): weight of the images that were said to be of the class
    auc: np.ndarray  # (C, B): each class against the rest
    average_precision: np.ndarray  # (C, B)
    auc_micro: np.ndarray  # (1, B): every pair of image and class as one answer

    def first(self, number: int) -> Sums:
        """Return the sums of the first `number` sets of weights."""
        return Sums(**{field.name: getattr(self, field.name)[..., :number] for field in fields(Sums)})

    @staticmethod
    def joined(parts: Sequence[Sums]) -> Sums:
        """Return the sums of all sets of weights in `parts`, in order."""
        names = [field.name for field in fields(Sums)]
        return Sums(**{name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names})


class Tally:
    """Labels (N,) and probabilities (N, C), made ready to be summed under any weights of their `units` (N,).

    `units` are numbers from 0 to `count` - 1. `width` is the number of sets of weights that will be summed at once.
    """

    def __init__(
        self, labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray, count: int, *, width: int
    ) -> None:
        n, classes = probabilities.shape
        predicted, rows = probabilities.argmax(axis=1), np.arange(n)
        of_label = probabilities[rows, labels]
        self.classes, self.count = classes, count
        self.losses = -np.log(np.maximum(of_label, SMALLEST_PROBABILITY))
        self.briers = (probabilities**2).sum(axis=1) - 2 * of_label + 1
        right = np.flatnonzero(predicted == labels)
        row = np.concatenate([np.zeros(n), np.ones(n), np.full(n, 2), 3 + labels[right], 3 + classes + labels,
                              3 + 2 * classes + predicted]).astype(np.int64)  # fmt: skip
        value = np.concatenate([np.ones(n), self.losses, self.briers, np.ones(len(right) + 2 * n)])
        unit = np.concatenate([units, units, units, units[right], units, units])
        order = np.argsort(row, kind="stable")
        self._sums = _matrix(row[order], unit[order], 3 + 3 * classes, count, value[order])
        self._ranked = {
            index: Ranking(is_class, probabilities[:, index], units, count, width=width)
            for index in range(classes)
            if 0 < (is_class := labels == index).sum() < n
        }
        self._micro = None
        if classes > 1:
            truth = np.zeros((n, classes), bool)
            truth[rows, labels] = True
            repeated = np.repeat(units, classes)
            self._micro = Ranking(truth.ravel(), probabilities.ravel(), repeated, count, width=width)

    def sums(self, weights: np.ndarray) -> Sums:
        """Return the sums under `weights` (units, B) float64 whole numbers, B sets of them."""
        C, B = self.classes, weights.shape[1]
        plain = self._sums @ weights  # (3 + 3 C, B)
        n, hits, truths, answers = plain[0], plain[3 : 3 + C], plain[3 + C : 3 + 2 * C], plain[3 + 2 * C :]
        auc, precision = np.full((2, C, B), np.nan)
        for index, ranking in self._ranked.items():
            auc[index], precision[index] = _shares(ranking, weights, truths[index], n - truths[index])
        micro = np.full((1, B), np.nan)
        if self._micro:
            micro[0], _ = _shares(self._micro, weights, n, n * (C - 1))
        return Sums(n, plain[1], plain[2], hits, truths, answers, auc, precision, micro)


def _shares(
    ranking: Ranking, weights: np.ndarray, of_class: np.ndarray, of_rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return area and average precision (B,), NaN where a side has no weight."""
    wrong_pairs, precision = ranking.sums(weights)
    both = (of_class > 0) & (of_rest > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = 1 - wrong_pairs / (of_class * of_rest)
        return np.where(both, auc, np.nan), np.where(both, precision / of_class, np.nan)


@dataclass(frozen=True, eq=False)
class Piece:
    """Some of a ranking's steps, RUN in a run, the runs `across`."""

    counts: Any  # sparse (2 · RUN · across, units): the rest down to this step and from the last one, then the class
    tied_rows: np.ndarray  # (T,): the steps at which images of the rest have the score of the class's images
    tied: Any  # sparse (T, units): those images of the rest
    across: int


class Ranking:
    """The order of `score` (N,), highest first, made ready for weights: one sort, whatever the number of resamples.

    A step is a distinct score that an image of the class has. Area and average precision need the weight of the class
    and of the rest down to each step, so images of the rest between two steps can be added up at once, and those
    below the last are not needed. Step q · RUN + r is row r · across + q, so that adding a row to the next is one long
    sum over all runs and all sets of weights, and only the ends of the runs are left to add up.
    """

    def __init__(self, is_class: np.ndarray, score: np.ndarray, units: np.ndarray, count: int, *, width: int) -> None:
        order = np.argsort(-score, kind="stable")
        ranked, member, unit = score[order], is_class[order], units[order]
        distinct = np.concatenate([[0], np.cumsum(ranked[1:] != ranked[:-1])])  # (N,): which distinct score
        has_class = np.bincount(distinct, weights=member) > 0
        before: np.ndarray = np.cumsum(has_class) - has_class  # steps above a distinct score
        steps = int(has_class.sum())
        step: np.ndarray = before[distinct]  # (N,): an image's step, or the next one below it
        used = step < steps
        step, member, unit, tied = step[used], member[used], unit[used], (has_class[distinct] & ~member)[used]
        parts = -(-steps // (RUN * max(1, ABREAST // width)))
        across = -(-steps // (parts * RUN))
        size = RUN * across
        run, place = np.divmod(step % size, RUN)
        row = place * across + run  # (N,): within its piece
        self.pieces = []
        starts = np.searchsorted(step, np.arange(parts + 1) * size)
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            here = slice(start, end)
            rows, units_here = row[here] + size * member[here], unit[here]
            by_row = np.argsort(rows, kind="stable")
            counts = _matrix(rows[by_row], units_here[by_row], 2 * size, count)
            at = np.flatnonzero(tied[here])
            tied_rows, number = np.unique(row[here][at], return_inverse=True)
            by_row = np.argsort(number, kind="stable")
            ties = _matrix(number[by_row], units_here[at][by_row], len(tied_rows), count)
            self.pieces.append(Piece(counts, tied_rows, ties, across))

    def sums(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for `weights` (units, B) the weight (B,) of pairs in wrong order, and of the class times precision.

        Up to the division by totals these are 1 - area and average precision. Ties count half.
        """
        B = weights.shape[1]
        wrong, precise, above = np.zeros(B), np.zeros(B), np.zeros((2, 1, B))
        for piece in self.pieces:
            down = (piece.counts @ weights).reshape(2, RUN, piece.across, B)
            own = down[1].copy()  # (RUN, across, B): weight of the class at each step
            if len(piece.tied_rows):
                wrong -= (own.reshape(-1, B)[piece.tied_rows] * (piece.tied @ weights)).sum(axis=0) / 2
            for place in range(1, RUN):
                down[:, place] += down[:, place - 1]
            ends = np.cumsum(down[:, -1], axis=1)  # (2, across, B)
            down += np.concatenate([above, above + ends[:, :-1]], axis=1)[:, None]
            above = above + ends[:, -1:]
            rest, same = down  # (RUN, across, B): weight of the rest, and of the class, down to each step
            wrong += _total(own * rest)
            rest += same
            np.maximum(rest, 1, out=rest)  # where nothing was drawn yet, the class was not either: 0 / 1
            same /= rest
            same *= own
            precise += _total(same)
        return wrong, precise


def _total(values: np.ndarray) -> np.ndarray:
    """Return the sum (B,) of `values` (RUN, across, B) over its first two axes."""
    total: np.ndarray = values.sum(axis=0).sum(axis=0)
    return total


def _matrix(row: np.ndarray, column: np.ndarray, rows: int, columns: int, values: np.ndarray | None = None) -> Any:
    """Return the sparse matrix with `values` (or ones) at `row`, in ascending order, and `column`."""
    from scipy.sparse import csr_array

    ends = np.searchsorted(row, np.arange(rows + 1)).astype(np.int32)
    data = np.ones(len(row)) if values is None else values
    return csr_array((data, column.astype(np.int32), ends), shape=(rows, columns))
