"""Prediction sets as they are applied, stored and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.classifier.conformal import ConformalSets, scores
from foveal.errors import DataError


def made(*quantiles: float | None, kind: str = "lac", class_conditional: bool = False) -> ConformalSets:
    return ConformalSets(kind, class_conditional, 0.1, quantiles, "calibration", 50, 40, "Split.", "")


def test_sets_hold_the_classes_that_fit_and_may_be_empty():
    p = np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25], [0.9, 0.05, 0.05]])
    assert made(0.5).sets(p).tolist() == [[True, False, False], [False] * 3, [True, False, False]]
    assert made(0.7).sets(p).tolist() == [[True, True, False], [True, True, False], [True, False, False]]
    assert made(None).sets(p).all()
    each = made(0.5, None, 0.0, class_conditional=True).sets(p)
    assert each.tolist() == [[True, True, False], [False, True, False], [True, True, False]]


def test_adaptive_scores_are_sums_down_to_the_class_and_ties_share_theirs():
    p = np.array([[0.5, 0.2, 0.3], [0.25, 0.5, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    assert scores("aps", p) == pytest.approx(np.array([[0.5, 1.0, 0.8], [1.0, 0.5, 1.0], [1.0, 1.0, 1.0]]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(2, 6))
def test_adaptive_scores_by_a_brute_loop(seed, n, classes):
    p = np.random.default_rng(seed).integers(1, 4, (n, classes)).astype(float)
    p /= p.sum(axis=1, keepdims=True)
    slow = np.array([[row[row >= one].sum() for one in row] for row in p])
    assert scores("aps", p) == pytest.approx(slow)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["lac", "aps"]))
def test_a_higher_quantile_gives_sets_that_hold_the_others(seed, one, other, kind):
    p = np.random.default_rng(seed).dirichlet(np.ones(4), 20)
    small, large = (made(q, kind=kind).sets(p) for q in sorted((one, other)))
    assert (small <= large).all()
    top = p.argmax(axis=1)
    assert (small[np.arange(20), top] | ~small.any(axis=1)).all()  # a set with a class has the most probable one


def test_what_is_stored_comes_back():
    for sets, classes in ((made(0.123456789012345), 3), (made(0.5, None, class_conditional=True, kind="aps"), 2)):
        again = ConformalSets.from_dict(json.loads(json.dumps(sets.to_dict())), classes)
        assert again == sets


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "raps"}, "none of lac, aps"),
        ({"class_conditional": 1}, "neither"),
        ({"class_conditional": True}, "not 3 quantiles"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"quantiles": []}, "not 1 quantiles"),
        ({"quantiles": 0.5}, "not 1 quantiles"),
        ({"quantiles": [float("inf")]}, "from 0 to 1"),
        ({"quantiles": [-0.1]}, "from 0 to 1"),
        ({"quantiles": ["0.5"]}, "from 0 to 1"),
        ({"split": None}, "no text"),
        ({"n": 1.5}, "images and units"),
        ({"units": 51}, "images and units"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        ConformalSets.from_dict({**made(0.5).to_dict(), **change}, 3)


def test_a_missing_part_is_named():
    for name in made(0.5).to_dict():
        with pytest.raises(ValueError, match=f"have no {name}"):
            ConformalSets.from_dict({key: one for key, one in made(0.5).to_dict().items() if key != name}, 3)


def test_other_classes_and_no_probabilities_are_refused():
    with pytest.raises(DataError, match="other classes"):
        made(0.5, 0.5, class_conditional=True).sets(np.full((1, 3), 1 / 3))
    with pytest.raises(DataError, match="between 0 and 1"):
        made(0.5).sets(np.array([[np.nan, 0.5]]))
