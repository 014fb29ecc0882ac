"""Slices: their figures are those of their images, the test of the gap keeps its level, and bands are what they say."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from foveal.errors import DataError, UsageError
from foveal.evaluation.bands import bands
from foveal.evaluation.metrics import measure
from foveal.evaluation.permutation import Parts
from foveal.evaluation.slices import slices

CLASSES = ("a", "b", "c")


def case(rng: np.random.Generator, n: int, skill: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), labels] += skill
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_a_slice_has_the_figures_of_its_images():
    rng = np.random.default_rng(0)
    labels, shares = case(rng, 200, 2.0)
    values = np.array(["X"] * 80 + ["Y"] * 100 + ["Z"] * 4 + [""] * 16)
    units = np.array([f"p{row // 2}" for row in range(200)])
    report = slices("scanner", values, labels, shares, CLASSES, units)
    assert [(one.value, one.n, one.units, one.too_small) for one in report.slices] == [
        ("X", 80, 40, False),
        ("Y", 100, 50, False),
        ("Z", 4, 2, True),
        ("unknown", 16, 8, False),
    ]
    first, alone = report.slices[0], measure(labels[:80], shares[:80], CLASSES, units[:80], resamples=1_000)
    assert first.accuracy == alone.accuracy and first.auc_macro == alone.auc_macro
    assert first.loss == alone.intervals["loss"] and first.balanced_accuracy == alone.balanced_accuracy
    assert report.slices[2].accuracy is None
    judged = {one.value: one.accuracy.value for one in report.slices if one.accuracy}
    assert report.gap.difference == pytest.approx(max(judged.values()) - min(judged.values()))
    assert judged[report.gap.best] == max(judged.values()) and judged[report.gap.worst] == min(judged.values())
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["slices"][0]["accuracy"]["method"]


def test_the_permutation_test_is_the_exact_one_counted_out():
    rng = np.random.default_rng(1)
    codes, strata, right = np.array([0, 0, 0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 0, 0, 1, 1, 1]), rng.random(8) < 0.5
    parts = Parts.of(codes, np.arange(8), strata, right)

    def gap(chosen: tuple[int, ...]) -> float:
        inside = np.isin(np.arange(8), chosen)
        return abs(right[inside].mean() - right[~inside].mean())

    every = [
        gap((*one, other)) for one in itertools.combinations(range(5), 3) for other in (5, 6, 7)
    ]  # values of three images of class 0 and one of class 1 in slice 0: their number is kept
    drawn = parts.gaps(20_000, seed=0)
    assert parts.observed() == pytest.approx(gap((0, 1, 2, 5)))
    for value in np.unique(np.round(every, 9)):
        share = np.mean(np.abs(np.array(every) - value) < 1e-8)
        assert np.mean(np.abs(drawn - value) < 1e-8) == pytest.approx(share, abs=0.015)


def test_a_fault_of_one_scanner_is_found_and_a_mix_of_classes_is_not_taken_for_one():
    rng = np.random.default_rng(2)
    values = rng.choice(["X", "Y", "Z"], 600)
    labels, shares = case(rng, 600, np.where(values == "Z", 1.0, 3.0))
    found = slices("scanner", values, labels, shares, CLASSES)
    assert found.gap.worst == "Z" and found.gap.p_value == 1 / 2_001
    labels, shares = case(rng, 600, 3.0)
    hard = labels == 0
    shares[hard] = 1 / 3 + np.array([-0.01, 0.01, 0]) * rng.choice([-1, 1], 600)[hard, None]  # right half of the time
    mixed = np.where(rng.random(600) < np.where(hard, 0.8, 0.2), "X", "Y")  # X has most of the hard class
    told = slices("site", mixed, labels, shares, CLASSES)
    assert told.gap.worst == "X" and told.gap.difference > 0.15 and told.gap.p_value > 0.05
    assert told.gap.by_chance == pytest.approx(told.gap.difference, abs=0.06)
    assert all(one.expected_accuracy == pytest.approx(one.accuracy.value, abs=0.08) for one in told.slices)


def test_a_unit_torn_between_slices_is_said_and_order_does_not_matter():
    rng = np.random.default_rng(3)
    labels, shares = case(rng, 120, 1.0)
    units, side = np.array([f"p{row // 2}" for row in range(120)]), np.array(["left", "right"] * 60)
    report = slices("side", side, labels, shares, CLASSES, units, permutations=200)
    assert "several slices" in report.note
    whole = slices("site", np.array(["s", "t"])[np.arange(120) // 60], labels, shares, CLASSES, units, permutations=200)
    assert "several slices" not in whole.note
    turn = rng.permutation(120)
    again = slices("side", side[turn], labels[turn], shares[turn], CLASSES, units[turn], permutations=200)
    assert again.to_dict() == report.to_dict()


def test_what_cannot_be_sliced():
    labels, shares = case(np.random.default_rng(4), 20, 1.0)
    assert slices("one", np.full(20, "x"), labels, shares, CLASSES).gap is None
    none = slices("each", np.arange(20).astype(str), labels, shares, CLASSES)
    assert none.gap is None and all(one.too_small for one in none.slices) and none.note == ""
    assert [one.value for one in none.slices] == [str(row) for row in range(20)]  # as numbers
    with pytest.raises(DataError, match="20 images"):
        slices("x", np.full(3, "x"), labels, shares, CLASSES)
    with pytest.raises(UsageError, match="permutations"):
        slices("x", np.full(20, "x"), labels, shares, CLASSES, permutations=0)


def test_bands_of_ages():
    ages = np.array(["30", "39", "40", "", "100", "7", "nan"])
    assert bands(ages, width=10).tolist() == [
        "30 to 39", "30 to 39", "40 to 49", "unknown", "100 to 109", "0 to 9", "unknown",
    ]  # fmt: skip
    assert bands(np.array([0.5, 1.0, 1.9]), width=1).tolist() == ["0 to below 1", "1 to below 2", "1 to below 2"]
    assert bands(np.arange(8.0)).tolist() == ["0 to 1"] * 2 + ["2 to 3"] * 2 + ["4 to 5"] * 2 + ["6 to 7"] * 2
    assert set(bands(np.array([5, 5, 5, 5, 9])).tolist()) == {"5", "9"}
    assert bands(np.array(["", ""])).tolist() == ["unknown"] * 2
    with pytest.raises(DataError, match='"old" in row 1'):
        bands(np.array(["3", "old"]))
    with pytest.raises(DataError, match="infinite"):
        bands(np.array([1.0, np.inf]))
    with pytest.raises(UsageError, match="above 0"):
        bands(np.array([1.0]), width=0)


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 6])
def test_the_test_of_the_gap_keeps_its_level(most):
    rng, alarms = np.random.default_rng(5), 0
    for seed in range(1_000):
        units = np.repeat(np.arange(60), rng.integers(1, most + 1, 60))
        strata, ease = rng.integers(0, 3, 60), rng.beta(3, 1, 60)
        values = np.where(rng.random(60) < 0.3 + 0.2 * strata, 0, rng.integers(1, 3, 60))  # classes lie unevenly
        right = rng.random(len(units)) < (ease * (1 - 0.2 * strata))[units]  # and one is harder
        parts = Parts.of(values[units], units, strata[units], right)
        drawn = parts.gaps(199, seed)
        alarms += (1 + (drawn >= parts.observed() - 1e-12).sum()) / 200 <= 0.05
    assert 0.03 <= alarms / 1_000 <= 0.07


def test_where_every_class_lies_in_one_slice_nothing_can_be_told():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    p = np.eye(2)[np.where(rng.random(200) < 0.2, 1 - labels, labels)] * 0.8 + 0.1
    found = slices("site", np.where(labels == 0, "north", "south"), labels, p, ("a", "b"))
    assert found.gap is not None
    assert (found.gap.p_value, found.gap.by_chance) == (None, None)
    sites = np.where(labels == 0, "north", "south")
    sites[labels.argmin()] = "south"  # a single image of the other class can be exchanged
    one = slices("site", sites, labels, p, ("a", "b"))
    assert one.gap is not None
    assert one.gap.p_value is not None
