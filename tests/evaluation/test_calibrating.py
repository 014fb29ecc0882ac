"""Fitting calibration against other implementations and known truths; choosing it by cross-validation."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from foveal.classifier.calibration import METHODS, Calibration
from foveal.errors import DataError, UsageError
from foveal.evaluation import calibrating
from foveal.evaluation.calibrating import bearable, choose_calibration, fit_calibration, log_losses, spread_folds

CERTAIN = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-10)


def drawn(seed: int, n: int, classes: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities beside them, which are so perfectly calibrated."""
    rng = np.random.default_rng(seed)
    p = softmax(spread * rng.normal(size=(n, classes)), axis=1)
    return (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1), p


def raised(p: np.ndarray, power: float) -> np.ndarray:
    return np.round(softmax(power * np.log(p), axis=1), 9)


def loss(labels: np.ndarray, p: np.ndarray) -> float:
    return float(log_losses(labels, p).mean())


@pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
def test_temperature_recovers_the_known_one(truth):
    labels, p = drawn(1, 20_000, 4)
    found = fit_calibration("temperature", labels, raised(p, truth)).parameters["temperature"]
    assert found == pytest.approx(truth, rel=0.04)


def test_temperature_is_where_the_loss_is_least():
    labels, p = drawn(2, 500, 3)
    p = raised(p, 2.0)
    best = fit_calibration("temperature", labels, p)
    temperature = best.parameters["temperature"]
    around = [
        loss(labels, Calibration("temperature", {"temperature": temperature * by}, {}).apply(p)) for by in (0.99, 1.01)
    ]
    assert loss(labels, best.apply(p)) < min(around)


def smoothed(positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Platt's targets as rows of both outcomes with weights."""
    hits, misses = positive.sum(), (~positive).sum()
    targets = np.where(positive, (hits + 1) / (hits + 2), 1 / (misses + 2))
    return np.repeat([1, 0], len(positive)), np.concatenate((targets, 1 - targets))


@pytest.mark.parametrize("classes", [2, 3])
def test_platt_is_scikit_learns_logistic_regression(classes):
    labels, p = drawn(3, 800, classes)
    p = raised(p, 1.7)
    found = fit_calibration("platt", labels, p).parameters
    taken = [1] if classes == 2 else range(classes)
    for at, label in enumerate(taken):
        feature = logit(p[:, label])[:, None]
        outcomes, weights = smoothed(labels == label)
        theirs = CERTAIN.fit(np.vstack((feature, feature)), outcomes, sample_weight=weights)
        ours = found["slopes"][at], found["intercepts"][at]
        assert ours == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=1e-4)
    assert at + 1 == len(found["slopes"])


def test_beta_is_scikit_learns_logistic_regression_where_no_bound_holds_it():
    labels, p = drawn(4, 2_000, 3)
    p = raised(p, 1.7)
    found = fit_calibration("beta", labels, p).parameters
    assert min(found["a"] + found["b"]) > 0.05
    for label in range(3):
        features = np.column_stack((np.log(p[:, label]), -np.log(1 - p[:, label])))
        outcomes, weights = smoothed(labels == label)
        theirs = CERTAIN.fit(np.vstack((features, features)), outcomes, sample_weight=weights)
        ours = found["a"][label], found["b"][label], found["c"][label]
        assert ours == pytest.approx((*theirs.coef_[0], theirs.intercept_[0]), abs=1e-3)


