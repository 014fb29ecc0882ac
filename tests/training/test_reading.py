"""What is read from learning curves: each pattern from a history made for it, and nothing surer than its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import UsageError
from foveal.training.curve import find_turn, jumps, noise, theil_sen, trend
from foveal.training.history import EpochRow
from foveal.training.reading import Reading, read_curves


def history(
    train: Sequence[float],
    validation: Sequence[float],
    train_accuracy: Sequence[float] | float = 0.97,
    validation_accuracy: Sequence[float] | float = 0.96,
    *,
    stage: str = "",
    first: int = 1,
    rates: Sequence[float] | float = 0.01,
    images: int = 1000,
) -> list[EpochRow]:
    count = len(train)
    columns = [np.broadcast_to(one, count).tolist() for one in (train_accuracy, validation_accuracy, rates)]
    return [
        EpochRow(first + at, train[at], a, validation[at], v, rate, 1.0, 100.0, 0, images, stage)
        for at, (a, v, rate) in enumerate(zip(*columns, strict=True))
    ]


EPOCHS = np.arange(1, 31)


def noisy(course: np.ndarray, size: float, seed: int = 0) -> list[float]:
    return (course + np.random.default_rng(seed).normal(0, size, len(course))).tolist()


OVERFITTED = history(
    noisy(np.exp(-EPOCHS / 5), 0.002),
    noisy(0.5 + 0.001 * (EPOCHS - 8) ** 2, 0.004),
    1 - np.exp(-EPOCHS / 4) / 2,
    noisy(np.full(30, 0.85), 0.002),
)


def said(seen: Reading) -> str:
    return " ".join(seen.sentences)


def test_overfitting_is_told_by_gap_and_turn():
    seen = read_curves(OVERFITTED, 1000)
    assert seen.patterns == ("overfitting",)
    assert seen.turn is not None and 6 <= seen.turn.epoch <= 10
    assert seen.turn.rise == pytest.approx(0.001 * (29 - 8) ** 2, abs=0.05)
    assert not seen.turn.accuracy_agrees and "confidence in wrong answers" in said(seen)
    assert seen.trends["validation_loss"].direction == "rising"
    assert seen.trends["train_loss"].direction == "falling"
    assert seen.gap_at_end.points == pytest.approx(15, abs=0.6) and "--augment" in said(seen)


def test_accuracy_that_falls_with_the_turn_agrees():
    falling = noisy(0.9 - 0.003 * np.maximum(EPOCHS - 8, 0), 0.002)
    rows = history([row.train_loss for row in OVERFITTED], [row.validation_loss for row in OVERFITTED], 0.99, falling)
    seen = read_curves(rows, 1000)
    assert seen.turn is not None and seen.turn.accuracy_agrees
    assert "has fallen with it" in said(seen)


def test_a_network_that_still_learns_wants_more_epochs():
    course = 2 * np.exp(-EPOCHS / 20)
    rows = history(noisy(course, 0.005), noisy(course + 0.05, 0.005), 0.4 + EPOCHS / 100, 0.4 + EPOCHS / 100)
    seen = read_curves(rows, 1000)
    assert set(seen.patterns) == {"underfitting", "too few epochs"}
    fall = seen.trends["validation_loss"]
    assert fall.direction == "falling" and fall.low < fall.slope < fall.high < 0
    assert fall.low <= -2 / 20 * math.exp(-25 / 20) <= fall.high  # the true slope in the middle of the last third
    assert "more epochs may help" in said(seen) and "still rising" in said(seen)
    assert "learning rate coming down" not in said(seen)
    annealed = history(course.tolist(), course.tolist(), 0.95, 0.95, rates=np.linspace(0.01, 0, 30))
    assert "learning rate coming down" in said(read_curves(annealed, 1000))


def test_a_network_that_cannot_learn_is_told_from_one_that_still_does():
    flat = noisy(np.full(30, 1.4), 0.01)
    seen = read_curves(history(flat, flat, noisy(np.full(30, 0.5), 0.003), 0.5), 1000)
    assert seen.patterns == ("underfitting",)
    assert "larger or pretrained network" in said(seen) and "more epochs" not in said(seen)


def test_leaps_and_divergence_point_to_the_learning_rate():
    course = np.exp(-EPOCHS / 10)
    spiked = course.copy()
    spiked[[11, 20]] *= 3
    seen = read_curves(history(spiked.tolist(), (course + 0.02).tolist()), 1000)
    assert "unstable" in seen.patterns and seen.jumps == (12, 21)
    assert "epochs 12, 21" in said(seen) and "smaller learning rate" in said(seen)
    blown = np.where(EPOCHS < 20, course, course + 0.1 * (EPOCHS - 19))
    seen = read_curves(history(blown.tolist(), (blown + 0.02).tolist()), 1000)
    assert "diverged" in seen.patterns and "times its lowest value" in said(seen)


def test_losses_that_are_no_numbers():
    nan = math.nan
    seen = read_curves(history([1.0, 0.8, nan], [1.0, 0.9, nan], [0.5, 0.6, nan], [0.5, 0.6, nan]), 100)
    assert seen.patterns[0] == "diverged" and seen.not_a_number == (3,) and seen.best_epoch == 2
    assert seen.gap_at_end.points is None and seen.train_accuracy is None
    assert "NaN" not in json.dumps(seen.to_dict(), allow_nan=False)
    never = read_curves(history([nan], [math.inf], nan, nan), 100)
    assert never.best_epoch is None and never.gap_at_best is None and never.validation_accuracy is None


def test_a_gap_that_few_images_show_by_chance_is_called_that():
    rows = history([0.1] * 10, [0.12] * 10, 0.96, 0.93)
    few, many = read_curves(rows, 120), read_curves(rows, 20_000)
    assert "within what 120 validation images show by chance" in said(few)
    assert "validation too small" in few.patterns and not few.gap_at_best.is_beyond_chance
    assert many.gap_at_best.is_beyond_chance and "by chance" not in said(many)


def test_the_interval_of_the_gap_is_newcombe():
    """Newcombe (1998), table II: 56/70 against 48/80, method 10: 0.0524 to 0.3339."""
    row = history([0.1], [0.1], 56 / 70, 48 / 80, images=70)
    gap = read_curves(row, 80).gap_at_end
    assert (gap.points, gap.low, gap.high) == pytest.approx((20.0, 5.24, 33.39), abs=0.005)


def test_one_epoch_two_epochs():
    one = read_curves(history([1.0], [1.0], 0.95, 0.95), 5000)
    assert one.patterns == () and "One epoch shows no trend" in said(one)
    assert one.trends["validation_loss"].direction == "unknown" and one.turn is None
    two = read_curves(history([1.0, 0.5], [1.0, 0.6], 0.95, 0.95), 5000)
    assert two.patterns == ("too few epochs",) and "in every one of 2 epochs" in said(two)
    assert read_curves(history([1.0, 0.5], [1.0, 1.2], 0.95, 0.95), 5000).patterns == ()


def test_of_a_transfer_the_last_stage_is_judged():
    head = history([0.9, 0.5, 0.3], [0.9, 0.5, 0.2], 0.9, 0.9, stage="head")
    tail = history([0.3] * 6, [0.25] * 6, 0.95, 0.95, stage="last block", first=4)
    seen = read_curves([*head, *tail], 5000)
    assert (seen.stage, seen.first_epoch, seen.last_epoch, seen.best_epoch) == ("last block", 4, 9, 4)
    assert seen.better_before == 3
    assert "last stage alone, last block, epochs 4 to 9" in said(seen) and "epoch 3" in said(seen)
    better = history([0.3] * 6, [0.15] * 6, 0.95, 0.95, stage="last block", first=4)
    assert read_curves([*head, *better], 5000).better_before is None


def test_early_stopping_is_no_call_for_more_epochs():
    validation = [1 / epoch for epoch in range(1, 11)] + [0.1 + 0.0001 * at for at in range(1, 11)]
    rows = history([1 / epoch for epoch in range(1, 21)], validation, 0.97, 0.97)
    seen = read_curves(rows, 5000, stopped_early=True)
    assert "too few epochs" not in seen.patterns
    assert "10 epochs after the lowest validation loss in epoch 10" in said(seen)


def test_seeds():
    runs = [history([0.1] * 6, [0.2] * 6, 0.95, share) for share in (0.90, 0.92, 0.94)]
    seeds = read_curves(runs[0], 5000, others=runs[1:]).seeds
    assert seeds.mean == pytest.approx(0.92) and seeds.deviation_points == pytest.approx(2.0)
    assert seeds.told_apart_points == pytest.approx(4.3027 * math.sqrt(2) * 2, rel=1e-4)  # Student, 2 degrees
    assert "Between 3 seeds" in said(read_curves(runs[0], 5000, others=runs[1:]))


def test_nothing_stands_out_is_said_too():
    rows = history(noisy(np.full(20, 0.1), 0.001), noisy(np.full(20, 0.12), 0.001), 0.97, 0.97)
    seen = read_curves(rows, 5000)
    assert seen.patterns == () and seen.sentences[0].startswith("Nothing stands out in epochs 1 to 20")


def test_it_goes_through_json():
    runs = [history([0.1] * 6, [0.2] * 6, 0.95, share) for share in (0.90, 0.92)]
    for seen in (read_curves(OVERFITTED, 100, others=runs), read_curves(runs[0], 1), read_curves(OVERFITTED[:1], 9)):
        assert Reading.from_dict(json.loads(json.dumps(seen.to_dict(), allow_nan=False))) == seen


def test_what_cannot_be_read_is_refused():
    with pytest.raises(UsageError, match="no epoch"):
        read_curves([], 10)
    with pytest.raises(UsageError, match="not 0"):
        read_curves(OVERFITTED, 0)


# --- one curve ---


def test_noise_is_that_of_the_epochs_whatever_the_course():
    course = noisy(3 * np.exp(-np.arange(400) / 80), 0.05)
    assert noise(np.array(course)) == pytest.approx(0.05, rel=0.15)
    assert noise(np.arange(10.0)) == 0


def test_a_flat_noisy_curve_rarely_turns_or_leaps():
    """2,000 flat curves with noise of a tenth: fewer than one in a hundred is said to turn upwards, or to leap."""
    rng = np.random.default_rng(1)
    curves = 1 + rng.normal(0, 0.1, (2000, 30))
    turned = sum(find_turn(one.tolist(), [0.9] * 30, 1) is not None for one in curves)
    leapt = sum(len(jumps(one.tolist())) >= 2 for one in curves)
    assert turned < 20 and leapt < 20


def test_a_trend_covers_the_true_slope():
    """Coverage of the interval of the slope over 1,000 straight noisy curves of 30 epochs."""
    rng = np.random.default_rng(2)
    lines = 1 - 0.01 * np.arange(30) + rng.normal(0, 0.02, (1000, 30))
    found = [trend(one.tolist(), smallest=0.0) for one in lines]
    inside = np.mean([one.low <= -0.01 <= one.high for one in found])
    assert found[0].epochs == 10 and 0.93 <= inside <= 0.99


losses = st.floats(0.001, 10)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(losses, losses, st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=25), st.integers(1, 9)
)
def test_any_history_can_be_read(rows, n):
    train, validation, a, v = zip(*rows, strict=True)
    seen = read_curves(history(train, validation, a, v), n)
    assert seen.sentences and all(one.endswith(".") for one in seen.sentences)
    assert seen.validation_accuracy[1] <= seen.validation_accuracy[0] <= seen.validation_accuracy[2]
    assert (
        seen.gap_at_end.low <= seen.gap_at_end.points + 1e-9 and seen.gap_at_end.points <= seen.gap_at_end.high + 1e-9
    )
    assert "nan" not in said(seen)


@given(
    st.lists(st.integers(-9, 9).map(float) | st.floats(-1e3, 1e3), min_size=2, max_size=40),
    st.sampled_from([0.8, 0.95]),
)
def test_slope_and_interval_are_those_of_scipy(values, level):
    from scipy.stats import theilslopes

    theirs = theilslopes(values, alpha=level)
    ours = theil_sen(np.array(values), level)
    np.testing.assert_allclose(ours, (theirs.slope, theirs.low_slope, theirs.high_slope), rtol=1e-9, atol=1e-9)
