"""Paired differences of two classifiers: against brute force, against a published example, and how often they err."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from foveal.errors import DataError
from foveal.evaluation.paired_bootstrap import (
    ACCURACY,
    AUC,
    DELONG,
    LOG_LOSS,
    MeasureDifference,
    adjust_differences,
    bootstrap_p,
    compare_resampled,
    delong,
    resampled,
)
from foveal.evaluation.resampling import draws


def answers(n: int, classes: int, skill: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that know them with `skill`."""
    labels = np.arange(n) % classes
    logits = np.random.default_rng(seed).normal(size=(n, classes))
    logits[np.arange(n), labels] += skill
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def by_name(differences: tuple[MeasureDifference, ...]) -> dict[str, MeasureDifference]:
    return {one.measure: one for one in differences}


@pytest.mark.parametrize("unit_size", [1, 3])
def test_every_resample_is_that_of_scikit_learn(unit_size):
    labels, first = answers(60, 3, 1.5, 0)
    _, second = answers(60, 3, 0.7, 1)
    units = np.arange(60) // unit_size
    one, other = (resampled(labels, p, units, resamples=120, seed=7) for p in (first, second))
    counts = draws(60 // unit_size, resamples=120, seed=7).astype(int)  # (units, resamples)
    difference = by_name(compare_resampled(one, other))
    for b in (0, 50, 119):
        rows = np.repeat(np.arange(60), counts[units, b])
        for p, found in ((first, one), (second, other)):
            drawn, truth = p[rows], labels[rows]
            assert found.drawn[ACCURACY][b] == pytest.approx((drawn.argmax(axis=1) == truth).mean())
            assert found.drawn[LOG_LOSS][b] == pytest.approx(log_loss(truth, drawn, labels=range(3)))
            assert found.drawn[AUC][b] == pytest.approx(roc_auc_score(truth, drawn, multi_class="ovr"))
    assert difference[LOG_LOSS].first == pytest.approx(log_loss(labels, first))
    gaps = one.drawn[AUC] - other.drawn[AUC]
    assert (difference[AUC].difference.low, difference[AUC].difference.high) == pytest.approx(
        tuple(np.quantile(gaps, [0.025, 0.975]))
    )
    assert difference[AUC].p_value == pytest.approx(min(1, 2 * (min((gaps <= 0).sum(), (gaps >= 0).sum()) + 1) / 121))


def brute_delong(is_class: np.ndarray, scores: list[np.ndarray]) -> tuple[float, float]:
    """The difference of areas and its variance, by DeLong's formulas over all pairs of images."""
    psi = [
        (s[is_class][:, None] > s[~is_class]) + 0.5 * (s[is_class][:, None] == s[~is_class]) for s in scores
    ]  # (positives, negatives)
    v10, v01 = np.stack([one.mean(axis=1) for one in psi]), np.stack([one.mean(axis=0) for one in psi])
    covariance = np.cov(v10) / is_class.sum() + np.cov(v01) / (~is_class).sum()  # (2, 2)
    contrast = np.array([1, -1])
    return float(psi[0].mean() - psi[1].mean()), float(contrast @ covariance @ contrast)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10_000))
def test_delong_is_its_formula_over_all_pairs(positives, negatives, seed):
    rng = np.random.default_rng(seed)
    is_class = np.array([True] * positives + [False] * negatives)
    scores = [np.round(rng.normal(is_class, 1), 1) for _ in range(2)]  # with ties
    value, variance = brute_delong(is_class, scores)
    found = delong(is_class, *scores)
    assert found.first - found.second == pytest.approx(value)
    if variance > 1e-12:
        z = value / math.sqrt(variance)
        assert found.p_value == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=1e-9)
        assert found.difference.high == pytest.approx(min(1, value + 1.959964 * math.sqrt(variance)), abs=1e-6)


def test_equal_scores_have_no_difference():
    labels, p = answers(40, 2, 1.0, 3)
    one = resampled(labels, p, np.arange(40), resamples=200)
    found = by_name(compare_resampled(one, one))
    assert set(found) == {ACCURACY, AUC, LOG_LOSS, DELONG}
    assert all(difference.p_value == 1 for difference in found.values())
    assert (found[AUC].difference.low, found[AUC].difference.high) == (0, 0)