def test_beta_holds_its_bounds_and_is_best_within_them():
    labels, p = drawn(5, 300, 2)
    p[:, 1] = np.where(p[:, 1] > 0.5, 1.5 - p[:, 1], p[:, 1])  # falls where it should rise
    p[:, 0] = 1 - p[:, 1]
    found = fit_calibration("beta", labels, p).parameters
    a, b, c = (found[name][0] for name in "abc")
    assert min(a, b) == 0
    outcomes, weights = smoothed(labels == 1)

    def of(x: np.ndarray) -> float:
        s = np.tile(x[0] * np.log(p[:, 1]) - x[1] * np.log(1 - p[:, 1]) + x[2], 2)
        return float((weights * np.logaddexp(0, np.where(outcomes == 1, -s, s))).sum())

    theirs = min(
        minimize(of, start, method="Nelder-Mead", bounds=[(0, 50), (0, 50), (-50, 50)], options={"xatol": 1e-9}).fun
        for start in ([1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    )
    assert of(np.array([a, b, c])) <= theirs + 1e-5


def test_vector_of_two_classes_is_scikit_learns_logistic_regression():
    labels, p = drawn(6, 2_000, 2)
    p = raised(p, 1.5)
    found = fit_calibration("vector", labels, p).parameters
    theirs = CERTAIN.fit(np.log(p), labels)
    first, second = found["weights"]
    assert (-first, second) == pytest.approx(tuple(theirs.coef_[0]), abs=2e-3)
    assert found["biases"][1] - found["biases"][0] == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_vector_of_four_classes_is_found_by_another_search_too():
    labels, p = drawn(7, 600, 4)
    p = np.round(softmax(np.array([2.0, 1.0, 0.6, 1.3]) * np.log(p) + np.array([0.5, 0, -0.5, 0]), axis=1), 9)
    log = np.log(p)

    def of(x: np.ndarray) -> float:
        return -float(log_softmax(x[:4] * log + x[4:], axis=1)[np.arange(len(labels)), labels].mean())

    theirs = minimize(of, np.repeat([1.0, 0.0], 4), method="BFGS", options={"gtol": 1e-7}).x
    theirs[4:] -= theirs[4:].mean()
    found = fit_calibration("vector", labels, p).parameters
    assert found["weights"] == pytest.approx(theirs[:4].tolist(), abs=2e-3)
    assert found["biases"] == pytest.approx(theirs[4:].tolist(), abs=2e-3)


def test_isotonic_is_scikit_learns():
    labels, p = drawn(8, 500, 3)
    p = np.round(p, 2)  # many equal ones
    p[:, 2] = 1 - p[:, 0] - p[:, 1]
    p = np.abs(np.round(p, 9))
    found = fit_calibration("isotonic", labels, p)
    new = np.linspace(0, 1, 501)
    for label in range(3):
        theirs = IsotonicRegression(out_of_bounds="clip").fit(p[:, label], labels == label)
        ours = np.interp(new, found.parameters["knots"][label], found.parameters["values"][label])
        assert ours == pytest.approx(theirs.predict(new), abs=1e-9)
    assert found.parameters["floor"] == 1 / (502 * 2)


def test_isotonic_leaves_a_chance_to_what_it_never_saw():
    labels, p = np.repeat([0, 1], 20), np.repeat([[0.9, 0.1], [0.2, 0.8]], 20, axis=0)
    found = fit_calibration("isotonic", labels, p).apply(p)
    assert found[0, 1] == pytest.approx(1 / 43, abs=1e-9)  # 1/42 over 1/42 + 1


def by_temperature(p):
    return softmax(3 * np.log(p), axis=1)


def by_vector(p):
    return softmax(np.array([2.0, 0.5, 1.0]) * np.log(p) + np.array([0.0, 1.0, -1.0]), axis=1)


def one_by_one(curve, p):
    """`p` of two classes, distorted so that the inverse of `curve` mends it."""
    second = curve(p[:, 1])
    return np.column_stack((1 - second, second))


DISTORTIONS = {
    "temperature": (3, by_temperature),
    "vector": (3, by_vector),
    "platt": (2, partial(one_by_one, lambda p: expit(2.5 * logit(p) + 1))),
    "beta": (2, partial(one_by_one, lambda p: expit(3 * np.log(p) - 0.5 * np.log(1 - p) + 0.5))),
    "isotonic": (2, partial(one_by_one, lambda p: np.where(p < 0.5, 0.9 * p, 0.45 + 1.1 * (p - 0.5)) ** 3)),
}


@pytest.mark.parametrize("method", DISTORTIONS)
def test_each_method_mends_what_it_can_describe_on_new_images(method):
    classes, distort = DISTORTIONS[method]
    labels, p = drawn(9, 4_000, classes)
    new_labels, new = drawn(10, 4_000, classes)
    fitted = fit_calibration(method, labels, np.round(distort(p), 9))
    best, before = loss(new_labels, new), loss(new_labels, np.round(distort(new), 9))
    after = loss(new_labels, fitted.apply(np.round(distort(new), 9)))
    assert before > best + 0.03
    assert after < best + 0.2 * (before - best)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 5])
def test_no_method_spoils_what_is_calibrated(method, classes):
    labels, p = drawn(11, 2_000, classes)
    new_labels, new = drawn(12, 4_000, classes)
    fitted = fit_calibration(method, labels, np.round(p, 9))
    allowed = 0.04 if method == "isotonic" else 0.01
    assert loss(new_labels, fitted.apply(np.round(new, 9))) < loss(new_labels, new) + allowed


