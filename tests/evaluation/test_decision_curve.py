"""Decision curves: net benefit by a brute loop, its bands by one and by simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foveal.errors import DataError, UsageError
from foveal.evaluation.decision_curve import decision_curve

CLASSES = ("no", "yes")


def two(score: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - score, score])


def case(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    score = np.round(rng.beta(1, 2, n), 2)  # many exactly on a threshold
    return (rng.random(n) < score).astype(int), score


def net_benefit(labels: np.ndarray, said: np.ndarray, t: float) -> float:
    tp, fp = int((said & (labels == 1)).sum()), int((said & (labels == 0)).sum())
    return tp / len(labels) - fp / len(labels) * t / (1 - t)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 50), st.booleans())
def test_net_benefit_by_a_brute_loop(seed, n, grouped):
    rng = np.random.default_rng(seed)
    labels, score = case(rng, n)
    assume(0 < labels.sum() < n)
    p, units = two(score), rng.integers(0, 10, n) if grouped else None
    found = decision_curve(labels, p, CLASSES, "yes", units, resamples=100)
    for k in range(1, 100):
        t = k / 100
        model, everyone = net_benefit(labels, p[:, 1] >= t, t), net_benefit(labels, np.ones(n, bool), t)
        assert found.thresholds[k - 1] == t
        assert found.model[k - 1] == pytest.approx(model, abs=1e-12)
        assert found.all[k - 1] == pytest.approx(everyone, abs=1e-12)
        assert found.advantage[k - 1] == pytest.approx(model - max(everyone, 0), abs=1e-12)
    order = rng.permutation(n)
    again = decision_curve(
        labels[order], p[order], CLASSES, "yes", units[order] if units is not None else None, resamples=100
    )
    assert again.to_dict() == found.to_dict()  # to the last bit
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_case_worked_by_hand():
    # of ten images four are "yes"; at 0.2: 3 true and 2 false positives, so 0.3 - 0.2 / 4
    score = np.array([0.9, 0.8, 0.2, 0.1, 0.7, 0.2, 0.1, 0.1, 0.1, 0.1])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    found = decision_curve(labels, two(score), CLASSES, "yes")
    assert found.model[19] == pytest.approx(0.25)
    assert found.all[19] == pytest.approx(0.4 - 0.6 / 4) and found.prevalence == 0.4
    assert found.model[94] == 0


@pytest.mark.slow
def test_the_band_covers_the_truth_with_patients_and_is_too_narrow_without():
    # all images of a patient have one score and mostly one label; the truth is from very many
    def patients(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        score = np.round(rng.beta(1, 2, count), 2)
        ill = rng.random(count) < score
        units = np.repeat(np.arange(count), 6)
        flipped = rng.random(len(units)) < 0.05
        return (ill[units] ^ flipped).astype(int), two(score[units]), units

    rng = np.random.default_rng(32)
    labels, p, _ = patients(rng, 200_000)
    truth = {t: net_benefit(labels, p[:, 1] >= t, t) for t in (0.2, 0.4)}
    held, naive = [], []
    for _ in range(150):
        labels, p, units = patients(rng, 60)
        for named, kept in ((units, held), (None, naive)):
            found = decision_curve(labels, p, CLASSES, "yes", named, resamples=200)
            kept += [found.model_low[k] <= truth[k / 100 + 0.01] <= found.model_high[k] for k in (19, 39)]
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(naive) < 0.75


def test_where_it_is_useful():
    rng = np.random.default_rng(33)
    score = np.concatenate([rng.uniform(0.7, 0.9, 200), rng.uniform(0.1, 0.3, 200)])
    found = decision_curve(np.repeat([1, 0], 200), two(score), CLASSES, "yes")
    ((first, last),) = found.useful
    assert 0.1 <= first <= 0.15 and 0.85 <= last <= 0.9
    chance = decision_curve(rng.integers(0, 2, 400), two(rng.random(400)), CLASSES, "yes")
    assert sum(last - first for first, last in chance.useful) < 0.1
    one = decision_curve(np.array([0, 1]), two(np.array([0.2, 0.8])), CLASSES, "yes", np.array([5, 5]))
    assert one.model_low is None and one.useful == () and one.units == 1


def test_the_same_seed_draws_the_same_band():
    labels, score = case(np.random.default_rng(34), 80)
    first, second, other = (decision_curve(labels, two(score), CLASSES, "yes", seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == second.to_dict() != other.to_dict()


def test_what_cannot_be_is_refused():
    p = two(np.array([0.2, 0.4]))
    with pytest.raises(DataError, match="and of others"):
        decision_curve(np.array([1, 1]), p, CLASSES, "yes")
    with pytest.raises(UsageError, match="no class"):
        decision_curve(np.array([0, 1]), p, CLASSES, "maybe")
    with pytest.raises(UsageError, match="too few"):
        decision_curve(np.array([0, 1]), p, CLASSES, "yes", resamples=10)
    with pytest.raises(DataError, match="not a number"):
        decision_curve(np.array([0, 1]), p * np.nan, CLASSES, "yes")
