"""Calibration measured: hand-worked cases, brute-force loops, and what chance shows, by simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from foveal.errors import DataError, UsageError
from foveal.evaluation.calibration import (
    CalibrationMeasures,
    binned_error,
    brier_score,
    calibration_measures,
    equal_mass,
    equal_width,
)
from foveal.evaluation.interval import by_group, wilson


def drawn(seed: int, n: int, classes: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities beside them, which are so perfectly calibrated."""
    rng = np.random.default_rng(seed)
    p = softmax(spread * rng.normal(size=(n, classes)), axis=1)
    return (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1), p


def sharper(p: np.ndarray, power: float) -> np.ndarray:
    return softmax(power * np.log(p), axis=1)


def names(p: np.ndarray) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(p.shape[1]))


def measured(labels: np.ndarray, p: np.ndarray, units: np.ndarray | None = None, **how: int) -> CalibrationMeasures:
    return calibration_measures(labels, p, names(p), units, **how)


def test_a_case_worked_by_hand():
    # answered with 0.6 (right), 0.7 and 0.8 (wrong), 0.9 twice (right); bins (0.4, 0.6], (0.6, 0.8], (0.8, 1]
    second = np.array([0.6, 0.7, 0.8, 0.9, 0.9])
    found = measured(np.array([1, 0, 0, 1, 1]), np.column_stack((1 - second, second)), bins=5)
    rows = [(round(one.low, 9), round(one.high, 9), one.n) for one in found.equal_width]
    assert rows == [(0.4, 0.6, 1), (0.6, 0.8, 2), (0.8, 1.0, 2)]
    assert [one.mean_probability for one in found.equal_width] == pytest.approx([0.6, 0.75, 0.9])
    assert [one.share.value for one in found.equal_width] == [1, 0, 1]
    assert found.ece.value == pytest.approx((1 * 0.4 + 2 * 0.75 + 2 * 0.1) / 5)
    assert found.mce == pytest.approx(0.75)
    # as many images a bin: one each, but the two of 0.9 stay together
    assert [(one.low, one.high, one.n) for one in found.equal_mass] == [
        (0.6, 0.6, 1),
        (0.7, 0.7, 1),
        (0.8, 0.8, 1),
        (0.9, 0.9, 2),
    ]
    assert found.ece_equal_mass.value == pytest.approx((0.4 + 0.7 + 0.8 + 2 * 0.1) / 5)
    assert found.brier.score == pytest.approx(2 * (0.16 + 0.49 + 0.64 + 0.01 + 0.01) / 5)
    assert found.brier.uncertainty == pytest.approx(2 * 0.6 * 0.4)
    assert found.mean_confidence == pytest.approx(0.78)
    assert found.accuracy.value == pytest.approx(0.6)
    # class 1 has the same bins as its confidence; class 0 has 0.4 0.3 0.2 0.1 0.1 in (0.2, 0.4], (0, 0.2]
    assert found.classwise_ece["class 1"] == pytest.approx(found.ece.value)
    assert found.classwise_ece["class 0"] == pytest.approx((abs(0.7 - 1) + abs(0.4 - 1)) / 5)


def looped(said: np.ndarray, so: np.ndarray, bins: int) -> tuple[float, float]:
    """ECE and MCE, one image and one bin at a time."""
    total, worst = 0.0, 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = [row for row in range(len(said)) if low < said[row] <= high or (place == 0 and said[row] == 0)]
        if inside:
            gap = abs(sum(said[row] for row in inside) - sum(bool(so[row]) for row in inside)) / len(inside)
            total, worst = total + len(inside) / len(said) * gap, max(worst, gap)
    return total, worst


@pytest.mark.parametrize(("n", "classes", "bins"), [(1, 2, 15), (37, 2, 8), (300, 4, 16), (300, 7, 1)])
def test_errors_are_those_of_a_plain_loop(n, classes, bins):
    labels, p = drawn(n, n, classes)
    p = np.round(sharper(p, 2), 9)
    found = measured(labels, p, bins=bins)
    correct = p.argmax(axis=1) == labels
    assert (found.ece.value, found.mce) == pytest.approx(looped(p.max(axis=1), correct, bins), abs=1e-12)
    for index, value in enumerate(found.classwise_ece.values()):
        assert value == pytest.approx(looped(p[:, index], labels == index, bins)[0], abs=1e-12)
    assert found.mean_classwise_ece == pytest.approx(np.mean(list(found.classwise_ece.values())))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), classes=st.integers(2, 5), bins=st.integers(1, 20))
