"""What the learning curves say: the gap, the trends, where training should have stopped, and what to try next.

Training figures are means over an epoch while the weights moved, with augmentation and dropout at work, so the gap is a
little smaller than it would be for the network as it stood at the end of the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import NormalDist, fmean, stdev
from typing import Any, Literal

from foveal.errors import UsageError
from foveal.training.curve import FLAT_ACCURACY, FLAT_LOSS, LEVEL, Trend, Turn, find_turn, jumps, trend
from foveal.training.history import EpochRow
from foveal.training.reading_words import sentences

LOW_ACCURACY = 0.9  # of training: below it a network has not learnt its images
WORTH_POINTS = 2.0  # a gap that is worth a word, in percentage points
LARGE_POINTS = 5.0  # … that is large by itself; and half an interval that is too wide to choose by
BLOWN_UP = 1.5  # the last training loss as a multiple of the lowest
MANY_JUMPS = 2

Pattern = Literal["diverged", "unstable", "overfitting", "underfitting", "too few epochs", "validation too small"]


@dataclass(frozen=True)
class Gap:
    """How much better training went than validation in one epoch. None where a figure is no number."""

    epoch: int
    points: float | None  # of accuracy, training - validation, in percentage points
    low: float | None  # the 95 % interval of `points`, by the numbers of images alone (Newcombe 1998, method 10)
    high: float | None
    loss: float | None  # validation - training

    @property
    def is_beyond_chance(self) -> bool:
        """Whether so few images would rarely show such a gap if there were none."""
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class SeedSpread:
    """How far runs of one recipe differ by their seed: the validation accuracy of each one's best epoch."""

    accuracies: tuple[float, ...]  # two or more
    mean: float
    deviation_points: float  # standard deviation of single runs, in percentage points

    @property
    def told_apart_points(self) -> float:
        """The difference between two single runs that their seeds alone exceed one time in twenty."""
        from scipy.special import stdtrit

        quantile = float(stdtrit(len(self.accuracies) - 1, (1 + LEVEL) / 2))
        return quantile * math.sqrt(2) * self.deviation_points


@dataclass(frozen=True)
class Reading:
    """What a history says. `sentences` say it in words, with what to try next."""

    stage: str  # that is judged, of a transfer; else empty
    first_epoch: int
    last_epoch: int
    validation_n: int
    stopped_early: bool
    best_epoch: int | None  # the lowest validation loss of the stage; None where it never was a number
    better_before: int | None  # an epoch of an earlier stage with a lower validation loss still
    train_accuracy: float | None  # in the last epoch
    validation_accuracy: tuple[float, float, float] | None  # in the best epoch, with Wilson's interval
    gap_at_best: Gap | None
    gap_at_end: Gap
    trends: Mapping[str, Trend]  # of the four curves, over the last third
    turn: Turn | None
    jumps: tuple[int, ...]  # epochs in which the training loss leapt up
    not_a_number: tuple[int, ...]  # epochs in which a loss was not finite
    rise: float | None  # the last training loss as a multiple of the lowest
    rate_left: float  # the last learning rate as a share of the highest
    falling_throughout: bool  # every epoch had a lower validation loss than the one before
    patterns: tuple[Pattern, ...]
    seeds: SeedSpread | None
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        listed = ("validation_accuracy", "jumps", "not_a_number", "patterns", "sentences")
        plain = asdict(self)
        plain |= {name: list(plain[name]) for name in listed if plain[name] is not None}
        if self.seeds:
            plain["seeds"]["accuracies"] = list(self.seeds.accuracies)
        return plain

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Reading:
        """Return the reading of such an object; KeyError or TypeError where it is none."""
        known: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}
        known["trends"] = {name: Trend(**one) for name, one in value["trends"].items()}
        known["gap_at_end"] = Gap(**value["gap_at_end"])
        known["gap_at_best"] = Gap(**value["gap_at_best"]) if value["gap_at_best"] else None
        known["turn"] = Turn(**value["turn"]) if value["turn"] else None
        if value["seeds"]:
            known["seeds"] = SeedSpread(**{**value["seeds"], "accuracies": tuple(value["seeds"]["accuracies"])})
        return Reading(**known)


def read_curves(
    history: Sequence[EpochRow],
    validation_n: int,
    *,
    stopped_early: bool = False,
    others: Sequence[Sequence[EpochRow]] = (),
) -> Reading:
    """Return what `history`, one epoch or more, says of a training.

    Args:
        history: the rows of history.csv. Of a transfer only the last stage is judged, since each stage trains another
            part of the network at another learning rate.
        validation_n: number of validation images, one or more.
        stopped_early: whether training ended since the validation loss got no better.
        others: histories of the same recipe with other seeds, to see how much of a figure is chance in training.

    Raises:
        UsageError: for no epoch, or no validation image.
    """
    if not history or any(not one for one in others):
        raise UsageError("There is no epoch whose curves could be read.")
    if validation_n < 1:
        raise UsageError(f"Curves are read with the number of validation images, one or more, not {validation_n}.")
    rows = [row for row in history if row.stage == history[-1].stage]
    before = _best([row for row in history if row.stage != history[-1].stage])
    best, end = _best(rows), rows[-1]
    losses = [row.validation_loss for row in rows]
    rates = [row.learning_rate for row in rows]
    reading = Reading(
        stage=end.stage,
        first_epoch=rows[0].epoch,
        last_epoch=end.epoch,
        validation_n=validation_n,
        stopped_early=stopped_early,
        best_epoch=best.epoch if best else None,
        better_before=before.epoch if before and (not best or before.validation_loss < best.validation_loss) else None,
        train_accuracy=end.train_accuracy if math.isfinite(end.train_accuracy) else None,
        validation_accuracy=_accuracy(best, validation_n) if best else None,
        gap_at_best=_gap(best, validation_n) if best else None,
        gap_at_end=_gap(end, validation_n),
        trends=_trends(rows),
        turn=find_turn(losses, [row.validation_accuracy for row in rows], rows[0].epoch),
        jumps=tuple(rows[at].epoch for at in jumps([row.train_loss for row in rows])),
        not_a_number=tuple(row.epoch for row in rows if not math.isfinite(row.train_loss + row.validation_loss)),
        rise=_rise([row.train_loss for row in rows]),
        rate_left=end.learning_rate / max(rates) if max(rates) > 0 else 1.0,
        falling_throughout=len(rows) > 1 and all(b < a for a, b in pairwise(losses)),
        patterns=(),
        seeds=_seeds([history, *others]) if others else None,
        sentences=(),
    )
    reading = replace(reading, patterns=tuple(_patterns(reading)))
    return replace(reading, sentences=tuple(sentences(reading)))


