"""Areas and average precision against scikit-learn, their variances against the published sums over all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as oracle

from foveal.evaluation.interval import wilson
from foveal.evaluation.ranking import (
    auc_interval,
    average_precision,
    clustered_variance,
    delong_variance,
    placements,
    roc_auc,
)


def case(seed: int, n: int, distinct: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which images are of the class, scores with ties, and units of several images of either side."""
    rng = np.random.default_rng(seed)
    is_class = rng.random(n) < 0.4
    is_class[:4] = True, False, True, False
    return is_class, np.round(rng.random(n) + 0.3 * is_class, distinct), rng.integers(0, max(3, n // 3), n)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 80), st.integers(0, 3))
def test_areas_and_average_precision_are_scikit_learns(seed, n, distinct):
    is_class, score, _ = case(seed, n, distinct)
    assert roc_auc(is_class, score) == pytest.approx(oracle.roc_auc_score(is_class, score), abs=1e-12)
    expected = oracle.average_precision_score(is_class, score)
    assert average_precision(is_class, score) == pytest.approx(expected, abs=1e-12)


def pairs(is_class: np.ndarray, score: np.ndarray) -> np.ndarray:
    """1 where an image of the class scores higher than one of the rest, half for a tie: (positives, negatives)."""
    difference = score[is_class][:, None] - score[~is_class][None]
    return (difference > 0) + (difference == 0) / 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 50), st.integers(0, 3))
def test_the_variance_for_images_is_delongs_sum_over_all_pairs(seed, n, distinct):
    is_class, score, _ = case(seed, n, distinct)
    table = pairs(is_class, score)
    m, k = table.shape
    theta = table.mean()
    of_class = sum((table[i].mean() - theta) ** 2 for i in range(m)) / (m - 1)
    of_rest = sum((table[:, j].mean() - theta) ** 2 for j in range(k)) / (k - 1)
    assert delong_variance(placements(is_class, score)) == pytest.approx(of_class / m + of_rest / k, abs=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(8, 50), st.integers(0, 3))
def test_the_variance_for_groups_is_obuchowskis(seed, n, distinct):
    is_class, score, units = case(seed, n, distinct)
    table, theta = pairs(is_class, score), pairs(is_class, score).mean()
    own, other = units[is_class], units[~is_class]
    m, k = table.shape
    every, having, lacking = (len(np.unique(one)) for one in (units, own, other))
    placed = placements(is_class, score)
    ours = clustered_variance(placed, own, other)
    if min(having, lacking) < 2:
        assert math.isnan(ours)
        return
    first = second = cross = 0.0
    for unit in np.unique(units):  # the paper's sums over clusters
        x = sum(table[i].mean() for i in np.flatnonzero(own == unit)) - (own == unit).sum() * theta
        y = sum(table[:, j].mean() for j in np.flatnonzero(other == unit)) - (other == unit).sum() * theta
        first, second, cross = first + x * x, second + y * y, cross + x * y
    s10, s01 = having / ((having - 1) * m) * first, lacking / ((lacking - 1) * k) * second
    expected = s10 / m + s01 / k + 2 * every / (every - 1) * cross / (m * k)
    assert ours == pytest.approx(expected, abs=1e-14)
    alone = np.arange(n)
    assert clustered_variance(placed, alone[is_class], alone[~is_class]) == pytest.approx(delong_variance(placed))


def test_an_example_worked_by_hand():
    is_class, score = np.array([1, 1, 1, 0, 0], bool), np.array([0.9, 0.6, 0.4, 0.6, 0.1])
    placed = placements(is_class, score)
    assert placed.of_class.tolist() == [1.0, 0.75, 0.5]  # 0.9 beats both, 0.6 ties one, 0.4 beats one
    assert placed.of_rest.tolist() == [0.5, 1.0]  # of three: one and a half, and all, score above
    assert placed.auc == 0.75
    assert delong_variance(placed) == pytest.approx(0.0625 / 3 + 0.125 / 2)
    assert average_precision(is_class, score) == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    ours = auc_interval(is_class, score)
    half = 12.706204736 * math.sqrt(0.0625 / 3 + 0.125 / 2) / (0.75 * 0.25)  # Student's quantile for 1
    assert ours.low == pytest.approx(1 / (1 + math.exp(-(math.log(3) - half))), abs=1e-9)


