"""Prediction sets found: quantiles by hand, and by simulation that they hold the label as often as they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.classifier.conformal import ConformalSets, scores
from foveal.errors import DataError, UsageError
from foveal.evaluation.conformal_fitting import coverage, cross_conformal, fewest_units, split_conformal
from foveal.evaluation.interval import by_group, wilson

REPEATS = 2_000


def two(of_label: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities of two classes that give the label's class `of_label`."""
    p = np.empty((len(labels), 2))
    p[np.arange(len(labels)), labels], p[np.arange(len(labels)), 1 - labels] = of_label, 1 - of_label
    return p


def drawn(rng: np.random.Generator, n: int, classes: int = 3, blur: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are miscalibrated on purpose: no guarantee may rest on them."""
    labels = rng.integers(0, classes, n)
    logits = blur * rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    raised = np.exp(2 * logits)
    return labels, raised / raised.sum(axis=1, keepdims=True)


def test_the_quantile_by_hand():
    labels = np.zeros(9, int)
    p = two(np.arange(9, 0, -1) / 10, labels)  # scores 0.1 … 0.9
    assert split_conformal(labels, p, alpha=0.1).quantiles == (1 - p[8, 0],)  # the 9th of 9
    assert split_conformal(labels, p, alpha=1 - 0.9).quantiles == (1 - p[8, 0],)
    assert split_conformal(labels, p, alpha=0.2).quantiles == (1 - p[7, 0],)
    assert split_conformal(labels, p, alpha=0.25).quantiles == (1 - p[7, 0],)  # 7.5, so the 8th
    few = split_conformal(labels[:8], p[:8], alpha=0.1)
    assert few.quantiles == (None,) and few.sets(p).all()
    assert few.note == "With 8 independent units every set holds all classes; a coverage of 0.9 takes 9 or more."
    assert [fewest_units(alpha) for alpha in (0.5, 0.2, 0.1, 0.05, 0.01, 0.3)] == [1, 4, 9, 19, 99, 3]


def test_the_quantile_of_units_by_hand():
    # patients a (scores 0.1, 0.2), b (0.3), c (0.4, 0.5, 0.6, 0.7); alpha 0.4 asks for 0.6 · 4 = 2.4 of them
    units = np.array(["a", "a", "b", "c", "c", "c", "c"])
    p = two(np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]), np.zeros(7, int))
    found = split_conformal(np.zeros(7, int), p, units, alpha=0.4)
    assert found.quantiles == (1 - p[4, 0],)  # 1 + 1 + 2 / 4 = 2.5 are reached at 0.5
    assert (found.units, found.n) == (3, 7) and "3 units" in found.method
    assert split_conformal(np.zeros(7, int), p, units, alpha=0.25).quantiles == (1 - p[6, 0],)  # all 3 of 3
    assert split_conformal(np.zeros(7, int), p, units, alpha=0.2).quantiles == (None,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0.05, 0.1, 0.25, 0.5]), st.booleans())
def test_the_quantile_by_a_brute_search_in_any_order(seed, n, alpha, each):
    rng = np.random.default_rng(seed)
    labels, p = drawn(rng, n)
    p, units = np.round(p, 2) / np.round(p, 2).sum(axis=1, keepdims=True), rng.integers(0, 30, n)
    found = split_conformal(labels, p, units, alpha=alpha, class_conditional=each)
    values = scores("lac", p)[np.arange(n), labels]
    for index, quantile in enumerate(found.quantiles):
        use = labels == index if each else np.ones(n, bool)
        inside = np.unique(units[use])

        def reached(q: float, use: np.ndarray = use, inside: np.ndarray = inside) -> float:
            return sum((values[use & (units == one)] <= q).mean() for one in inside)

        wanted = (1 - alpha) * (len(inside) + 1) - 1e-9
        enough = [q for q in np.unique(values[use]) if reached(q) >= wanted]
        assert quantile == (min(enough) if enough else None)
        assert (quantile is None) == (len(inside) < fewest_units(alpha))
    order = rng.permutation(n)
    assert split_conformal(labels[order], p[order], units[order], alpha=alpha, class_conditional=each) == found
    alone = split_conformal(labels, p, np.arange(n), alpha=alpha)
    assert alone.quantiles == split_conformal(labels, p, alpha=alpha).quantiles


def within(held: list[float], wanted: float, above: float = 0.0) -> bool:
    """Whether the mean of `held` is `wanted`, or up to `above` more, but for chance."""
    spread = 3.5 * np.std(held) / math.sqrt(len(held))
    return wanted - spread <= np.mean(held) <= wanted + above + spread


@pytest.mark.parametrize("alpha", [0.1, 0.05])
@pytest.mark.parametrize("kind", ["lac", "aps"])
def test_sets_hold_the_label_as_often_as_they_say(alpha, kind):
    rng, held = np.random.default_rng(21), []
    for _ in range(REPEATS):
        labels, p = drawn(rng, 150)
        sets = split_conformal(labels[:50], p[:50], alpha=alpha, kind=kind).sets(p[50:])
        held.append(sets[np.arange(100), labels[50:]].mean())
    exact = math.ceil(51 * (1 - alpha) - 1e-9) / 51
    ties = 0.0 if kind == "lac" else 0.03  # the least probable class always has the score 1
    assert exact >= 1 - alpha and within(held, exact, above=ties)


def patients(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and patients, each with a difficulty of their own; the easy ones have the more images."""
    hard = rng.normal(size=count)
    sizes = np.where(hard < 0, 12, 2)
    units = np.repeat(np.arange(count), sizes)
    of_label = 1 / (1 + np.exp(-1 + 1.5 * hard[units] + 0.3 * rng.normal(size=len(units))))
    labels = rng.integers(0, 2, len(units))
    return labels, two(of_label, labels), units


@pytest.mark.parametrize("alpha", [0.1, pytest.param(0.05, marks=pytest.mark.slow)])
def test_of_a_new_patient_they_hold_where_the_naive_ones_do_not(alpha):
    rng, ours, naive = np.random.default_rng(22), [], []
    for _ in range(REPEATS):
        labels, p, units = patients(rng, 60)
        here = units < 40
        for found, held in ((units[here], ours), (None, naive)):
            sets = split_conformal(labels[here], p[here], found, alpha=alpha).sets(p[~here])
            held.append(coverage(labels[~here], sets, ("a", "b"), units[~here]).of_units)
    assert within(ours, 1 - alpha, above=1 / 41)  # Lee, Barber, Willett 2023: no more than a new unit's place
    assert np.mean(naive) < 1 - alpha - 0.01


def test_alike_images_of_few_patients_need_no_size_to_deceive():
    # images of a patient all score alike, ten each. Of ten patients the 9th is asked for, by 0.75 · 11 = 8.25; the
    # naive quantile is the 76th of a hundred images, so of the 8th patient
    rng, ours, naive = np.random.default_rng(23), [], []
    for _ in range(REPEATS):
        of_label = np.repeat(rng.random(20), 10)
        labels, units = np.zeros(200, int), np.repeat(np.arange(20), 10)
        p = two(of_label, labels)
        for found, held in ((units[:100], ours), (None, naive)):
            sets = split_conformal(labels[:100], p[:100], found, alpha=0.25).sets(p[100:])
            held.append(sets[:, 0].mean())
    assert within(ours, 9 / 11)
    assert within(naive, 8 / 11) and np.mean(naive) < 0.75


def test_class_by_class_every_class_is_covered():
    rng = np.random.default_rng(24)
    all_at_once, each = [], []
    for _ in range(REPEATS // 2):
        labels = rng.choice(3, 400, p=[0.7, 0.2, 0.1])
        logits = rng.normal(size=(400, 3)) + np.array([3.0, 1.5, 0.3])[labels, None] * np.eye(3)[labels]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for by_class, held in ((False, all_at_once), (True, each)):
            sets = split_conformal(labels[:200], p[:200], alpha=0.1, class_conditional=by_class).sets(p[200:])
            held.append([sets[labels[200:] == one, one].mean() for one in range(3)])
    # of a class with n images up to 1 / (n + 1) more; the rarest has 10 to 30, so on average about 0.05
    assert all(within([row[one] for row in each], 0.9, above=0.06) for one in range(3))
    assert np.nanmean(all_at_once, axis=0)[2] < 0.75


def test_too_few_of_a_class_are_named():
    labels = np.repeat([0, 1], [20, 3])
    p = two(np.linspace(0.9, 0.2, 23), labels)
    found = split_conformal(labels, p, alpha=0.1, class_conditional=True, classes=("nevus", "melanoma"))
    assert found.quantiles[0] is not None and found.quantiles[1] is None
    assert "takes 9 or more" in found.note and "melanoma: 3" in found.note and "nevus" not in found.note
    assert found.sets(p)[:, 1].all()
    absent = split_conformal(labels[:20], p[:20], alpha=0.1, class_conditional=True)
    assert absent.quantiles[1] is None and "class number 1: 0" in absent.note
    assert ConformalSets.from_dict(json.loads(json.dumps(found.to_dict())), 2) == found


def test_across_folds_the_quantile_is_that_of_all_scores_and_no_image_judges_itself():
    rng = np.random.default_rng(25)
    labels, p = drawn(rng, 60)
    folds, units = np.repeat(["1", "2", "3"], 20), np.arange(60) // 2
    sets, found = cross_conformal(labels, p, folds, units, alpha=0.1)
    assert sets.quantiles == split_conformal(labels, p, units, alpha=0.1).quantiles
    assert "0.8" in sets.method and sets.split == "out of fold" and (sets.n, sets.units) == (60, 30)
    inside = np.vstack(
        [
            split_conformal(labels[folds != one], p[folds != one], units[folds != one], alpha=0.1).sets(p[folds == one])
            for one in ("1", "2", "3")
        ]
    )
    assert found == coverage(labels, inside, ("0", "1", "2"), units)
    few, all_in = cross_conformal(labels[15:25], p[15:25], folds[15:25], alpha=0.1)
    assert few.quantiles[0] is not None and all_in.mean_size == 3  # ten suffice, but five of the other fold do not


def test_across_folds_an_ensemble_is_covered():
    # each fold's model has errors of its own on all images; their mean has less
    rng, single, ensemble = np.random.default_rng(26), [], []
    for _ in range(500):
        n, folds = 200, np.arange(200) % 5
        labels = rng.integers(0, 3, n)
        seen = 1.2 * np.eye(3)[labels] + rng.normal(size=(n, 3)) + 0.7 * rng.normal(size=(5, n, 3))
        members = np.exp(seen) / np.exp(seen).sum(axis=2, keepdims=True)  # (5, N, 3)
        own = members[folds, np.arange(n)]  # (N, 3): of the model that did not see it
        sets, found = cross_conformal(labels[:100], own[:100], folds[:100], alpha=0.1)
        single.append(found.coverage.value)
        ensemble.append(sets.sets(members[:, 100:].mean(axis=0))[np.arange(100), labels[100:]].mean())
    assert within(single, 0.9, above=1 / 81)
    assert np.mean(ensemble) > 0.9


def test_a_torn_unit_or_one_fold_is_refused():
    labels, p = drawn(np.random.default_rng(27), 20)
    with pytest.raises(DataError, match="in two folds"):
        cross_conformal(labels, p, np.arange(20) % 2, np.arange(20) // 2)
    with pytest.raises(DataError, match="two folds or more"):
        cross_conformal(labels, p, np.zeros(20))
    with pytest.raises(DataError, match="folds are given"):
        cross_conformal(labels, p, np.zeros(19))


def test_coverage_by_hand():
    labels = np.array([0, 0, 1, 1])
    sets = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    found = coverage(labels, sets, ("a", "b", "c"), np.array(["p", "p", "p", "q"]))
    assert found.coverage == by_group(np.array([1, 1, 0, 0]), np.array([0, 0, 0, 1]))
    assert found.of_units == pytest.approx((2 / 3 + 0) / 2) and (found.n, found.units) == (4, 2)
    assert (found.mean_size, found.sizes) == (1.0, (1, 2, 1, 0))
    assert (found.singletons.value, found.right_singletons.value, found.empty.value) == (0.5, 0.5, 0.25)
    assert [one.value if one else None for one in found.per_class.values()] == [1.0, 0.0, None]
    alone = coverage(labels, sets, ("a", "b", "c"))
    assert alone.coverage == wilson(2, 4) and alone.of_units == 0.5
    assert coverage(labels, np.zeros((4, 3), bool), ("a", "b", "c")).right_singletons is None
    assert json.loads(json.dumps(found.to_dict()))["per_class"]["c"] is None


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (UsageError, {"alpha": 0.0}),
        (UsageError, {"alpha": 1.0}),
        (UsageError, {"alpha": float("nan")}),
        (UsageError, {"kind": "raps"}),
        (DataError, {"units": np.zeros(3)}),
    ],
)
def test_what_cannot_be_is_refused(error, change):
    labels, p = drawn(np.random.default_rng(28), 20)
    with pytest.raises(error):
        split_conformal(labels, p, **change)


def test_bad_input_is_refused():
    labels, p = drawn(np.random.default_rng(29), 20)
    for some in (p * np.nan, p - 0.5, p[:, :1], p[:, 0], p[:5]):
        with pytest.raises(DataError):
            split_conformal(labels, some)
    with pytest.raises(DataError, match="no image"):
        split_conformal(labels[:0], p[:0])
    with pytest.raises(DataError, match="do not fit"):
        coverage(labels, p > 0.5, ("a", "b"))
    with pytest.raises(DataError, match="do not fit"):
        coverage(labels, p, ("a", "b", "c"))
    with pytest.raises(DataError, match="no image"):
        coverage(labels[:0], p[:0] > 0.5, ("a", "b", "c"))