def _best(rows: Sequence[EpochRow]) -> EpochRow | None:
    known = [row for row in rows if math.isfinite(row.validation_loss)]
    return min(known, key=lambda row: row.validation_loss, default=None)


def _trends(rows: Sequence[EpochRow]) -> dict[str, Trend]:
    """Return the trend of each curve; a loss that moves by less than 1 % of itself is flat."""
    found = {}
    for name in ("train_loss", "validation_loss"):
        values = [float(getattr(row, name)) for row in rows]
        found[name] = trend(values, smallest=FLAT_LOSS * abs(values[-1]))
    for name in ("train_accuracy", "validation_accuracy"):
        found[name] = trend([float(getattr(row, name)) for row in rows], smallest=FLAT_ACCURACY)
    return found


def _gap(row: EpochRow, validation_n: int) -> Gap:
    """Return the gap in one epoch, its interval by the numbers of images on both sides."""
    loss = row.validation_loss - row.train_loss
    known_loss = loss if math.isfinite(loss) else None
    train, validation = row.train_accuracy, row.validation_accuracy
    if not math.isfinite(train - validation):
        return Gap(row.epoch, None, None, None, known_loss)
    low, high = _wilson(validation, validation_n)
    train_low, train_high = _wilson(train, row.images) if row.images else (train, train)
    gap = train - validation
    below = math.hypot(train - train_low, high - validation)
    above = math.hypot(train_high - train, validation - low)
    return Gap(row.epoch, 100 * gap, 100 * (gap - below), 100 * (gap + above), known_loss)


def _accuracy(row: EpochRow, validation_n: int) -> tuple[float, float, float] | None:
    share = row.validation_accuracy
    return (share, *_wilson(share, validation_n)) if math.isfinite(share) else None


def _wilson(share: float, trials: int) -> tuple[float, float]:
    """Return Wilson's interval of a share (1927); floors keep training from asking `evaluation` for it."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def _rise(losses: Sequence[float]) -> float | None:
    """Return the last loss as a multiple of the lowest before it, None where it is not above it by much of the first.

    A loss of nearly nothing that doubles is still nearly nothing.
    """
    known = [loss for loss in losses if math.isfinite(loss)]
    if len(known) < 2 or known[-1] - min(known) < abs(known[0]) / 10 or min(known) <= 0:
        return None
    return known[-1] / min(known)


def _seeds(histories: Sequence[Sequence[EpochRow]]) -> SeedSpread | None:
    best = [row for row in map(_best, histories) if row and math.isfinite(row.validation_accuracy)]
    if len(best) < 2:
        return None
    shares = tuple(row.validation_accuracy for row in best)
    return SeedSpread(shares, fmean(shares), 100 * stdev(shares))


def _patterns(seen: Reading) -> Iterator[Pattern]:
    """Yield what the curves look like; several can be true at once, and none need be."""
    gap, trends = seen.gap_at_end, seen.trends
    if seen.not_a_number or (seen.rise or 0) >= BLOWN_UP:
        yield "diverged"
    elif len(seen.jumps) >= MANY_JUMPS:
        yield "unstable"
    large = gap.is_beyond_chance and gap.points is not None and gap.points >= LARGE_POINTS
    overfitting = large or (seen.turn is not None and trends["train_loss"].direction != "rising")
    if overfitting:
        yield "overfitting"
    low = seen.train_accuracy is not None and seen.train_accuracy < LOW_ACCURACY
    if low and not overfitting and seen.last_epoch > seen.first_epoch and not seen.not_a_number:
        yield "underfitting"
    falls = trends["validation_loss"].direction == "falling" or (
        trends["validation_loss"].direction == "unknown" and seen.falling_throughout
    )
    late = (
        seen.best_epoch is not None and seen.last_epoch - seen.best_epoch <= (seen.last_epoch - seen.first_epoch) / 10
    )
    if falls and late and not seen.turn and not seen.stopped_early:
        yield "too few epochs"
    if _is_coarse(seen):
        yield "validation too small"


def _is_coarse(seen: Reading) -> bool:
    """Whether the validation images are too few: for the gap that is seen, or to choose anything by them."""
    gap = seen.gap_at_best
    unclear = gap is not None and gap.points is not None and abs(gap.points) >= WORTH_POINTS
    unclear = unclear and gap is not None and gap.low is not None and gap.low <= 0 <= (gap.high or 0)
    if seen.validation_accuracy is None:
        return unclear
    _, low, high = seen.validation_accuracy
    return unclear or 100 * (high - low) / 2 > LARGE_POINTS
