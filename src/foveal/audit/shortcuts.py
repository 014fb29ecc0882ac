"""Shortcuts: how well the label is told by what is not the subject, each kind of it alone.

For each kind (file size, image size, the border, …) a linear classifier is trained and asked crosswise, no group torn
(ridge regression on one-hot labels; single numbers are cut into their quantiles first, so that a band of values can
tell as well as a high one). What counts is the area under the ROC curve of each class against the others, of answers
to images that were not learned from, beside the same with the labels shuffled among the images: chance, with as many
features, as few images and as many classes to choose the best from. Intervals: bootstrap over groups.

Sources: DeGrave, Janizek, Lee, "AI for radiographic COVID-19 detection selects shortcuts over signal", 2021; Geirhos et
al., "Shortcut learning in deep neural networks", 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.audit.finding import Finding
from foveal.audit.looks import CELLS, SMALL, FileFacts, Looks
from foveal.data.dataset import Dataset
from foveal.data.splits import deal_folds

SHORTCUT = "shortcut"
FOLDS = 5
SHUFFLES = 40
RESAMPLES = 300
BINS = 12  # quantiles of a single number
COMPONENTS = 40  # of pixels
RIDGE = 1e-2  # times n, on features of deviation one
BORDER = 3  # of 32 pixels
LEAST_AUC = 0.8  # from which on a kind is worth a finding: what surrounds a subject may tell it honestly, too
MOST_IMAGES = 20_000  # asked; more would not change the answer


@dataclass(frozen=True)
class Told:
    """How well one kind of thing tells the classes apart."""

    kind: str
    label: str  # the class that it tells best
    auc: float  # of that class against the others
    low: float  # 95 % interval
    high: float
    chance: float  # what the best class reaches with shuffled labels in 39 of 40 cases
    macro_auc: float  # mean over the classes
    n: int

    @property
    def is_told(self) -> bool:
        """Whether this is more than chance."""
        return self.low > self.chance

    @property
    def is_shortcut(self) -> bool:
        """Whether this is more than chance, and enough to be learned instead of the subject."""
        return self.is_told and self.low > LEAST_AUC

    @property
    def sentence(self) -> str:
        """What was found, in one line."""
        tells = "tells" if self.is_told else "does not tell"
        return (
            f"{self.kind}: {tells} {self.label} from the others, AUC {self.auc:.3f} "
            f"({self.low:.3f} to {self.high:.3f}; shuffled labels up to {self.chance:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what audit.json holds of it."""
        return {**asdict(self), "is_shortcut": self.is_shortcut}


def kinds_of(dataset: Dataset, looks: Looks, facts: FileFacts | None) -> dict[str, np.ndarray]:
    """Return kind → features (N, d) of what is not the subject; kinds that are the same for all images are left out."""
    scan = dataset.scan
    heights, widths = scan.heights.astype(float), scan.widths.astype(float)
    thumbnails = looks.thumbnails
    kinds: dict[str, np.ndarray] = {}
    if facts is not None:
        kinds["file size"] = binned(facts.bytes)
        kinds["file format"] = one_hot(facts.format)
        kinds["colour mode"] = one_hot(facts.mode)
        kinds["EXIF (camera, software)"] = one_hot(facts.exif)
    else:
        kinds["colour mode"] = one_hot(scan.channels.astype(str))
    kinds["image size"] = np.hstack([binned(heights), binned(widths)])
    kinds["aspect ratio"] = binned(widths / np.maximum(heights, 1))
    bright, contrast = thumbnails.mean(axis=(1, 2, 3)), thumbnails.std(axis=(1, 2, 3))
    kinds["mean brightness and contrast"] = np.hstack([binned(bright), binned(contrast)])
    kinds["border pixels"] = thumbnails[:, border_mask()].reshape(len(thumbnails), -1)
    kinds["everything but the centre"] = thumbnails[:, ~centre_mask()].reshape(len(thumbnails), -1)
    kinds["bright marks"] = np.hstack([binned(looks.marks[:, cell]) for cell in range(CELLS**2)])
    kinds["source"] = one_hot(dataset.sources)
    return {kind: values for kind, values in kinds.items() if values.shape[1] and (values.std(axis=0) > 0).any()}


def border_mask() -> np.ndarray:
    """Return which pixels (32, 32) of a thumbnail are its border."""
    mask = np.ones((SMALL, SMALL), bool)
    mask[BORDER:-BORDER, BORDER:-BORDER] = False
    return mask


def centre_mask() -> np.ndarray:
    """Return which pixels (32, 32) of a thumbnail lie in the ellipse that covers 60 % of it: where a subject is."""
    y, x = (np.indices((SMALL, SMALL)) + 0.5) / SMALL * 2 - 1
    mask: np.ndarray = x**2 + y**2 < 4 * 0.6 / np.pi
    return mask


def binned(values: np.ndarray) -> np.ndarray:
    """Return values (N,) as indicators: of each that many rows share, and of the quantiles of the others."""
    different, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    common = counts * BINS >= len(values)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    places = np.searchsorted(edges, different, side="left")
    places[common] = BINS + np.arange(int(common.sum()))
    return one_hot(places[numbers])


def one_hot(values: np.ndarray) -> np.ndarray:
    """Return an indicator column for each different value; rare ones, of fewer than three rows, share one."""
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts >= 3)
    columns: np.ndarray = (numbers[:, None] == kept[None]).astype(np.float32)
    return columns if len(kept) < len(counts) else columns[:, :-1] if columns.shape[1] > 1 else columns[:, :0]


