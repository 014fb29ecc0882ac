"""Operating points chosen: against all thresholds tried one by one, by hand, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foveal.errors import DataError
from foveal.evaluation.choosing import (
    at_stated_threshold,
    first_meeting,
    for_sensitivity,
    for_specificity,
    for_youden,
)
from foveal.evaluation.interval import by_group, wilson

CLASSES = ("no", "yes")


def two(score: list[float] | np.ndarray) -> np.ndarray:
    return np.column_stack([1 - np.array(score), score])


LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
SCORES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.3, 0.5, 0.6, 0.8, 0.9]  # 0.3 and 0.6 are tied across the sides


def test_a_case_worked_by_hand():
    four_fifths = for_sensitivity(0.8, "yes", LABELS, two(SCORES), CLASSES)
    assert four_fifths.threshold == pytest.approx(0.45)  # midway between 0.4 and 0.5
    assert (four_fifths.sensitivity, four_fifths.specificity) == (0.8, 0.8)
    every = for_sensitivity(0.81, "yes", LABELS, two(SCORES), CLASSES)
    assert every.threshold == pytest.approx(0.25) and (every.sensitivity, every.specificity) == (1.0, 0.4)
    sharp = for_specificity(0.9, "yes", LABELS, two(SCORES), CLASSES)
    assert sharp.threshold == pytest.approx(0.7) and (sharp.sensitivity, sharp.specificity) == (0.4, 1.0)
    best = for_youden("yes", LABELS, two(SCORES), CLASSES)
    assert best.threshold == pytest.approx(0.45)
    assert (best.split, best.n, best.units) == ("validation", 10, 10)
    stated = at_stated_threshold(0.6, "yes", LABELS, two(SCORES), CLASSES)
    assert (stated.threshold, stated.sensitivity, stated.specificity) == (0.6, 0.6, 0.8)


def rates(labels: np.ndarray, score: np.ndarray, threshold: float) -> tuple[float, float]:
    return float((score >= threshold)[labels == 1].mean()), float((score < threshold)[labels == 0].mean())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40), st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]), st.integers(1, 3))
def test_no_threshold_does_better(seed, n, wanted, decimals):
    rng = np.random.default_rng(seed)
    labels, score = rng.integers(0, 2, n), np.round(rng.random(n), decimals)
    assume(0 < labels.sum() < n)
    tried = [rates(labels, score, one) for one in [*np.unique(score), 2.0]]
    order = rng.permutation(n)
    for by, this, that in ((for_sensitivity, 0, 1), (for_specificity, 1, 0)):
        best = max(pair[that] for pair in tried if pair[this] >= wanted)
        if best == 0:
            with pytest.raises(DataError, match="but one that"):
                by(wanted, "yes", labels, two(score), CLASSES)
            continue
        found = by(wanted, "yes", labels, two(score), CLASSES)
        assert rates(labels, two(score)[:, 1], found.threshold) == (found.sensitivity, found.specificity)
        pair = found.sensitivity, found.specificity
        assert pair[this] >= wanted and pair[that] == best
        assert by(wanted, "yes", labels[order], two(score)[order], CLASSES) == found
    if max(sum(pair) for pair in tried) > 1 + 1e-9:
        found = for_youden("yes", labels, two(score), CLASSES)
        assert sum(rates(labels, two(score)[:, 1], found.threshold)) == pytest.approx(max(map(sum, tried)))
    else:
        with pytest.raises(DataError, match="better than chance"):
            for_youden("yes", labels, two(score), CLASSES)


def test_the_lower_bound_is_that_of_the_interval_and_groups_ask_for_more():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 400)
    score = np.clip(np.round(rng.normal(0.35 + 0.3 * labels, 0.15), 3), 0, 1)
    plain = for_sensitivity(0.9, "yes", labels, two(score), CLASSES)
    sure = for_sensitivity(0.9, "yes", labels, two(score), CLASSES, lower_bound=True)
    p = two(score)[:, 1]
    bounds = [wilson(int((p >= one)[labels == 1].sum()), 400).low for one in np.unique(p)]
    assert np.unique(p)[np.array(bounds) >= 0.9].max() >= sure.threshold
    assert wilson(int((p >= sure.threshold)[labels == 1].sum()), 400).low >= 0.9 > plain.sensitivity - 0.01
    assert plain.threshold > sure.threshold and str(sure.requirement).endswith("lower confidence bound")
    # of each patient all images score alike, in a way
    units = np.arange(800) // 10
    p = two(np.clip(np.round(score + 0.1 * rng.normal(size=80)[units], 3), 0, 1))
    grouped = for_sensitivity(0.9, "yes", labels, p, CLASSES, units, lower_bound=True)
    alone = for_sensitivity(0.9, "yes", labels, p, CLASSES, lower_bound=True)
    assert by_group((p[:, 1] >= grouped.threshold)[labels == 1], units[labels == 1]).low >= 0.9
    assert grouped.threshold < alone.threshold and grouped.units == 80


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 900), st.floats(0, 1))
def test_the_first_candidate_that_meets_is_found(seed, n, share):
    candidates = list(range(1_000, 1_000 + n))
    rising = 1_000 + int(share * n)
    for exact in (True, False):
        found = first_meeting(candidates, lambda one: one >= rising, exact=exact)
        assert found == (rising if rising < 1_000 + n else None)
    uneven = set(np.random.default_rng(seed).choice(candidates, n // 3, replace=False).tolist()) if n else set()
    found = first_meeting(candidates, uneven.__contains__, exact=True)
    assert found == min(uneven, default=None)
    some = first_meeting(candidates, uneven.__contains__, exact=False)
    assert some is None or (some in uneven and (some == 1_000 or some - 1 not in uneven))


@pytest.mark.parametrize("by", [for_sensitivity, for_specificity])
def test_too_few_images_for_the_lower_bound_say_how_many_it_takes(by):
    score = np.repeat([0.1, 0.9], 72)
    labels = np.repeat([0, 1], 72)
    with pytest.raises(DataError, match=r"72 validation images.*takes 73 independent images, and here are 72 units"):
        by(0.95, "yes", labels, two(score), CLASSES, lower_bound=True)
    more = np.repeat([0, 1], 73)
    assert by(0.95, "yes", more, two(0.1 + 0.8 * more), CLASSES, lower_bound=True).threshold == pytest.approx(0.5)
    with pytest.raises(DataError, match="no number of images"):
        by(1, "yes", more, two(0.1 + 0.8 * more), CLASSES, lower_bound=True)


def test_the_lower_bound_keeps_its_word_on_new_images():
    # promised: 95 % of the time or more, the true sensitivity is at least 0.9
    rng, kept = np.random.default_rng(4), []
    from scipy.stats import norm

    for _ in range(400):
        labels = np.repeat([0, 1], 200)
        x = rng.normal(1.5 * labels)
        found = for_sensitivity(0.9, "yes", labels, two(norm.cdf(x - 0.75)), CLASSES, lower_bound=True)
        kept.append(1 - norm.cdf(norm.ppf(found.threshold) + 0.75 - 1.5) >= 0.9)
    assert np.mean(kept) > 0.95