def test_student_becomes_the_normal_quantile():
    is_class, score, _ = case(0, 20_000, 6)
    ours, placed = auc_interval(is_class, score), placements(is_class, score)
    a, half = placed.auc, norm.ppf(0.975) * math.sqrt(delong_variance(placed))
    logit = math.log(a / (1 - a)) - half / (a * (1 - a))
    assert ours.low == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5) and ours.method == "DeLong, logit"


@pytest.mark.parametrize("turned", [1, -1])
def test_a_perfect_ranking_has_the_bound_of_its_smaller_side(turned):
    is_class = np.arange(12) < 5
    score, units = turned * -np.arange(12.0), np.array([0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    hits = 1 if turned == 1 else 0
    for groups, trials in ((None, 5), (units, 2)):
        ours, bound = auc_interval(is_class, score, groups), wilson(hits * trials, trials)
        assert (ours.value, ours.low, ours.high) == (hits, bound.low, bound.high)
        assert "Wilson" in ours.method


def test_nothing_to_rank_and_no_variance():
    assert auc_interval(np.ones(3, bool), np.arange(3)) is None and roc_auc(np.zeros(3, bool), np.arange(3)) is None
    assert average_precision(np.zeros(3, bool), np.arange(3)) is None
    assert average_precision(np.ones(3, bool), np.arange(3)) == 1
    flat = auc_interval(np.arange(20) < 8, np.zeros(20))
    assert flat.value == 0.5 and flat.high - flat.low > 0.5
    one = auc_interval(np.arange(20) == 3, np.arange(20))
    assert one.high - one.low > 0.7


def test_names_of_units_and_order_do_not_matter():
    is_class, score, units = case(3, 60, 2)
    turn = np.random.default_rng(0).permutation(60)
    names = np.array([f"p{99 - unit}" for unit in units])
    here, there = auc_interval(is_class, score, units), auc_interval(is_class[turn], score[turn], names[turn])
    assert (here.low, here.high) == pytest.approx((there.low, there.high), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("positives", "shift"), [(20, 1.0), (50, 1.8), (150, 2.3)])
def test_delong_covers(positives, shift):
    rng, truth, held = np.random.default_rng(5), norm.cdf(shift / math.sqrt(2)), 0
    is_class = np.arange(4 * positives) < positives
    for _ in range(2_000):
        ours = auc_interval(is_class, rng.normal(size=len(is_class)) + shift * is_class)
        held += ours.low <= truth <= ours.high
    assert 0.93 <= held / 2_000 <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "mixed"), [(40, False), (40, True), (120, False), (120, True)])
def test_the_interval_for_groups_covers_where_the_plain_one_does_not(patients, mixed):
    rng, shift = np.random.default_rng(6), 2.0
    truth, held, naive = norm.cdf(shift / math.sqrt(2 * 2)), 0, 0  # every score: variance 1 of patient, 1 of image
    for _ in range(2_000):
        units = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
        is_class = rng.random(len(units)) < 0.4 if mixed else (rng.random(patients) < 0.4)[units]
        own = rng.normal(size=(patients, 2))  # of images of either side, so that two images of a patient are as two are
        effect = own[units, is_class.astype(int)]
        score = rng.normal(size=len(units)) + effect + shift * is_class
        ours, plain = auc_interval(is_class, score, units), auc_interval(is_class, score)
        held += ours.low <= truth <= ours.high
        naive += plain.low <= truth <= plain.high
    assert 0.93 <= held / 2_000 <= 0.97
    assert naive / 2_000 < 0.9