def test_what_is_calibrated_is_mostly_left_alone():
    chosen = [choose_calibration(*drawn(seed, 200, 3), methods=None).method for seed in range(40)]
    assert chosen.count("none") >= 32


def test_over_confidence_is_mostly_answered_by_temperature():
    chosen = []
    for seed in range(20):
        labels, p = drawn(seed, 300, 3)
        one = choose_calibration(labels, raised(p, 3.0))
        assert one.method != "none"
        assert one.facts["log_loss_after"] < one.facts["log_loss_before"]
        chosen.append(one.method)
    assert chosen.count("temperature") >= 16


def test_what_one_temperature_cannot_mend_gets_more():
    labels, p = drawn(13, 4_000, 3)
    found = choose_calibration(labels, np.round(by_vector(p), 9))
    assert found.method == "vector"
    assert "on 4,000 images of the validation split it takes the log loss from" in found.facts["reason"]


def test_the_rule_of_one_standard_error_is_what_the_facts_show():
    labels, p = drawn(14, 400, 3)
    found = choose_calibration(labels, raised(p, 1.3), where="calibration", seed=3)
    rows = found.facts["candidates"]
    assert [row["method"] for row in rows] == list(calibrating.SIMPLEST_FIRST)
    within = [row["method"] for row in rows if row["above_best"] <= row["above_best_se"]]
    assert found.method == within[0]
    assert min(row["above_best"] for row in rows) == 0
    assert (found.facts["split"], found.facts["seed"], found.facts["folds"], found.facts["n"]) == (
        "calibration",
        3,
        5,
        400,
    )
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)), 3).facts == found.facts
    assert choose_calibration(labels, raised(p, 1.3), where="calibration", seed=3).to_dict() == found.to_dict()


def test_the_losses_in_the_facts_are_those_of_a_plain_loop():
    labels, p = drawn(15, 120, 3)
    p = raised(p, 2.0)
    units = np.arange(120) // 2
    rows = {row["method"]: row for row in choose_calibration(labels, p, units, folds=4).facts["candidates"]}
    dealt = spread_folds(labels, units, 4, 0)
    losses = np.empty(120)
    for fold in range(4):
        out = dealt == fold
        fitted = fit_calibration("platt", labels[~out], p[~out])
        losses[out] = log_losses(labels[out], fitted.apply(p[out]))
    assert rows["platt"]["log_loss"] == pytest.approx(losses.mean(), abs=1e-12)
    pairs = losses.reshape(60, 2).mean(axis=1)
    assert rows["platt"]["log_loss_se"] == pytest.approx(pairs.std(ddof=1) / np.sqrt(60), rel=1e-9)


def test_units_are_never_torn_and_classes_spread():
    rng = np.random.default_rng(16)
    for count in (2, 3, 7, 60):
        units = rng.permutation(np.repeat(np.arange(count), rng.integers(1, 9, count)))
        labels = rng.integers(0, 3, len(units))
        dealt = spread_folds(labels, units, 5, 0)
        assert 2 <= dealt.max() + 1 <= min(5, count)
        assert set(dealt.tolist()) == set(range(dealt.max() + 1))
        assert all(len(set(dealt[units == unit].tolist())) == 1 for unit in range(count))
    table = np.array([np.bincount(labels[dealt == fold], minlength=3) for fold in range(5)])
    assert (table > 0).all()
    assert (np.ptp(table, axis=0) <= 6).all()


def test_folds_degrade_where_classes_are_rare_or_units_hold_several():
    labels = np.repeat([0, 1, 2], [20, 20, 1])
    dealt = spread_folds(labels, np.arange(41), 5, 0)
    assert dealt.max() == 4
    assert len(set(dealt[labels == 1].tolist())) == 5
    mixed = spread_folds(np.tile([0, 1], 3), np.repeat([0, 1, 2], 2), 5, 0)
    assert mixed.max() == 2
    with pytest.raises(DataError, match="two independent"):
        spread_folds(np.tile([0, 1], 3), np.zeros(6, np.int64), 5, 0)


