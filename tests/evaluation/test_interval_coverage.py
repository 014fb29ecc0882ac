"""Intervals against SciPy, and by simulation: 95 % must hold the truth 95 times in a hundred."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from foveal.evaluation.interval import by_group, wilson


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_is_scipys(level):
    for trials in (1, 2, 7, 50, 1000):
        for successes in {0, 1, trials // 3, trials - 1, trials}:
            ours = wilson(successes, trials, level)
            theirs = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
            assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
            assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_wilson_covers():
    rng = np.random.default_rng(11)
    for truth in (0.3, 0.9):
        shares = [wilson(int(hits), trials) for trials in (30, 100, 250) for hits in rng.binomial(trials, truth, 2_000)]
        assert 0.93 < np.mean([one.low <= truth <= one.high for one in shares]) < 0.97


def clustered(rng: np.random.Generator, groups: int, truth: float, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Images of patients that each have a share of right answers of their own, around `truth`."""
    share = rng.beta(truth * alike, (1 - truth) * alike, groups)
    names = np.repeat(np.arange(groups), rng.integers(1, 10, groups))
    return rng.random(len(names)) < share[names], names


@pytest.mark.parametrize(("groups", "truth"), [(15, 0.7), (40, 0.7), (40, 0.9), (100, 0.9)])
def test_the_interval_for_groups_covers_where_plain_wilson_does_not(groups, truth):
    rng = np.random.default_rng(12)
    held = naive = 0
    for _ in range(2_000):
        correct, names = clustered(rng, groups, truth, alike=3)
        ours, plain = by_group(correct, names), wilson(int(correct.sum()), len(correct))
        held += ours.low <= truth <= ours.high
        naive += plain.low <= truth <= plain.high
    assert 0.93 <= held / 2_000 <= 0.975
    assert naive / 2_000 < 0.85


def test_independent_images_in_groups_get_nearly_wilsons_interval():
    rng = np.random.default_rng(13)
    correct, names = rng.random(2_000) < 0.8, np.arange(2_000) // 2
    ours, plain = by_group(correct, names), wilson(int(correct.sum()), 2_000)
    assert (ours.high - ours.low) / (plain.high - plain.low) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("correct", "groups", "wide"),
    [
        ([1, 1, 0, 1], [0, 0, 0, 0], 0.6),  # one group says next to nothing
        ([1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2], 0.5),  # all groups alike: no variance to be seen
        ([1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2], 0.5),
        ([0, 0, 0, 0], [0, 0, 1, 1], 0.6),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.8),
    ],
)
def test_few_groups_never_give_a_narrow_interval(correct, groups, wide):
    ours = by_group(np.array(correct, bool), np.array(groups))
    assert 0 <= ours.low <= ours.value <= ours.high <= 1
    assert ours.high - ours.low > wide


def test_file_order_and_group_names_do_not_matter():
    rng = np.random.default_rng(14)
    correct, names = clustered(rng, 20, 0.8, alike=3)
    order = rng.permutation(len(names))
    there = by_group(correct, names)
    again = by_group(correct[order], np.array([f"patient-{99 - name}" for name in names[order]]))
    assert (again.low, again.high) == pytest.approx((there.low, there.high), abs=1e-12)
