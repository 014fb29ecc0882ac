"""McNemar, Tango and Holm: against other computations, published examples, and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest

from foveal.evaluation.comparison import (
    adjusted,
    compare_answers,
    holm,
    sign_flips,
    tango,
    tango_for_groups,
)

counts = st.integers(0, 40)


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Return right or wrong of both classifiers, image by image."""
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


# --- the test ---


@given(counts, counts, counts, counts)
def test_mcnemar_is_the_binomial_test_of_the_discordant_images(a, b, c, d):
    if not a + b + c + d:
        return
    result = compare_answers(*answers(a, b, c, d))
    oracle = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert result.p_value == pytest.approx(oracle, rel=1e-9)
    assert (result.both_right, result.only_first, result.only_second, result.both_wrong) == (a, b, c, d)
    assert result.groups is None
    assert result.p_adjusted == result.p_value


@given(counts, counts)
def test_mid_p_is_the_exact_p_less_half_of_what_was_observed(b, c):
    if b == c:
        return
    exact, mid_p = sign_flips(np.repeat([1, -1], [b, c]))
    assert mid_p == pytest.approx(exact - binom.pmf(min(b, c), b + c, 0.5), abs=1e-12)


@pytest.mark.parametrize(
    ("b", "c", "exact", "mid_p"),
    [
        (
            1,
            7,
            0.0703125,
            0.0390625,
        ),  # airway responsiveness (Bentur 2009), Fagerland, Lydersen, Laake 2013: 0.070, 0.039
        (121, 59, 4.4344492637551645e-06, None),  # statsmodels 0.15, mcnemar(exact=True)
        (86, 150, 3.7159361395713866e-05, None),  # approval ratings, Agresti; statsmodels 0.15
    ],
)
def test_published_examples_of_the_test(b, c, exact, mid_p):
    p, mid = sign_flips(np.repeat([1, -1], [b, c]))
    assert p == pytest.approx(exact, rel=1e-9)
    if mid_p:
        assert mid == pytest.approx(mid_p, rel=1e-9)


@settings(max_examples=60)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_sign_flips_count_every_choice_of_signs(differences):
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    observed = abs(sum(differences))
    oracle = np.mean([abs(one) >= observed for one in sums])
    assert sign_flips(np.array(differences))[0] == pytest.approx(oracle, abs=1e-12)


def test_a_tiny_p_value_keeps_its_digits():
    assert sign_flips(np.ones(900, int))[0] == pytest.approx(2.0**-899, rel=1e-6)


def test_groups_of_one_image_are_no_groups():
    first, second = answers(50, 9, 2, 4)
    alone = compare_answers(first, second)
    assert compare_answers(first, second, np.arange(65)) == alone


def test_images_of_one_group_count_as_one():
    """Ten groups, each of five images that all go the same way: what ten images would say, not fifty."""
    first, second = np.repeat([True] * 8 + [False] * 2, 5), np.repeat([False] * 8 + [True] * 2, 5)
    grouped = compare_answers(first, second, np.repeat(np.arange(10), 5))
    assert grouped.p_value == pytest.approx(binomtest(8, 10, 0.5).pvalue)
    assert compare_answers(first, second).p_value < 1e-4
    assert grouped.groups == 10
    assert grouped.difference.low < 0.2 < compare_answers(first, second).difference.low


# --- the interval ---


def likely_score(b: float, c: float, n: float, difference: float) -> float:
    """Return the score statistic with the nuisance share found by maximising the likelihood, not by Tango's formula."""

    def loss(share: float) -> float:
        cells = (share + difference, share, 1 - 2 * share - difference)
        return -sum(count * np.log(max(p, 1e-300)) for count, p in zip((b, c, n - b - c), cells, strict=True))

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (b - c - n * difference) / np.sqrt(n * (2 * share + difference * (1 - difference)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 60))
def test_at_its_ends_the_interval_is_where_the_score_test_rejects(b, c, concordant):
    n = b + c + concordant
    found = tango(b, c, n)
    assert likely_score(b, c, n, found.low) == pytest.approx(1.959964, abs=2e-3)
    assert likely_score(b, c, n, found.high) == pytest.approx(-1.959964, abs=2e-3)


@pytest.mark.parametrize(
    ("b", "c", "n", "low", "high"),
    [
        (1, 7, 21, -0.517, -0.026),  # Fagerland, Lydersen, Laake 2014, table of intervals for Bentur 2009
        (12, 2, 50, 0.0611, 0.3447),  # the contact lens trial of Tango 1998
        (0, 0, 54, -0.0664, 0.0664),  # no discordant pair: z² / (n + z²)
        (30, 0, 30, 0.7730, 1.0),
    ],
)
def test_published_examples_of_the_interval(b, c, n, low, high):
    found = tango(b, c, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))
    assert found.method == "Tango"


@given(counts, counts, counts)
def test_the_interval_is_a_mirror_and_holds_its_estimate(b, c, concordant):
    n = b + c + concordant
    if not n:
        return
    one, other = tango(b, c, n), tango(c, b, n)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert (one.low, one.high) == (pytest.approx(-other.high, abs=1e-9), pytest.approx(-other.low, abs=1e-9))


def test_the_interval_for_groups_is_tangos_when_groups_are_single_images():
    gains = np.repeat([1, -1, 0], [30, 12, 400])
    alone, grouped = tango(30, 12, 442), tango_for_groups(30, 12, gains, np.ones(442, int))
    assert (grouped.low, grouped.high) == (pytest.approx(alone.low, abs=1e-3), pytest.approx(alone.high, abs=1e-3))


def test_groups_without_variance_count_as_images():
    found = tango_for_groups(0, 0, np.zeros(12, int), np.full(12, 40))
    assert found.method == "Tango over groups"
    assert (found.low, found.high) == (tango(0, 0, 12).low, tango(0, 0, 12).high)


@pytest.mark.parametrize("groups", [12, 40])
def test_the_interval_for_groups_covers_and_the_plain_one_does_not(groups):
    """Patients differ in how much easier they are for one of the two: eight images each, correlated differences."""
    rng, trials, truth = np.random.default_rng(5), 400, 0.06
    covered = plain = 0
    for _ in range(trials):
        lean = rng.choice([-0.30, 0.42], size=groups)  # mean 0.06
        gains = np.where(rng.random((groups, 8)) < np.abs(lean)[:, None], np.sign(lean)[:, None], 0).astype(int)
        b, c = int((gains > 0).sum()), int((gains < 0).sum())
        found = tango_for_groups(b, c, gains.sum(axis=1), np.full(groups, 8))
        covered += found.low <= truth <= found.high
        alone = tango(b, c, 8 * groups)
        plain += alone.low <= truth <= alone.high
    assert covered / trials > 0.92
    assert plain / trials < 0.85


# --- many pairs ---


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # statsmodels, multipletests
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_lies_between_nothing_and_bonferroni(p_values):
    found = holm(p_values)
    for p, one in zip(p_values, found, strict=True):
        assert p <= one <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(found)[order]) >= 0).all()


def test_adjusting_changes_the_adjusted_p_alone():
    pair = [compare_answers(*answers(50, 9, 1, 3)), compare_answers(*answers(50, 5, 1, 3))]
    both = adjusted(pair)
    assert [one.p_adjusted for one in both] == holm([one.p_value for one in pair])
    assert both[0].p_value == pair[0].p_value
