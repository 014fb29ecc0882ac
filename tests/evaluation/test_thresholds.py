"""What thresholds give: scikit-learn's ROC curve, counts by a brute loop, figures by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from foveal.classifier.operating import OperatingPoint, Requirement, Threshold
from foveal.errors import DataError, UsageError
from foveal.evaluation.choosing import for_cost, for_prevalence, for_youden
from foveal.evaluation.interval import by_group, wilson
from foveal.evaluation.thresholds import at_operating_point, roc_points, threshold_table

CLASSES = ("no", "yes", "other")


def case(seed: int, n: int, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    second = np.round(rng.random(n), decimals)
    return rng.integers(0, 2, n), np.column_stack([1 - second, second])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 80), st.integers(1, 6))
def test_a_short_roc_curve_is_scikit_learns(seed, n, decimals):
    labels, p = case(seed, n, decimals)
    assume(0 < labels.sum() < n)
    fpr, tpr, _ = roc_curve(labels, p[:, 1], drop_intermediate=False)
    points = np.array(roc_points(labels == 1, p[:, 1]))
    theirs = {(round(x, 12), round(y, 12)) for x, y in zip(fpr, tpr, strict=True)}
    assert {(round(x, 12), round(y, 12)) for x, y in points.tolist()} <= theirs  # each is on it
    assert distance(points, np.column_stack([fpr, tpr])) < 1e-12  # and none that bends it is left out
    steps = np.diff(points, axis=0)
    assert (np.abs(steps[:-1, 0] * steps[1:, 1] - steps[1:, 0] * steps[:-1, 1]) > 1e-12).all()


def distance(thin: np.ndarray, exact: np.ndarray) -> float:
    """How far in x and y the two curves lie from one another, measured along falling diagonals at every vertex."""
    both = np.union1d(thin.sum(axis=1), exact.sum(axis=1))
    apart = [np.interp(both, one.sum(axis=1), one[:, 1] - one[:, 0]) for one in (thin, exact)]
    return float(np.abs(apart[0] - apart[1]).max() / 2)


@pytest.mark.parametrize(("n", "shift"), [(700, 1.0), (2_000, 0.3), (50_000, 2.0), (20_000, 0.0)])
def test_a_long_roc_curve_is_thinned_and_not_moved(n, shift):
    rng = np.random.default_rng(n)
    labels = rng.integers(0, 2, n)
    score = rng.normal(shift * labels)
    fpr, tpr, _ = roc_curve(labels, score, drop_intermediate=False)
    points = np.array(roc_points(labels == 1, score))
    assert len(points) <= 200 < len(fpr)
    assert points[0].tolist() == [0, 0] and points[-1].tolist() == [1, 1] and (np.diff(points, axis=0) >= 0).all()
    assert distance(points, np.column_stack([fpr, tpr])) <= 1 / 500 + 1e-12
    order = rng.permutation(n)
    assert roc_points(labels[order] == 1, score[order]) == roc_points(labels == 1, score)


def test_the_most_jagged_curve_keeps_to_200_points():
    labels = np.tile([1, 0], 150)  # every step turns
    fpr, tpr, _ = roc_curve(labels, -np.arange(300), drop_intermediate=False)
    points = np.array(roc_points(labels == 1, -np.arange(300.0)))
    assert len(points) == 200 and distance(points, np.column_stack([fpr, tpr])) <= 1 / 398 + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_table_is_counted_exactly_at_ties(seed, n):
    labels, p = case(seed, n)  # two decimals: many lie exactly on a threshold
    table = threshold_table(labels, p, 1)
    assert table["threshold"] == [k / 200 for k in range(201)]
    for k in range(201):
        said = p[:, 1] >= k / 200
        wanted = [(said & (labels == 1)).sum(), (said & (labels == 0)).sum(), (~said & (labels == 1)).sum()]
        assert [table[name][k] for name in ("tp", "fp", "fn")] == wanted
        assert table["tn"][k] == n - sum(wanted)
    json.dumps(table)


def test_figures_at_the_operating_point_by_hand():
    # of 8 "yes", 6 have 0.5 or more; of 12 others, 3
    score = np.concatenate([np.full(6, 0.5), np.full(2, 0.4), np.full(3, 0.6), np.full(9, 0.2)])
    labels = np.repeat([1, 0, 2], [8, 6, 6])
    p = np.column_stack([(1 - score) * 0.75, score, (1 - score) * 0.25])
    point = OperatingPoint(CLASSES, Threshold(1, 0.5), Requirement("threshold", 0.5), "validation", 9, 9)
    found = at_operating_point(point, labels, p, CLASSES, prevalence=0.01)
    one = found.binary
    assert (one.tp, one.fp, one.fn, one.tn) == (6, 3, 2, 9)
    assert (one.sensitivity, one.specificity) == (wilson(6, 8), wilson(9, 12))
    assert (one.ppv, one.npv) == (wilson(6, 9), wilson(9, 11))
    assert one.ppv_at.value == pytest.approx(0.75 * 0.01 / (0.75 * 0.01 + 0.25 * 0.99))
    assert one.npv_at.value == pytest.approx(0.75 * 0.99 / (0.75 * 0.99 + 0.25 * 0.01))
    assert found.accuracy == wilson(6 + 3, 20)  # 3 of the "no" are positive, the "other" are all called "no"
    assert [one.value for one in found.recall.values()] == [0.5, 0.75, 0.0]
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["binary"]["ppv"]["value"] == 6 / 9 and stored["mean_cost"] is None
    # patients
    units = np.arange(20) // 2
    grouped = at_operating_point(point, labels, p, CLASSES, units)
    assert grouped.binary.sensitivity == by_group(score[:8] >= 0.5, units[:8]) and grouped.units == 10
    assert grouped.binary.ppv_at is None


def test_no_denominator_is_no_figure():
    point = OperatingPoint(("no", "yes"), Threshold(1, 0.9), Requirement("threshold", 0.9), "validation", 9, 9)
    found = at_operating_point(point, np.zeros(3, int), np.array([[0.7, 0.3]] * 3), ("no", "yes"), prevalence=0.1)
    one = found.binary
    assert one.sensitivity is None and one.ppv is None and one.ppv_at is None and one.npv == wilson(3, 3)
    assert found.recall["yes"] is None


def test_costs_are_told_beside_those_of_the_most_probable_class():
    p = np.array([[0.8, 0.2], [0.8, 0.2], [0.95, 0.05], [0.3, 0.7]])
    found = at_operating_point(for_cost([[0, 1], [9, 0]], ("a", "b")), np.array([1, 0, 0, 1]), p, ("a", "b"))
    assert found.mean_cost is not None
    assert found.mean_cost_of_most_probable is not None
    assert found.cost_saved is not None
    assert (found.mean_cost.value, found.mean_cost_of_most_probable.value, found.cost_saved.value) == (0.25, 9 / 4, 2)
    assert found.mean_cost.low < 0.25 < found.mean_cost.high
    assert found.binary is None and found.accuracy.value == 0.75


def test_what_does_not_fit_is_refused():
    labels, p = case(1, 20)
    point = for_youden("yes", np.repeat([0, 1], 10), p[np.argsort(p[:, 1])], ("no", "yes"))
    with pytest.raises(UsageError, match="other classes"):
        at_operating_point(point, labels, p, ("yes", "no"))
    with pytest.raises(UsageError, match="between 0 and 1"):
        at_operating_point(point, labels, p, ("no", "yes"), prevalence=1.0)
    rule = for_prevalence({"no": 0.5, "yes": 0.5}, labels, ("no", "yes"))
    with pytest.raises(UsageError, match="positive class"):
        at_operating_point(rule, labels, p, ("no", "yes"), prevalence=0.1)
    with pytest.raises(DataError, match="images of the class and others"):
        roc_points(np.ones(3, bool), np.arange(3.0))
    with pytest.raises(DataError, match="finite"):
        roc_points(np.array([True, False]), np.array([0.1, np.nan]))
    with pytest.raises(UsageError, match="two steps"):
        threshold_table(labels, p, 1, steps=1)
    with pytest.raises(DataError, match="no image"):
        threshold_table(labels[:0], p[:0], 1)
