"""Answering only where sure: areas by a brute loop over orders, thresholds tried one by one."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import DataError, UsageError
from foveal.evaluation.interval import by_group, wilson
from foveal.evaluation.selective import accept_from, answered, risk_coverage


def said(right: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities (N, 2) of answers with the confidences `sure` (from 0.5), which are `right` or not."""
    return np.where(right, 0, 1), np.column_stack([sure, 1 - sure])


def area(right: np.ndarray, order: list[int]) -> float:
    wrong = [not right[one] for one in order]
    return float(np.mean([np.mean(wrong[: k + 1]) for k in range(len(order))]))


def test_a_case_worked_by_hand():
    right, sure = np.array([1, 0, 1, 0], bool), np.array([0.9, 0.8, 0.7, 0.6])
    found = risk_coverage(*said(right, sure))
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.optimal_aurc == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found.excess_aurc == pytest.approx(0.125) and found.random_aurc == 0.5
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0] and found.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    half, three_quarters = found.at[0], found.at[5]
    assert (half.coverage, half.n, half.confidence, half.accuracy) == (0.5, 2, 0.8, wilson(1, 2))
    assert (three_quarters.wanted, three_quarters.n) == (0.75, 3)
    json.dumps(found.to_dict(), allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_the_area_is_the_mean_over_all_orders_of_ties(seed, n):
    rng = np.random.default_rng(seed)
    right, sure = rng.random(n) < 0.6, rng.integers(6, 9, n) / 10
    allowed = [order for order in permutations(range(n)) if all(np.diff(sure[list(order)]) <= 0)]
    found = risk_coverage(*said(right, sure))
    assert found.aurc == pytest.approx(np.mean([area(right, list(order)) for order in allowed]))
    every = [area(right, list(order)) for order in permutations(range(n))]
    assert found.optimal_aurc == pytest.approx(min(every)) and found.random_aurc == pytest.approx(np.mean(every))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300))
def test_the_curve_by_a_brute_loop_and_in_any_order(seed, n):
    rng = np.random.default_rng(seed)
    right, sure = rng.random(n) < 0.7, 0.5 + rng.random(n) / 2
    found = risk_coverage(*said(right, sure))
    order = np.argsort(-sure)
    assert found.aurc == pytest.approx(area(right, order.tolist()))
    assert len(found.coverage) == min(n, 200) and found.coverage[-1] == 1
    for coverage, risk in zip(found.coverage, found.risk, strict=True):
        assert risk == pytest.approx((~right)[order[: round(coverage * n)]].mean())
    mixed = rng.permutation(n)
    assert risk_coverage(*said(right[mixed], sure[mixed])).to_dict() == found.to_dict()
    for one in found.at:
        assert one.n >= one.wanted * n - 1e-9 > one.n - 1 and one.accuracy.value == right[sure >= one.confidence].mean()


def test_ties_are_answered_together_and_patients_widen():
    right, sure = np.tile([True, True, False], 20), np.repeat([0.9, 0.6], 30)
    units = np.arange(60) // 6
    found = risk_coverage(*said(right, sure), units)
    assert [one.coverage for one in found.at] == [0.5] + [1.0] * 10
    assert found.at[0].accuracy == by_group(right[:30], units[:30]) and found.units == 10


def test_another_confidence_can_be_given():
    right, sure = np.array([1, 0, 1, 0], bool), np.array([0.9, 0.8, 0.7, 0.6])
    best = risk_coverage(*said(right, sure), confidence=right.astype(float), named="an oracle")
    assert best.excess_aurc == 0 and best.confidence == "an oracle"
    assert risk_coverage(*said(right, sure), confidence=-right.astype(float)).aurc > best.aurc
    for bad in (np.array([1.0, np.nan, 1, 1]), np.ones(3)):
        with pytest.raises(DataError, match="finite confidences"):
            risk_coverage(*said(right, sure), confidence=bad)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0.6, 0.8, 0.9, 1.0]), st.booleans())
def test_no_confidence_answers_more(seed, n, wanted, lower_bound):
    rng = np.random.default_rng(seed)
    sure = np.round(0.5 + rng.random(n) / 2, 2)
    right = rng.random(n) < sure
    labels, p = said(right, sure)
    sure = p.max(axis=1)
    reaching = [one for one in np.unique(sure) if right[sure >= one].mean() >= wanted]
    if lower_bound:
        reaching = [one for one in reaching if wilson(int(right[sure >= one].sum()), (sure >= one).sum()).low >= wanted]
    if not reaching:
        with pytest.raises(DataError, match="never right"):
            accept_from(wanted, labels, p, lower_bound=lower_bound)
        return
    found = accept_from(wanted, labels, p, lower_bound=lower_bound)
    assert np.array_equal(sure >= found.threshold, sure >= min(reaching))
    there = answered(found.threshold, labels, p)
    assert (there.coverage, there.accuracy) == (found.coverage, found.accuracy)
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_validation_promises_test_keeps():
    rng = np.random.default_rng(41)
    kept = []
    for _ in range(300):
        sure = 0.5 + rng.random(1_000) / 2
        labels, p = said(rng.random(1_000) < sure, sure)
        found = accept_from(0.85, labels, p, lower_bound=True)
        kept.append((1 + found.threshold) / 2 >= 0.85)  # the true accuracy from there on
    assert np.mean(kept) > 0.95


def test_nothing_answered_and_impossible_wishes():
    labels, p = said(np.array([True, False]), np.array([0.6, 0.7]))
    none = answered(0.9, labels, p)
    assert none.accuracy is None and none.coverage == wilson(0, 2) and none.to_dict()["accuracy"] is None
    with pytest.raises(UsageError, match="ask for a share"):
        accept_from(1.5, labels, p)
    with pytest.raises(DataError, match="no image"):
        risk_coverage(labels[:0], p[:0])
