"""What a calibration does to probabilities, and what it refuses to be read from."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from foveal.classifier.calibration import METHODS, Calibration
from foveal.errors import DataError
from foveal.evaluation.calibrating import fit_calibration

THREE = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [1 / 3, 1 / 3, 1 / 3]])


def calibration(method, **parameters) -> Calibration:
    return Calibration(method, parameters, {})


def test_the_formulas_are_those_of_the_papers():
    cooler = calibration("temperature", temperature=2.0).apply(THREE)
    assert cooler == pytest.approx(softmax(np.log(THREE) / 2, axis=1), abs=1e-9)
    weights, biases = [0.5, 1.5, 1.0], [0.2, -0.1, 0.0]
    vector = calibration("vector", weights=weights, biases=biases).apply(THREE)
    assert vector == pytest.approx(softmax(weights * np.log(THREE) + biases, axis=1), abs=1e-9)
    platt = calibration("platt", slopes=weights, intercepts=biases).apply(THREE)
    alone = expit(weights * logit(THREE) + biases)
    assert platt == pytest.approx(alone / alone.sum(axis=1, keepdims=True), abs=1e-9)
    beta = calibration("beta", a=weights, b=[2.0, 0.0, 1.0], c=biases).apply(THREE)
    alone = expit(weights * np.log(THREE) - np.array([2.0, 0.0, 1.0]) * np.log(1 - THREE) + biases)
    assert beta == pytest.approx(alone / alone.sum(axis=1, keepdims=True), abs=1e-9)


def test_isotonic_is_a_line_through_its_knots_that_never_reaches_0():
    one = calibration("isotonic", knots=[[0.2, 0.4, 0.8]], values=[[0.0, 0.5, 1.0]], floor=0.01)
    second = np.array([0.0, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0])
    expected = [0.01 / 1.01, 0.01 / 1.01, 0.25, 0.5, 0.75, 1 / 1.01, 1 / 1.01]
    assert one.apply(np.column_stack((1 - second, second)))[:, 1] == pytest.approx(expected, abs=1e-9)
    silent = calibration("isotonic", knots=[[0.5]] * 3, values=[[0.0]] * 3, floor=0.01)
    assert silent.apply(THREE) == pytest.approx(np.full((3, 3), 1 / 3), abs=1e-9)


def test_none_changes_nothing():
    assert np.array_equal(calibration("none").apply(np.round(THREE, 9)), np.round(THREE, 9))


def test_extremes_stay_probabilities():
    certain = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for one in (
        calibration("temperature", temperature=0.01),
        calibration("vector", weights=[1e6, -1e6, 0.0], biases=[1e6, 1e6, 0.0]),
        calibration("platt", slopes=[1e6] * 3, intercepts=[-1e9] * 3),
        calibration("beta", a=[1e6] * 3, b=[0.0] * 3, c=[-1e9] * 3),
    ):
        found = one.apply(certain)
        assert ((found >= 0) & (found <= 1)).all()
        assert found.sum(axis=1) == pytest.approx(1, abs=1e-8)


def drawn(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = softmax(2 * rng.normal(size=(n, classes)), axis=1)
    labels = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return labels, np.round(p, 9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(2, 5),
    method=st.sampled_from(METHODS),
    raised=st.sampled_from([0.3, 1, 4]),
)
def test_any_fitted_calibration_gives_probabilities_row_by_row_and_survives_json(seed, classes, method, raised):
    labels, p = drawn(seed, 150, classes)
    p = np.round(softmax(raised * np.log(np.maximum(p, 1e-9)), axis=1), 9)
    fitted = fit_calibration(method, labels, p)
    new = np.vstack((drawn(seed + 1, 20, classes)[1], np.eye(classes)))
    found = fitted.apply(new)
    assert found.shape == new.shape
    assert found.dtype == np.float64
    assert ((found >= 0) & (found <= 1)).all()
    assert found.sum(axis=1) == pytest.approx(1, abs=classes * 1e-9)
    assert np.array_equal(found, np.round(found, 9))
    for row in (0, 7, len(new) - 1):
        assert np.array_equal(fitted.apply(new[row : row + 1])[0], found[row])
    assert np.array_equal(fitted.apply(np.asfortranarray(new)), found)
    assert fitted.apply(new[:0]).shape == (0, classes)
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)), classes)
    assert again.to_dict() == fitted.to_dict()
    assert np.array_equal(again.apply(new), found)
    if method == "isotonic":
        assert found.min() > 0
    if method == "temperature":
        answered = new.argmax(axis=1)
        assert np.array_equal(found[np.arange(len(new)), answered], found.max(axis=1))


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic", "vector", "temperature"])
def test_two_classes_change_places_and_the_answers_with_them(method):
    labels, p = drawn(5, 400, 2)
    there, back = fit_calibration(method, labels, p), fit_calibration(method, 1 - labels, p[:, ::-1])
    assert back.apply(p[:, ::-1])[:, ::-1] == pytest.approx(there.apply(p), abs=2e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.array([0.2, 0.8]), "row of probabilities"),
        (np.array([[0.2, 0.8]]), "other classes"),
        (np.array([[0.2, np.nan, 0.8]]), "between 0 and 1"),
        (np.array([[-0.1, 0.3, 0.8]]), "between 0 and 1"),
        (np.array([[3.0, 2.0, 1.0]]), "between 0 and 1"),
    ],
)
def test_what_are_no_probabilities_is_refused(wrong, said):
    with pytest.raises(DataError, match=said):
        calibration("vector", weights=[1.0] * 3, biases=[0.0] * 3).apply(wrong)


def test_one_against_rest_of_two_is_not_that_of_three():
    with pytest.raises(DataError, match="other classes"):
        calibration("platt", slopes=[1.0], intercepts=[0.0]).apply(THREE)
    with pytest.raises(DataError, match="other classes"):
        calibration("platt", slopes=[1.0] * 3, intercepts=[0.0] * 3).apply(THREE[:, :2])


GOOD = {
    "none": {},
    "temperature": {"temperature": 1.5},
    "vector": {"weights": [1.0, 2.0, 3.0], "biases": [0.0, 0.0, -1]},
    "platt": {"slopes": [1.0, 2.0, 3.0], "intercepts": [0.0, 0.0, -1.0]},
    "beta": {"a": [1.0, 2.0, 0.0], "b": [1.0, 2.0, 0.0], "c": [0.0, 0.0, -1.0]},
    "isotonic": {"knots": [[0.1, 0.5]] * 3, "values": [[0.0, 1.0]] * 3, "floor": 0.01},
}


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("temperature", "temperature", 0),
        ("temperature", "temperature", -1.0),
        ("temperature", "temperature", float("nan")),
        ("temperature", "temperature", float("inf")),
        ("temperature", "temperature", 1e-300),
        ("temperature", "temperature", True),
        ("temperature", "temperature", "2"),
        ("temperature", "temperature", None),
        ("temperature", "more", 1.0),
        ("none", "temperature", 1.0),
        ("vector", "weights", [1.0, 2.0]),
        ("vector", "weights", 1.0),
        ("vector", "biases", [1.0, 2.0, float("nan")]),
        ("vector", "biases", [1.0, 2.0, 10**400]),
        ("platt", "slopes", [1.0]),
        ("platt", "intercepts", [[1.0], [2.0], [3.0]]),
        ("beta", "a", [1.0, -0.1, 1.0]),
        ("beta", "b", [1.0, 1.0, -1e-9]),
        ("isotonic", "knots", [[0.1, 0.5]] * 2),
        ("isotonic", "knots", [[0.5, 0.1]] * 3),
        ("isotonic", "knots", [[0.1, 0.1]] * 3),
        ("isotonic", "knots", [[0.1]] * 3),
        ("isotonic", "knots", [[]] * 3),
        ("isotonic", "knots", 3),
        ("isotonic", "values", [[1.0, 0.0]] * 3),
        ("isotonic", "values", [[0.0, 1.1]] * 3),
        ("isotonic", "values", [0.0, 1.0, 1.0]),
        ("isotonic", "floor", 0.0),
        ("isotonic", "floor", 0.9),
    ],
)
def test_damaged_parameters_are_refused(method, name, value):
    good = {"method": method, "parameters": copy.deepcopy(GOOD[method]), "facts": {}}
    assert Calibration.from_dict(good, 3).to_dict() == good
    good["parameters"][name] = value
    with pytest.raises(ValueError, match=r"calibration"):
        Calibration.from_dict(good, 3)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        {"method": "none", "parameters": {}},
        {"method": "magic", "parameters": {}, "facts": {}},
        {"method": ["none"], "parameters": {}, "facts": {}},
        {"method": "temperature", "parameters": {}, "facts": {}},
        {"method": "temperature", "parameters": [1.0], "facts": {}},
        {"method": "none", "parameters": {}, "facts": []},
        {"method": "none", "parameters": {}, "facts": {"n": float("nan")}},
        {"method": "none", "parameters": {}, "facts": {"n": {"deep": [{1, 2}]}}},
    ],
)
def test_damaged_calibrations_are_refused(value):
    with pytest.raises(ValueError, match="calibration"):
        Calibration.from_dict(value, 3)


def test_a_calibration_of_three_classes_is_none_of_two():
    for method in ("vector", "platt", "beta", "isotonic"):
        with pytest.raises(ValueError, match="calibration"):
            Calibration.from_dict({"method": method, "parameters": GOOD[method], "facts": {}}, 2)
