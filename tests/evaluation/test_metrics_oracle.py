"""Metrics against scikit-learn, and against what is stored."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from foveal.errors import DataError, UsageError
from foveal.evaluation.class_metrics import negative_value, positive_value
from foveal.evaluation.interval import by_group, wilson
from foveal.evaluation.metrics import confusion_matrix, measure
from foveal.evaluation.predictions import Predictions, write_predictions
from foveal.run import read_csv


def case(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.dirichlet(np.full(classes, 0.4), n), 9)
    used = rng.integers(1, classes + 1)  # some classes may have no image
    return rng.integers(0, used, n), probabilities, tuple(f"c{index}" for index in range(classes))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 6))
def test_every_figure_is_scikit_learns(seed, n, classes):
    labels, probabilities, names = case(seed, n, classes)
    ours, guess, every = measure(labels, probabilities, names, resamples=100), probabilities.argmax(1), range(classes)
    assert ours.n == n
    assert ours.accuracy.value == pytest.approx(oracle.accuracy_score(labels, guess), abs=1e-12)
    assert np.array_equal(ours.confusion, oracle.confusion_matrix(labels, guess, labels=list(every)))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        labels, guess, labels=list(every), zero_division=np.nan
    )
    for index, one in enumerate(ours.per_class.values()):
        for figure, value in ((one.precision, precision), (one.recall, recall)):
            assert figure is None if np.isnan(value[index]) else figure.value == pytest.approx(value[index], abs=1e-12)
        present = support[index] or (guess == index).any()
        assert one.f1 == (pytest.approx(f1[index], abs=1e-12) if present else None)
        assert one.support == support[index]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that sum to 1 only to nine decimals
        loss = oracle.log_loss(labels, np.maximum(probabilities, 1e-9), labels=list(every))
    assert ours.loss == pytest.approx(loss, abs=1e-6)
    in_test = np.unique(labels)
    macro = oracle.f1_score(labels, guess, labels=in_test, average="macro", zero_division=0)
    assert ours.macro_f1 == pytest.approx(macro, abs=1e-12)


def test_stored_predictions_give_the_same_metrics_again(tmp_path):
    labels, probabilities, names = case(3, 200, 5)
    file = tmp_path / "predictions.csv"
    write_predictions(file, Predictions(names, tuple(f"r{row}" for row in range(200)), labels, probabilities))
    rows = read_csv(file)
    again = np.array([[float(row[f"p:{name}"]) for name in names] for row in rows])
    given_labels = np.array([names.index(row["label"]) for row in rows])
    assert np.array_equal(again, probabilities)
    assert measure(given_labels, again, names).to_dict() == measure(labels, probabilities, names).to_dict()
    assert [row["predicted"] for row in rows] == [names[guess] for guess in probabilities.argmax(1)]
    assert [float(row["probability"]) for row in rows] == probabilities.max(1).tolist()


def test_a_probability_of_zero_costs_much_and_not_infinitely():
    ours = measure(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]), ("a", "b"))
    assert ours.loss == pytest.approx(-np.log(1e-9) / 2)
    assert ours.per_class["b"].precision is None and ours.per_class["b"].recall.value == 0


def test_no_image_is_said():
    with pytest.raises(DataError, match="no image"):
        measure(np.array([], np.int64), np.empty((0, 2)), ("a", "b"))


def test_small_integer_labels_do_not_overflow():
    labels = np.full(3, 19, np.uint8)
    assert confusion_matrix(labels, np.full(3, 18, np.int64), 20)[19, 18] == 3


def test_groups_change_the_interval_only_where_a_group_has_two_images():
    labels, probabilities, names = case(5, 40, 3)
    plain = measure(labels, probabilities, names)
    alone = measure(labels, probabilities, names, np.array([f"p{row}" for row in range(40)]))
    unknown = measure(labels, probabilities, names, np.array([""] * 40))
    pairs = measure(labels, probabilities, names, np.array([f"p{row // 2}" for row in range(40)]))
    assert plain.accuracy == alone.accuracy == unknown.accuracy and plain.note == unknown.note == ""
    assert pairs.accuracy.value == plain.accuracy.value and pairs.accuracy.method != "Wilson"
    assert "20 independent units" in pairs.note
    assert "all intervals allow for them" in pairs.note and pairs.units == 20 and plain.units == 40


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(2, 6))
def test_every_figure_of_the_whole_is_scikit_learns(seed, n, classes):
    labels, probabilities, names = case(seed, n, classes)
    ours = measure(labels, probabilities, names, resamples=100)
    guess, truth, present = probabilities.argmax(1), labels[:, None] == np.arange(classes), np.unique(labels)
    recalls = oracle.recall_score(labels, guess, labels=present, average="macro", zero_division=0)
    assert ours.balanced_accuracy.value == pytest.approx(recalls, abs=1e-12)
    assert ours.brier.value == pytest.approx(((probabilities - truth) ** 2).sum(1).mean(), abs=1e-12)
    assert ours.auc_micro.value == pytest.approx(oracle.roc_auc_score(truth.ravel(), probabilities.ravel()), abs=1e-12)
    assert ours.chance == truth.mean(0).max()
    assert list(ours.top_k) == [str(k) for k in (2, 3, 5) if k < classes]
    for k, one in ours.top_k.items():
        nearest = np.argsort(-probabilities, axis=1, kind="stable")[:, : int(k)]
        assert one.value == pytest.approx((nearest == labels[:, None]).any(1).mean(), abs=1e-12)
    if len(present) == 1:
        assert ours.mcc is None and ours.auc_macro is None and ours.average_precision_macro is None
        return
    assert ours.mcc.value == pytest.approx(oracle.matthews_corrcoef(labels, guess), abs=1e-9)
    assert ours.kappa.value == pytest.approx(oracle.cohen_kappa_score(labels, guess), abs=1e-9)
    areas = oracle.roc_auc_score(truth[:, present], probabilities[:, present], average=None)
    precisions = oracle.average_precision_score(truth[:, present], probabilities[:, present], average=None)
    assert ours.auc_macro.value == pytest.approx(np.mean(areas), abs=1e-12)
    assert ours.average_precision_macro.value == pytest.approx(np.mean(precisions), abs=1e-12)
    for index, one in enumerate(ours.per_class.values()):
        said = guess == index
        assert one.prevalence.value == truth[:, index].mean()
        assert one.specificity.value == pytest.approx((~said[~truth[:, index]]).mean(), abs=1e-12)
        assert one.npv is None if said.all() else one.npv.value == pytest.approx((~truth[~said, index]).mean())
        if index in present:
            place = present.tolist().index(index)
            assert one.auc.value == pytest.approx(areas[place] if np.ndim(areas) else areas, abs=1e-12)
            assert one.average_precision.value == pytest.approx(precisions[place], abs=1e-12)
            assert one.f1_interval.value == pytest.approx(one.f1, abs=1e-12)
        else:
            assert one.auc is None and one.average_precision is None and one.f1_interval is None and one.too_small


def every_estimate(value):
    """All JSON objects with an interval, at any depth."""
    if isinstance(value, dict):
        if "low" in value:
            yield value
        for one in value.values():
            yield from every_estimate(one)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 4), st.booleans())
def test_every_interval_holds_its_value_and_none_is_a_point(seed, n, classes, right):
    labels, probabilities, names = case(seed, n, classes)
    if right:
        probabilities = np.eye(classes)[labels]
    groups = np.array([f"p{row // 2}" for row in range(n)])
    found = measure(labels, probabilities, names, groups, resamples=100).to_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    for one in every_estimate(found):
        assert one["low"] <= one["value"] <= one["high"] and one["high"] - one["low"] > 1e-6


def test_a_classifier_without_a_wrong_answer_is_not_taken_for_perfect():
    labels = np.repeat([0, 1, 2], [40, 40, 10])
    ours = measure(labels, np.eye(3)[labels], ("a", "b", "c"))
    for one in (ours.balanced_accuracy, ours.intervals["macro_f1"], ours.auc_macro, ours.per_class["c"].f1_interval):
        assert one.value == 1 and one.low == pytest.approx(wilson(10, 10).low)
    assert 0.8 < ours.kappa.low < 1 and ours.kappa == ours.mcc
    assert ours.per_class["a"].auc.low == pytest.approx(wilson(40, 40).low)
    assert not ours.too_small and ours.per_class["c"].too_small is False


def test_small_classes_are_flagged_by_units_and_keep_wide_intervals():
    labels, groups = np.repeat([0, 1], [60, 12]), np.array([f"p{row}" for row in range(60)] + ["q", "r", "s"] * 4)
    shares = np.random.default_rng(0).dirichlet([2, 1], 72)
    ours = measure(labels, shares, ("a", "b"), groups)
    alone = measure(labels, shares, ("a", "b"))
    assert ours.too_small and ours.per_class["a"].too_small and ours.per_class["b"].too_small  # 3 units of b
    assert not alone.too_small and ours.units == 63
    few = measure(labels[:61], shares[:61], ("a", "b"))
    assert "too few" in few.balanced_accuracy.method and few.balanced_accuracy.high - few.balanced_accuracy.low > 0.7


def test_shares_of_a_class_allow_for_groups():
    rng = np.random.default_rng(4)
    units = np.repeat(np.arange(40), 5)
    labels = (np.arange(40) % 2)[units]
    shares = np.where(rng.random(40)[units] < 0.7, 0.9, 0.1)  # a patient's images are answered alike
    shares = np.where(labels[:, None] == [0, 1], shares[:, None], 1 - shares[:, None])
    ours = measure(labels, shares, ("a", "b"), units)
    hit, of_class = shares.argmax(1) == labels, labels == 0
    assert ours.per_class["a"].recall == by_group(hit[of_class], units[of_class])
    plain = measure(labels, shares, ("a", "b"))
    wide, narrow = (one.per_class["a"].recall.high - one.per_class["a"].recall.low for one in (ours, plain))
    assert wide > 1.6 * narrow
    assert ours.intervals["loss"].high - ours.intervals["loss"].low > 1.6 * (
        plain.intervals["loss"].high - plain.intervals["loss"].low
    )


def test_the_order_of_images_changes_no_bit():
    labels, probabilities, names = case(6, 90, 4)
    groups = np.array([f"p{row // 3}" if row < 60 else "" for row in range(90)])
    turn = np.random.default_rng(1).permutation(90)
    for units in (groups, np.array([f"p{row // 3}" for row in range(90)]), np.full(90, "")):
        here = measure(labels, probabilities, names, units, resamples=200)
        there = measure(labels[turn], probabilities[turn], names, units[turn], resamples=200)
        assert here.to_dict() == there.to_dict()


def test_predictive_values_at_a_stated_prevalence_by_hand():
    recall, specificity = wilson(90, 100), wilson(190, 200)
    ours = positive_value(recall, specificity, 0.01)
    assert ours.value == pytest.approx(0.9 * 0.01 / (0.9 * 0.01 + 0.05 * 0.99))
    assert negative_value(recall, specificity, 0.01).value == pytest.approx(0.95 * 0.99 / (0.95 * 0.99 + 0.1 * 0.01))
    assert wilson(190, 200).low < specificity.value and 0.08 < ours.low < ours.value < ours.high < 0.27
    assert (
        positive_value(wilson(5, 9), wilson(9, 9), 0.3).value == 1
        and positive_value(wilson(5, 9), wilson(9, 9), 0.3).low < 0.7
    )
    assert positive_value(wilson(0, 9), wilson(9, 9), 0.3) is None
    none_found = positive_value(wilson(0, 9), wilson(5, 9), 0.3)
    assert none_found.low == none_found.value == 0 < none_found.high < 0.5


def test_what_is_no_input_is_refused():
    labels, probabilities, names = case(1, 20, 3)
    for wrong in (
        probabilities * np.nan,
        probabilities * 3,
        probabilities - 0.5,
        probabilities[:, :2],
        probabilities[:5],
    ):
        with pytest.raises(DataError, match="probabilities"):
            measure(labels, wrong, names)
    for bad in (labels - 5, labels + 3, labels.astype(float)):
        with pytest.raises(DataError, match="Labels"):
            measure(bad, probabilities, names)
    with pytest.raises(DataError, match="groups"):
        measure(labels, probabilities, names, np.array(["a"]))
    for shares, said in (({"x": 0.1}, "no class"), ({"c0": 1.0}, "between"), ({"c0": 0.7, "c1": 0.7}, "add up")):
        with pytest.raises(UsageError, match=said):
            measure(labels, probabilities, names, prevalence=shares)
    stated = measure(labels, probabilities, names, prevalence={"c0": 0.02}, resamples=100).per_class
    assert stated["c0"].stated_prevalence == 0.02 and stated["c1"].ppv_at is None


@pytest.mark.slow
@pytest.mark.parametrize(("n", "prevalence"), [((60, 120), 0.02), ((200, 400), 0.3)])
def test_predictive_values_cover(n, prevalence):
    rng, recall, specificity = np.random.default_rng(8), 0.88, 0.93
    truth = recall * prevalence / (recall * prevalence + (1 - specificity) * (1 - prevalence))
    found = zip(rng.binomial(n[0], recall, 4_000), rng.binomial(n[1], specificity, 4_000), strict=True)
    ours = [positive_value(wilson(int(a), n[0]), wilson(int(b), n[1]), prevalence) for a, b in found]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in ours]) <= 0.97