def test_what_holds_for_any_answers(seed, n, classes, bins):
    labels, p = drawn(seed, n, classes)
    p = np.round(p, seed % 3 + 1)
    p[:, 0] = np.round(1 - p[:, 1:].sum(axis=1), 9)
    p = np.abs(np.where((p[:, :1] >= 0), p, 1 / classes))
    units = np.random.default_rng(seed).integers(0, max(1, n // 2), n) if seed % 2 else None
    found = measured(labels, p, units, bins=bins)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["n"] == n
    for rows in (found.equal_width, found.equal_mass):
        assert sum(one.n for one in rows) == n
        error = sum(one.n * abs(one.mean_probability - one.share.value) for one in rows) / n
        assert error == pytest.approx(
            (found.ece if rows is found.equal_width else found.ece_equal_mass).value, abs=1e-9
        )
        for one in rows:
            assert one.low - 1e-12 <= one.mean_probability <= one.high + 1e-12
            assert 0 <= one.share.low <= one.share.value <= one.share.high <= 1
    for estimate in (found.ece, found.ece_equal_mass):
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert found.ece.value <= found.mce + 1e-12
    for rows in found.per_class.values():
        assert sum(one.n for one in rows) == n
        assert len(rows) <= 10
    parts = found.brier
    whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert parts.score == pytest.approx(whole, abs=1e-12)
    order = np.random.default_rng(seed).permutation(n)
    again = measured(labels[order], p[order], units[order] if units is not None else None, bins=bins)
    assert again.ece_equal_mass.value == pytest.approx(found.ece_equal_mass.value, abs=1e-12)


def test_murphys_parts_are_exact_where_forecasts_take_few_values():
    rng = np.random.default_rng(3)
    values = np.array([0.05, 0.3, 0.55, 0.95])
    second = values[rng.integers(0, 4, 400)]
    labels = (rng.random(400) < 0.8 * second).astype(np.int64)
    found = brier_score(labels, np.column_stack((1 - second, second)), bins=10)
    so = np.array([labels[second == value].mean() for value in values])
    sizes = np.array([(second == value).sum() for value in values])
    assert found.within_bins == pytest.approx(0, abs=1e-12)
    assert found.reliability == pytest.approx(2 * (sizes * (values - so) ** 2).sum() / 400)
    assert found.resolution == pytest.approx(2 * (sizes * (so - labels.mean()) ** 2).sum() / 400)
    assert found.score == pytest.approx(2 * ((second - labels) ** 2).mean())


def test_bins_hold_their_upper_edge_and_equal_values_stay_together():
    assert equal_width(np.array([0.0, 0.1, 0.25, 0.250001, 0.5, 1.0]), 4).tolist() == [0, 0, 0, 1, 1, 3]
    assert equal_mass(np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.5]), 3).tolist() == [2, 0, 0, 1, 1, 2]
    assert equal_mass(np.array([1.0, 1.0, 1.0, 1.0, 0.2, 1.0]), 3).tolist() == [1, 1, 1, 1, 0, 1]
    assert equal_mass(np.ones(5), 3).tolist() == [0] * 5


def test_intervals_of_bins_are_wilsons_or_those_for_groups():
    labels, p = drawn(4, 300, 3)
    units = np.arange(300) // 4
    correct, places = p.argmax(axis=1) == labels, equal_width(p.max(axis=1), 15)
    alone, grouped = measured(labels, p), measured(labels, p, units)
    assert (alone.groups, grouped.groups) == (None, 75)
    assert measured(labels, p, np.arange(300)).to_dict() == alone.to_dict()
    for at, place in enumerate(np.unique(places)):
        inside = places == place
        assert alone.equal_width[at].share == wilson(int(correct[inside].sum()), int(inside.sum()))
        assert grouped.equal_width[at].share == by_group(correct[inside], units[inside])
    assert grouped.accuracy == by_group(correct, units)


def test_chance_is_that_of_a_plain_simulation():
    labels, p = drawn(5, 60, 3)
    found = measured(labels, p)
    rng, confidence = np.random.default_rng(9), p.max(axis=1)
    places = equal_width(confidence, 15)
    errors = [binned_error(confidence, rng.random(60) < confidence, places) for _ in range(4_000)]
    assert found.ece_by_chance.mean == pytest.approx(np.mean(errors), abs=0.004)
    assert found.ece_by_chance.high == pytest.approx(np.quantile(errors, 0.95), abs=0.01)
    assert found.ece_by_chance.draws == 1_000


