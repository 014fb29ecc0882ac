"""Operating points as they are applied, stored and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.classifier.operating import Costs, OperatingPoint, Prevalence, Requirement, Threshold
from foveal.errors import DataError, UsageError

CLASSES = ("benign", "malignant", "other")


def at(threshold: float, positive: int = 1) -> OperatingPoint:
    wanted = Requirement("sensitivity", 0.95)
    return OperatingPoint(CLASSES, Threshold(positive, threshold), wanted, "validation", 40, 30, 0.96, 0.7)


COST = OperatingPoint(CLASSES, Costs(((0, 1, 1), (10, 0, 10), (1, 1, 0))), Requirement("cost"), None, 0, 0)
RARE = OperatingPoint(
    CLASSES, Prevalence((0.9, 0.05, 0.05), (0.5, 0.25, 0.25)), Requirement("prevalence"), "validation", 40, 30
)


def test_at_the_threshold_it_is_positive_and_below_it_the_most_probable_of_the_others():
    p = np.array([[0.6, 0.3, 0.1], [0.6, 0.299, 0.101], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0], [0.35, 0.3, 0.35]])
    assert at(0.3).decide(p).tolist() == [1, 0, 2, 1, 1]
    assert at(0.9).decide(np.array([[0.1, 0.8, 0.1]])).tolist() == [0]  # the most probable class may not be answered
    assert at(0.0).decide(p).tolist() == [1] * 5
    assert at(0.3).decide(np.empty((0, 3))).tolist() == []


def test_costs_decide_for_the_least_expected_cost():
    # of [0.85, 0.15, 0]: saying benign costs 1.5, malignant 0.85, other 0.85 + 1.5
    assert COST.decide(np.array([[0.85, 0.15, 0.0], [0.95, 0.05, 0.0]])).tolist() == [1, 0]
    assert COST.rule.expected(np.array([[0.85, 0.15, 0.0]]))[0] == pytest.approx([1.5, 0.85, 2.35])


def test_a_prevalence_is_replaced_by_bayes_rule():
    # 0.4 · 0.9 / 0.5 = 0.72 and 0.6 · 0.05 / 0.25 = 0.12, of 0.84
    p = np.array([[0.4, 0.6, 0.0], [0.0, 1.0, 0.0]])
    assert RARE.rule.adjusted(p)[0] == pytest.approx([0.72 / 0.84, 0.12 / 0.84, 0])
    assert RARE.decide(p).tolist() == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.floats(0, 1))
def test_every_row_is_decided_on_its_own(seed, n, threshold):
    rng = np.random.default_rng(seed)
    p = np.round(rng.dirichlet(np.full(3, 0.5), n), 2)
    order = rng.permutation(n)
    for point in (at(threshold), COST, RARE):
        whole = point.decide(p)
        assert np.array_equal(point.decide(p[order]), whole[order])
        assert [int(point.decide(row[None])[0]) for row in p] == whole.tolist()
    assert np.array_equal(at(threshold).decide(p) == 1, p[:, 1] >= threshold)


@pytest.mark.parametrize("point", [at(0.3), at(0.123456789), COST, RARE])
def test_what_is_stored_comes_back(point):
    again = OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict())), CLASSES)
    assert again == point and str(again) == str(point)


def test_it_says_itself_in_words():
    assert str(at(0.3)) == "malignant from a probability of 0.3 (sensitivity >= 0.95)"
    assert str(Requirement("specificity", 0.9, lower_bound=True)) == "specificity >= 0.9, by its lower confidence bound"
    assert at(0.3).positive == "malignant" and at(0.3).threshold == 0.3
    assert COST.positive is None and COST.threshold is None


@pytest.mark.parametrize(
    ("point", "change", "said"),
    [
        (at(0.3), {"rule": "vote"}, "rule 'vote'"),
        (at(0.3), {"positive": "melanoma"}, "is no class"),
        (at(0.3), {"threshold": float("nan")}, "threshold"),
        (at(0.3), {"threshold": 1.01}, "threshold"),
        (at(0.3), {"threshold": True}, "threshold"),
        (at(0.3), {"threshold": "0.3"}, "threshold"),
        (at(0.3), {"requirement": {"kind": "luck"}}, "none of"),
        (at(0.3), {"requirement": {"kind": "sensitivity", "value": 2}}, "as it must"),
        (at(0.3), {"requirement": {"kind": "youden", "value": 0.5}}, "as it must"),
        (at(0.3), {"requirement": {"kind": "cost"}}, "cannot require"),
        (at(0.3), {"n": -1}, "how many"),
        (at(0.3), {"units": 41}, "how many"),
        (at(0.3), {"split": 3}, "how many"),
        (at(0.3), {"sensitivity": float("inf")}, "no share"),
        (COST, {"costs": [[0, 1], [1, 0]]}, "3 rows"),
        (COST, {"costs": [[0, 1, 1], [1, 0, -1], [1, 1, 0]]}, "negative"),
        (COST, {"costs": [[5, 1, 1], [1, 0, 1], [1, 1, 0]]}, "less than the right"),
        (COST, {"costs": [[0, 0, 0]] * 3}, "no mistake costs"),
        (COST, {"costs": 4}, "no lists"),
        (RARE, {"stated": [0.5, 0.5]}, "3 shares"),
        (RARE, {"stated": [0.5, 0.5, 0.5]}, "3 shares"),
        (RARE, {"former": [0.5, 0.5, 0.0]}, "3 shares"),
    ],
)
def test_what_cannot_be_is_refused(point, change, said):
    with pytest.raises(ValueError, match=said):
        OperatingPoint.from_dict({**point.to_dict(), **change}, CLASSES)


def test_a_missing_part_is_named():
    for name in ("rule", "requirement", "split", "n", "units", "positive", "threshold"):
        rest = {key: value for key, value in at(0.3).to_dict().items() if key != name}
        with pytest.raises(ValueError, match=f"has no {name}"):
            OperatingPoint.from_dict(rest, CLASSES)


def test_other_classes_and_no_probabilities_are_refused():
    with pytest.raises(DataError, match="3 classes"):
        at(0.3).decide(np.array([[0.5, 0.5]]))
    with pytest.raises(DataError, match="between 0 and 1"):
        at(0.3).decide(np.array([[0.5, np.nan, 0.5]]))


def test_words_are_read():
    assert Requirement.from_words("stage: II: sensitivity 0.95") == ("stage: II", Requirement("sensitivity", 0.95))
    assert Requirement.from_words("a : youden") == ("a", Requirement("youden"))
    for words in ("", "a", "a: recall 0.9", "a: sensitivity", "a: sensitivity high", "a: youden 1",
                  ": threshold 0.3", "a: threshold 0.3 0.4"):  # fmt: skip
        with pytest.raises(UsageError, match="is no operating point"):
            Requirement.from_words(words)
    with pytest.raises(UsageError, match="a sensitivity is a share above 0"):
        Requirement.from_words("a: sensitivity 95")
