"""The words that ask for an operating point: against the functions that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.classifier.operating import Costs, Prevalence, Requirement
from foveal.errors import DataError, UsageError
from foveal.evaluation.choosing import for_cost, for_prevalence, for_sensitivity, for_specificity, for_youden
from foveal.evaluation.operating_words import choose, refuse_operating_words

CLASSES = ("no", "yes")
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
LABELS = np.array([0, 0, 1, 0, 1, 0, 1, 1])
P = np.column_stack([1 - SCORES, SCORES])


def test_words_of_a_threshold_choose_as_the_functions_do():
    assert choose("yes: sensitivity 0.8", LABELS, P, CLASSES) == for_sensitivity(0.8, "yes", LABELS, P, CLASSES)
    assert choose("yes: specificity 0.9", LABELS, P, CLASSES) == for_specificity(0.9, "yes", LABELS, P, CLASSES)
    assert choose("yes: youden", LABELS, P, CLASSES) == for_youden("yes", LABELS, P, CLASSES)
    assert choose("no: threshold 0.3", LABELS, P, CLASSES).requirement == Requirement("threshold", 0.3)


def test_a_lower_bound_is_asked_for_in_words():
    labels = np.repeat([0, 1], 100)
    score = 0.1 + 0.8 * labels
    found = choose("yes: sensitivity 0.9, lower bound", labels, np.column_stack([1 - score, score]), CLASSES)
    assert found.requirement == Requirement("sensitivity", 0.9, lower_bound=True)
    with pytest.raises(DataError, match="takes 35 independent images"):
        choose("yes: sensitivity 0.9, lower bound", LABELS, P, CLASSES)
    with pytest.raises(UsageError, match="is no operating point"):
        choose("yes: youden, lower bound", LABELS, P, CLASSES)


def test_costs_are_named_mistake_by_mistake_and_others_cost_one():
    found = choose("cost yes>no=20", LABELS, P, CLASSES)
    assert found == for_cost([[0, 1], [20, 0]], CLASSES)
    assert isinstance(found.rule, Costs)
    assert found.decide(np.array([[0.94, 0.06], [0.96, 0.04]])).tolist() == [1, 0]  # the border is 1 / 21
    three = choose("cost a>b=2, c > d>a=5", LABELS, P, ("a", "b", "c > d"))  # a class may be called like a mistake
    assert three.rule == Costs(((0.0, 2.0, 1.0), (1.0, 0.0, 1.0), (5.0, 1.0, 0.0)))


def test_prevalences_are_stated_for_every_class():
    found = choose("prevalence yes=0.02, no=0.98", LABELS, P, CLASSES)
    assert found == for_prevalence({"yes": 0.02, "no": 0.98}, LABELS, CLASSES)
    assert isinstance(found.rule, Prevalence)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("yess: youden", 'Did you mean "yes"'),
        ("yes: recall 0.9", "is no operating point"),
        ("cost yes>maybe=3", "no mistake between two classes"),
        ("cost yes>yes=3", "no mistake between two classes"),
        ("cost yes>no=-1", "a mistake costs 0 or more"),
        ("cost yes>no", "is no operating point"),
        ("cost ", "is no operating point"),
        ("prevalence yes=0.02", 'No prevalence is stated for "no"'),
        ("prevalence yes=0.5, no=0.9", "add up"),
        ("prevalence yes=much, no=0.9", "is no operating point"),
    ],
)
def test_other_words_are_refused_before_any_image_is_seen(words, told):
    with pytest.raises(UsageError, match=told):
        refuse_operating_words(words, CLASSES)
    with pytest.raises(UsageError, match=told):
        choose(words, LABELS, P, CLASSES)