def test_delong_is_for_two_classes_of_single_images():
    labels, p = answers(40, 2, 1.0, 3)
    grouped = resampled(labels, p, np.arange(40) // 2, resamples=200)
    assert DELONG not in by_name(compare_resampled(grouped, grouped))
    labels, p = answers(40, 3, 1.0, 3)
    three = resampled(labels, p, np.arange(40), resamples=200)
    assert DELONG not in by_name(compare_resampled(three, three))


def test_a_better_classifier_is_told_and_the_loss_is_better_when_lower():
    labels, first = answers(400, 3, 3.0, 0)
    _, second = answers(400, 3, 1.0, 1)
    pair = (resampled(labels, p, np.arange(400), resamples=500) for p in (first, second))
    found = by_name(compare_resampled(*pair))
    assert all(one.first_is_better and one.p_value <= 2 / 501 + 1e-12 for one in found.values())
    assert found[LOG_LOSS].difference.high < 0 < found[AUC].difference.low


def test_undefined_figures_are_none():
    labels = np.array([0] * 20 + [1])  # one image of a class: a third of the resamples lack it
    p = np.tile([0.6, 0.4], (21, 1))
    one = resampled(labels, p, np.arange(21), resamples=200)
    found = by_name(compare_resampled(one, one))
    assert found[AUC].difference is None and found[AUC].p_value is None and found[ACCURACY].p_value == 1
    alone = resampled(labels[:20], p[:20], np.arange(20), resamples=200)  # one class: no area at all
    assert set(by_name(compare_resampled(alone, alone))) == {ACCURACY, LOG_LOSS}
    constant, perfect = np.full(21, 0.5), labels.astype(float)
    assert delong(labels == 1, perfect, constant).p_value is None  # a single image on one side


def test_the_smallest_p_is_two_over_resamples_and_one():
    assert bootstrap_p(np.full(1999, 0.1)) == pytest.approx(2 / 2000)
    assert bootstrap_p(np.zeros(99)) == 1
    assert bootstrap_p(np.array([-1.0, 1.0, np.nan, 2.0])) == 1


def test_holm_goes_by_measure():
    def one(measure, p):
        return MeasureDifference(measure, 0.5, 0.4, None, p, p)

    pairs = [(one("a", 0.01), one("b", 0.04)), (one("a", 0.02), one("b", None)), (one("a", 0.5),)]
    adjusted = adjust_differences(pairs)
    assert [pair[0].p_adjusted for pair in adjusted] == pytest.approx([0.03, 0.04, 0.5])
    assert adjusted[0][1].p_adjusted == 0.04 and adjusted[1][1].p_adjusted is None


def test_what_was_not_resampled_alike_is_refused():
    labels, p = answers(40, 2, 1.0, 3)
    one = resampled(labels, p, np.arange(40), resamples=200)
    for other in (
        resampled(1 - labels, p, np.arange(40), resamples=200),
        resampled(labels, p, np.arange(40) // 2, resamples=200),
        resampled(labels, p, np.arange(40), resamples=208),
    ):
        with pytest.raises(DataError, match="not resampled on the same images"):
            compare_resampled(one, other)
    with pytest.raises(DataError, match="no image"):
        resampled(labels[:0], p[:0], np.arange(0))
    with pytest.raises(DataError, match="no numbers"):
        resampled(labels, p * np.nan, np.arange(40))
    with pytest.raises(DataError, match="without a gap"):
        resampled(labels, p, np.arange(40) + 1)


@pytest.mark.slow
def test_classifiers_that_are_equally_good_are_rarely_told_apart():
    """400 pairs of equally good classifiers on 150 images: p < 0.05 in about one of twenty, for every measure."""
    alarms: dict[str, list[bool]] = {}
    covered: dict[str, list[bool]] = {}
    for seed in range(400):
        labels, first = answers(150, 2, 1.0, 2 * seed)
        _, second = answers(150, 2, 1.0, 2 * seed + 1)
        pair = (resampled(labels, p, np.arange(150), resamples=400, seed=seed) for p in (first, second))
        for one in compare_resampled(*pair):
            alarms.setdefault(one.measure, []).append(one.p_value < 0.05)
            covered.setdefault(one.measure, []).append(one.difference.low <= 0 <= one.difference.high)
    for measure in (ACCURACY, AUC, LOG_LOSS, DELONG):
        assert 0.02 <= np.mean(alarms[measure]) <= 0.085, measure
        assert np.mean(covered[measure]) >= 0.915, measure