def test_the_sentence_says_whether_chance_explains_the_error():
    labels, p = drawn(6, 500, 3)
    fine, sure = measured(labels, p), measured(labels, sharper(p, 4))
    assert "no more than chance explains" in fine.sentence
    assert fine.ece.low == 0
    assert ", more than chance explains" in sure.sentence
    assert sure.ece.low > 0
    assert f"{sure.ece_by_chance.mean:.3f} on average" in sure.sentence


def test_what_the_bootstrap_cannot_see_still_widens_the_interval():
    right, p = np.zeros(20, np.int64), np.tile([0.999, 0.001], (20, 1))
    found = measured(right, p).ece
    assert found.value == pytest.approx(0.001)
    assert found.high == pytest.approx(0.001 + 1 - wilson(20, 20).low)
    labels, p = drawn(10, 30, 3)
    one_group = measured(labels, p, np.zeros(30, np.int64)).ece
    assert one_group.low == 0
    assert one_group.high - one_group.value > 0.3


def test_groups_of_copies_widen_the_interval():
    labels, p = drawn(7, 200, 3)
    p = sharper(p, 3)
    once = measured(labels, p)
    copies = np.repeat(np.arange(200), 5)
    copied, naive = measured(labels[copies], p[copies], copies), measured(labels[copies], p[copies])
    assert copied.ece.value == pytest.approx(once.ece.value)
    assert copied.ece.high - copied.ece.value == pytest.approx(once.ece.high - once.ece.value, rel=0.2)
    assert naive.ece.high - naive.ece.value < 0.6 * (once.ece.high - once.ece.value)


def test_the_same_answers_give_the_same_measures_in_portions_too(monkeypatch):
    labels, p = drawn(8, 90, 3)
    whole = measured(labels, p).to_dict()
    assert measured(labels, p).to_dict() == whole
    monkeypatch.setattr("foveal.evaluation.calibration.AT_ONCE", 700)
    parts = measured(labels, p)
    assert parts.ece_by_chance.mean == pytest.approx(whole["ece_by_chance"]["mean"], abs=1e-12)
    assert parts.ece.high == pytest.approx(whole["ece"]["high"], abs=1e-12)


def test_what_cannot_be_measured_is_refused():
    labels, p = drawn(9, 10, 3)
    for wrong in (
        (labels[:0], p[:0], None),
        (labels - 1, p, None),
        (labels + 3, p, None),
        (labels.astype(float), p, None),
        (labels, p[:, :2], None),
        (labels, np.where(p > 0.5, np.nan, p), None),
        (labels, p * 2, None),
        (labels, p, np.arange(9)),
    ):
        with pytest.raises(DataError):
            calibration_measures(wrong[0], wrong[1], ("a", "b", "c"), wrong[2])
    with pytest.raises(UsageError, match="at least one bin"):
        measured(labels, p, bins=0)


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 400])
def test_a_calibrated_classifier_stays_below_the_95th_percentile_95_times_in_100(n):
    below = below_even = 0
    for seed in range(600):
        found = measured(*drawn(1_000 + seed, n, 3))
        below += found.ece.value <= found.ece_by_chance.high
        below_even += found.ece_equal_mass.value <= found.ece_equal_mass_by_chance.high
    for count in (below, below_even):
        assert abs(count / 600 - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / 600)


@pytest.mark.slow
@pytest.mark.parametrize("power", [1.0, 1.15, 1.4, 3.0])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_of_the_error_covers(power, grouped):
    def sample(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images in fives, which share half of their lot where they are grouped."""
        rng = np.random.default_rng(seed)
        p = softmax(1.5 * rng.normal(size=(n, 4)), axis=1)
        units = np.arange(n) // 5
        lots = np.where(rng.random(n) < (0.5 if grouped else 0), rng.random(n)[units], rng.random(n))
        return (p.cumsum(axis=1) > lots[:, None]).argmax(axis=1), sharper(p, power), units

    labels, p, _ = sample(0, 1_000_000)
    truth = binned_error(p.max(axis=1), p.argmax(axis=1) == labels, equal_width(p.max(axis=1), 15))
    for n in (60, 300):
        held = 0
        for seed in range(1, 301):
            labels, p, units = sample(seed, n)
            one = measured(labels, p, units if grouped else None).ece
            held += one.low <= truth <= one.high
        assert held / 300 >= 0.91