def shortcuts(
    dataset: Dataset, kinds: Mapping[str, np.ndarray], units: np.ndarray, folds: np.ndarray | None, seed: int = 0
) -> list[Told]:
    """Return how well each of `kinds` tells the classes of `dataset` apart.

    `units` (N,) are what may not be torn, `folds` (N,) those of `crossed`; nothing is returned without.
    """
    if folds is None:
        return []
    labels = dataset.labels
    chosen = np.arange(len(labels))
    if len(chosen) > MOST_IMAGES:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:MOST_IMAGES])
    return [
        _told(kind, values[chosen], labels[chosen], units[chosen], folds[chosen], dataset.classes, seed)
        for kind, values in kinds.items()
    ]


def crossed(labels: np.ndarray, units: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Return the fold (N,) in which each row is asked: stratified, no unit torn; None where a class has too few."""
    return deal_folds(labels, units, FOLDS, seed)


def _told(
    kind: str,
    values: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    folds: np.ndarray,
    classes: tuple[str, ...],
    seed: int,
) -> Told:
    chance = np.random.default_rng(seed)
    present = np.unique(labels)
    truth = (labels[:, None] == present[None]).astype(np.float64)  # (N, classes)
    shuffled = [truth[_shuffled_rows(units, chance)] for _ in range(SHUFFLES)]
    scores = _asked_crosswise(reduced(values), np.hstack([truth, *shuffled]), folds)  # (N, classes · (1 + shuffles))
    width = len(present)
    aucs = np.array([auc(scores[:, at], truth[:, at] > 0) for at in range(width)])
    best = int(aucs.argmax())
    by_chance = [
        max(auc(scores[:, width * (turn + 1) + at], shuffled[turn][:, at] > 0) for at in range(width))
        for turn in range(SHUFFLES)
    ]
    low, high = interval(scores[:, best], truth[:, best] > 0, units, chance)
    return Told(
        kind, classes[int(present[best])], float(aucs[best]), low, high, float(np.quantile(by_chance, 0.975)),
        float(aucs.mean()), len(labels),
    )  # fmt: skip


def _shuffled_rows(units: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Return a permutation of rows that puts the units into another order, each as a whole."""
    _, numbers = np.unique(units, return_inverse=True)
    order = chance.permutation(numbers.max() + 1)
    shuffled = np.empty(len(units), np.int64)
    shuffled[np.argsort(numbers, kind="stable")] = np.argsort(order[numbers], kind="stable")
    return shuffled


def reduced(values: np.ndarray, most: int = COMPONENTS) -> np.ndarray:
    """Return features (N, `most`) in place of many: their principal components, each of deviation one."""
    centred = values.astype(np.float64) - values.mean(axis=0)
    if centred.shape[1] > most:
        from scipy.linalg import eigh

        width = centred.shape[1]
        _, vectors = eigh(centred.T @ centred, subset_by_index=[width - most, width - 1])
        centred = centred @ vectors
    deviation = centred.std(axis=0)
    kept: np.ndarray = centred[:, deviation > 1e-9] / deviation[deviation > 1e-9]
    return kept


def _asked_crosswise(features: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the answers (N, targets) of ridge regressions to rows that they have not learned from."""
    design = np.hstack([features, np.ones((len(features), 1))])
    scores = np.zeros(targets.shape)
    for fold in range(FOLDS):
        learned, asked = design[folds != fold], design[folds == fold]
        penalty = RIDGE * len(learned) * np.eye(design.shape[1])
        penalty[-1, -1] = 1e-9
        weights = np.linalg.solve(learned.T @ learned + penalty, learned.T @ targets[folds != fold])
        scores[folds == fold] = asked @ weights
    return scores


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a true row's score is above a false one's, ties counting half."""
    if truth.all() or not truth.any():
        return 0.5
    return float(_areas(scores, truth, np.ones((1, len(scores))))[0])


def _areas(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve for each of some `weights` (T, N) of the rows: (T,)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)  # of rows that tie
    weights, truth = weights[:, order], truth[order]
    positive = np.add.reduceat(weights * truth, starts, axis=1)
    negative = np.add.reduceat(weights * ~truth, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2  # ties count half
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    areas: np.ndarray = (positive * below).sum(axis=1) / np.maximum(pairs, 1)
    return areas


def interval(
    scores: np.ndarray, truth: np.ndarray, units: np.ndarray, chance: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of the AUC, by bootstrap over units, those with true rows and those without apart."""
    _, numbers = np.unique(units, return_inverse=True)
    holding = np.zeros(int(numbers.max()) + 1, bool)
    holding[numbers[truth]] = True
    if not holding.any() or holding.all():
        return 0.0, 1.0
    drawn = np.zeros((RESAMPLES, len(holding)))
    for kind in (holding, ~holding):
        drawn[:, kind] = chance.multinomial(int(kind.sum()), np.full(int(kind.sum()), 1 / kind.sum()), RESAMPLES)
    areas = _areas(scores, truth, drawn[:, numbers])  # (resamples, N): how often each row was drawn
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)


def shortcut_finding(told: list[Told]) -> list[Finding]:
    """Return the finding of the kinds that are shortcuts, if any."""
    found = sorted((one for one in told if one.is_shortcut), key=lambda one: -one.auc)
    if not found:
        return []
    first = found[0]
    others = f", and {len(found) - 1} more" if len(found) > 1 else ""
    sentence = (
        f"The class can be told without the subject: {first.label} by the {first.kind} alone (AUC {first.auc:.3f}, 95% "
        f"interval {first.low:.3f} to {first.high:.3f}, shuffled labels up to {first.chance:.3f}, n {first.n:,})"
        f"{others}. Figures on such images do not show that a classifier has learned the subject."
    )
    return [Finding(SHORTCUT, "warn", sentence, len(found), tuple(one.sentence for one in found))]
