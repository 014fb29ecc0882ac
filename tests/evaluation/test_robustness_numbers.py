"""The figures of robustness, by hand on classifiers so small that every answer is written out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foveal.data.corruptions import find_corruptions
from foveal.errors import ClassifierError
from foveal.evaluation.comparison import tango
from foveal.evaluation.interval import by_group, wilson
from foveal.evaluation.robustness import (
    Robustness,
    logit_change,
    make_curve,
    measure_condition,
    measure_map,
    measure_shift,
    share,
    strength_of_loss,
    turned_cases,
)


def said(*pairs: tuple[int, float]) -> np.ndarray:
    """Probabilities (N, 2) of the answers (class, confidence)."""
    return np.array([[p, 1 - p] if answer == 0 else [1 - p, p] for answer, p in pairs])


LABELS = np.array([0, 0, 1, 1])
CLEAN = said((0, 0.9), (0, 0.8), (1, 0.9), (0, 0.6))  # right, right, right, wrong
ALONE = np.arange(4)


def test_one_condition_by_hand():
    damaged = said((0, 0.7), (1, 0.8), (0, 0.6), (1, 0.9))  # right, wrong, wrong, right
    one = measure_condition(LABELS, CLEAN, damaged, ALONE, 0.2)
    assert (one.strength, one.changed, one.turned, one.abstained) == (0.2, 0.75, 2, None)
    assert one.accuracy == wilson(2, 4)
    assert one.drop == tango(2, 1, 4) and one.drop.value == 0.25
    assert one.confidence == pytest.approx(0.75) and one.wrong_confidence == pytest.approx(0.7)
    same = measure_condition(LABELS[:3], CLEAN[:3], CLEAN[:3], ALONE[:3], 0, np.array([True, False, False]))
    assert (same.drop.value, same.changed, same.turned, same.wrong_confidence) == (0, 0, 0, None)
    assert same.abstained == pytest.approx(1 / 3)


def test_groups_widen_both_intervals():
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(20), 10)
    hard = np.repeat(rng.random(20) < 0.3, 10)
    labels, clean = np.zeros(200, int), said(*[(0, 0.9)] * 200)
    damaged = said(*[(int(one), 0.9) for one in hard])
    grouped = measure_condition(labels, clean, damaged, units, 1)
    alone = measure_condition(labels, clean, damaged, np.arange(200), 1)
    for name in ("accuracy", "drop"):
        wide, narrow = getattr(grouped, name), getattr(alone, name)
        assert wide.value == narrow.value and wide.high - wide.low > 2 * (narrow.high - narrow.low)
    right = ~hard
    assert share(right, units) == by_group(right, units)
    shares = rng.random(200)
    assert share(shares, np.arange(200)).value == pytest.approx(shares.mean())


def test_the_strength_of_a_loss():
    assert strength_of_loss(0, [1, 2, 4], [0.0, 0.02, 0.10]) == pytest.approx(2 + 2 * 0.03 / 0.08)
    assert strength_of_loss(0, [1, 2], [0.1, 0.2]) == pytest.approx(0.5)  # from nothing lost at no damage
    assert strength_of_loss(100, [80, 50], [0.01, 0.09]) == pytest.approx(65)  # a quality falls
    assert strength_of_loss(0, [1, 2, 3], [-0.02, 0.05, 0.01]) == pytest.approx(2)  # the first time
    assert strength_of_loss(0, [1, 2], [0.0, 0.049]) is None


def test_a_curve_is_the_mean_of_its_conditions():
    (jpeg,) = find_corruptions(["jpeg"])
    damaged = said((1, 0.7), (0, 0.8), (1, 0.6), (0, 0.9))
    conditions = [
        measure_condition(LABELS, CLEAN, answers, ALONE, strength)
        for strength, answers in zip(jpeg.strengths, [CLEAN, damaged, damaged, damaged, damaged], strict=True)
    ]
    curve = make_curve(jpeg, conditions, 2)
    assert curve.mean_accuracy == pytest.approx((0.75 + 4 * 0.5) / 5)
    assert curve.endures == pytest.approx(80 - 30 * 0.05 / 0.25) and curve.written(curve.endures) == "74"


def test_who_turned_first_and_surest():
    mild = said((0, 0.9), (1, 0.7), (1, 0.9), (1, 0.9))  # row 1 turns; row 3 was wrong before
    severe = said((1, 0.6), (1, 0.99), (0, 0.8), (0, 0.99))  # rows 0 and 2 turn
    assert turned_cases(LABELS, CLEAN, [mild, severe]) == [(2, 1), (1, 0), (0, 1)]
    assert turned_cases(LABELS, CLEAN, [CLEAN]) == []


def test_shifts_by_hand():
    left, right = said((0, 0.9), (1, 0.8), (1, 0.9), (0, 0.6)), CLEAN
    one = measure_shift(3, LABELS, ALONE, CLEAN, [left, right], 0.5)
    assert one.consistency.value == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert one.accuracy == pytest.approx((2 + 3) / 8) and (one.pixels, one.logit_change) == (3, 0.5)
    z = np.array([[2.0, 0.0], [0.0, 2.0]])  # centred (1, -1) and (-1, 1): 2 away from their mean, squared
    assert logit_change(z, [z + 7.0]) == 0  # softmax does not see what all classes share
    assert logit_change(z, [z[::-1]]) == pytest.approx(np.sqrt(8 / 2))
    assert logit_change(z[:1], [z[:1]]) is None


def test_a_convolution_moves_along_and_a_picture_of_places_does_not():
    rng = np.random.default_rng(1)
    wide = rng.normal(size=(3, 2, 12, 12))

    def still(down: int, across: int) -> np.ndarray:
        return wide[:, :, 2 - down : 10 - down, 2 - across : 10 - across]  # of the world moved: all comes along

    along, away = measure_map(still(0, 0), still, 2)
    assert along == 0 and away > 1
    fixed = measure_map(still(0, 0), lambda down, across: still(0, 0), 1)
    assert fixed[1] == 0 and fixed[0] > 1
    assert measure_map(np.zeros((1, 1, 4, 4)), lambda down, across: np.zeros((1, 1, 4, 4)), 1) is None
    assert measure_map(still(0, 0), still, 8) is None


def test_stored_figures_come_back(made_up):
    text = json.dumps(made_up.to_dict(), allow_nan=False)
    assert Robustness.from_dict(json.loads(text)) == made_up
    broken = json.loads(text)
    del broken["curves"][0]["conditions"][0]["drop"]
    with pytest.raises(ClassifierError, match="incomplete or damaged"):
        Robustness.from_dict(broken)


@pytest.fixture
def made_up() -> Robustness:
    curves = []
    for corruption in find_corruptions(["jpeg", "shift"]):
        conditions = [measure_condition(LABELS, CLEAN, CLEAN, ALONE, strength) for strength in corruption.strengths]
        curves.append(make_curve(corruption, conditions, 0))
    shift = measure_shift(1, LABELS, ALONE, CLEAN, [CLEAN], None)
    return Robustness(
        *("run", "LeNet-5", "digits", "ab12", {"engine": "torch"}, 4, 4, 4, 0, wilson(3, 4), 0.8, None, wilson(3, 4)),
        *(0.8, tuple(curves), (), 4, (shift,), (), 44, 100.0),
    )