def test_few_images_get_little():
    labels, p = drawn(17, 40, 3)
    p, order = raised(p, 4.0), np.argsort(np.arange(40) % 3)
    few = choose_calibration(labels[:9], p[:9])
    assert (few.method, few.facts["folds"]) == ("none", None)
    assert "takes 10 independent images or groups; here are 9." in few.facts["reason"]
    assert choose_calibration(labels, p, np.arange(40) % 9).method == "none"  # nine patients
    some = choose_calibration(labels[:29], p[:29])
    assert {row["method"] for row in some.facts["candidates"]} == {"none", "temperature"}
    assert "Parameters for every class take 30" in some.facts["reason"]
    assert set(some.facts["left_out"]) == {"platt", "beta", "vector", "isotonic"}
    rare = np.where(labels == 2, 0, labels)
    rare[order[:4]] = 2
    assert bearable(rare, np.arange(40), 3)[0] == ("none", "temperature")
    one = choose_calibration(np.zeros(40, np.int64), p)
    assert one.method == "none"
    assert "one class" in one.facts["reason"]
    assert choose_calibration(labels[:9], p[:9], methods=["vector"]).method == "none"
    assert choose_calibration(labels[:1], p[:1]).method == "none"


def test_more_classes_than_a_hundred_get_one_temperature_unless_asked():
    labels, units = np.repeat(np.arange(101), 5), np.arange(505)
    assert bearable(labels, units, 101)[0] == ("none", "temperature")
    assert bearable(labels, units, 101, any_number=True)[0] == METHODS


def test_without_a_mistake_there_is_no_temperature_but_a_reason():
    labels, p = drawn(18, 200, 3)
    labels = p.argmax(axis=1)
    for method in ("temperature", "vector"):
        with pytest.raises(DataError, match="Every image is answered right"):
            fit_calibration(method, labels, p)
    found = choose_calibration(labels, p)
    assert set(found.facts["left_out"]) == {"temperature", "vector"}
    assert "answered right" in found.facts["reason"]
    assert found.apply(p).max() < 1


def test_answers_that_say_nothing_have_no_temperature():
    p = drawn(19, 200, 3)[1]
    with pytest.raises(DataError, match="best temperature"):
        fit_calibration("temperature", p.argmin(axis=1), p)


def test_a_search_that_fails_is_named(monkeypatch):
    from foveal.evaluation import calibration_fits

    def stuck(labels, p):
        raise DataError("Vector scaling did not converge on these images.")

    monkeypatch.setitem(calibration_fits._FITS, "vector", stuck)
    found = choose_calibration(*drawn(20, 200, 3))
    assert found.facts["left_out"] == {"vector": "Vector scaling did not converge on these images."}
    assert "Left out: vector scaling. Vector scaling did not converge" in found.facts["reason"]


def test_constant_answers_can_be_calibrated():
    labels, p = np.arange(100) % 4 // 3, np.tile([0.5, 0.5], (100, 1))  # three of four are of the first class
    for method in ("platt", "beta", "isotonic", "vector"):
        assert fit_calibration(method, labels, p).apply(p[:1])[0, 1] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("labels", "p", "units"),
    [
        (np.array([], np.int64), np.empty((0, 2)), None),
        (np.array([0, 2]), np.full((2, 2), 0.5), None),
        (np.array([0, -1]), np.full((2, 2), 0.5), None),
        (np.array([0.0, 1.0]), np.full((2, 2), 0.5), None),
        (np.array([0, 1]), np.full((3, 2), 0.5), None),
        (np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]), None),
        (np.array([0, 1]), np.array([[0.5, 0.5], [-0.5, 1.5]]), None),
        (np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.9]]), None),
        (np.array([0, 1]), np.full((2, 2), 0.5), np.array(["a"])),
    ],
)
def test_what_cannot_be_fitted_to_is_refused(labels, p, units):
    for call in (partial(fit_calibration, "temperature"), choose_calibration):
        with pytest.raises(DataError):
            call(labels, p, units)


def test_unknown_methods_and_folds_are_refused():
    labels, p = drawn(21, 50, 2)
    with pytest.raises(UsageError, match='Did you mean "temperature"'):
        fit_calibration("temprature", labels, p)
    with pytest.raises(UsageError, match="no calibration 'magic'"):
        choose_calibration(labels, p, methods=["magic"])
    with pytest.raises(UsageError, match="two folds"):
        choose_calibration(labels, p, folds=1)
    with pytest.raises(DataError, match="two classes or more"):
        fit_calibration("isotonic", np.zeros(3, np.int64), np.ones((3, 1)))
