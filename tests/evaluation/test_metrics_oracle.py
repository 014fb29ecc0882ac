"""Metrics against scikit-learn, and against what is stored."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from foveal.errors import DataError
from foveal.evaluation.metrics import confusion_matrix, measure
from foveal.evaluation.predictions import write_predictions
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
    ours, guess, every = measure(labels, probabilities, names), probabilities.argmax(1), range(classes)
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
    write_predictions(file, [f"r{row}" for row in range(200)], labels, probabilities, names)
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
