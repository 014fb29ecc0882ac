"""Uncertainty from several members: identities, scipy's entropy, and what tells wrong from right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from foveal.errors import DataError
from foveal.evaluation import uncertainty as module
from foveal.evaluation.ranking import auc_interval
from foveal.evaluation.uncertainty import uncertainty, wrong_from_right


def test_a_case_worked_by_hand():
    # sure and opposite; unsure and alike; sure and alike
    members = np.array([[[1, 0], [0.5, 0.5], [1, 0]], [[0, 1], [0.5, 0.5], [1, 0]]])
    found = uncertainty(members)
    assert found.mean.tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 0]]
    assert found.predictive_entropy == pytest.approx([np.log(2), np.log(2), 0])
    assert found.expected_entropy == pytest.approx([0, np.log(2), 0])
    assert found.mutual_information == pytest.approx([np.log(2), 0, 0])
    assert found.normalised_entropy == pytest.approx([1, 1, 0])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(0, 20), st.integers(2, 6))
def test_identities(seed, count, n, classes):
    rng = np.random.default_rng(seed)
    members = rng.dirichlet(np.full(classes, 0.3), (count, n))
    found = uncertainty(members)
    assert found.members == count and found.mean.shape == (n, classes)
    assert found.predictive_entropy == pytest.approx(entropy(found.mean, axis=1), abs=1e-12)
    assert found.expected_entropy == pytest.approx(entropy(members, axis=2).mean(axis=0), abs=1e-12)
    both = found.expected_entropy + found.mutual_information
    assert found.predictive_entropy == pytest.approx(both, abs=1e-12)
    # mutual information is the mean divergence of the members from their mean, and at most ln M
    divergence = np.array([[entropy(row, mean) for row, mean in zip(one, found.mean, strict=True)] for one in members])
    assert found.mutual_information == pytest.approx(divergence.mean(axis=0).reshape(n), abs=1e-9)
    assert ((found.mutual_information >= 0) & (found.mutual_information <= np.log(count) + 1e-12)).all()
    assert ((found.normalised_entropy >= 0) & (found.normalised_entropy <= 1)).all()
    order = rng.permutation(n)
    for name, values in uncertainty(members[:, order]).measures.items():
        assert np.array_equal(values, found.measures[name][order])


def test_one_member_has_no_mutual_information():
    found = uncertainty(np.random.default_rng(51).dirichlet(np.ones(4), (1, 30)))
    assert not found.mutual_information.any()


def test_parts_make_no_difference(monkeypatch):
    members = np.random.default_rng(52).dirichlet(np.ones(4), (3, 50)).astype(np.float32)
    whole = uncertainty(members)
    monkeypatch.setattr(module, "AT_ONCE", 3 * 4 * 7)
    for name, values in uncertainty(members).measures.items():
        assert np.array_equal(values, whole.measures[name])


def test_wrong_answers_are_told_from_right_ones():
    rng = np.random.default_rng(53)
    logits = 1.5 * rng.normal(size=(1, 400, 3)) + 0.7 * rng.normal(size=(5, 400, 3))
    members = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    found = uncertainty(members)
    labels = (found.mean.cumsum(axis=1) > rng.random((400, 1))).argmax(axis=1)
    units = np.arange(400) // 4
    told = wrong_from_right(found, labels, units)
    wrong = found.mean.argmax(axis=1) != labels
    assert (told.n, told.units, told.wrong) == (400, 100, int(wrong.sum()))
    assert told.auc["predictive_entropy"] == auc_interval(wrong, found.predictive_entropy, units)
    assert told.auc["one_minus_probability"] == auc_interval(wrong, 1 - found.mean.max(axis=1), units)
    assert told.auc["predictive_entropy"].low > 0.5
    assert set(told.to_dict()["auc"]) == set(found.measures)


def test_nothing_to_tell_apart_is_no_figure():
    found = uncertainty(np.full((2, 3, 2), [0.9, 0.1]))
    told = wrong_from_right(found, np.zeros(3, int))
    assert told.wrong == 0 and all(one is None for one in told.to_dict()["auc"].values())


def test_what_is_no_probability_is_refused():
    for bad in (np.ones((3, 2)), np.ones((0, 3, 2)), np.ones((2, 3, 1))):
        with pytest.raises(DataError, match="members, images, classes"):
            uncertainty(bad)
    for bad in ([[0.5, np.nan]], [[0.7, 0.7]], [[1.5, -0.5]]):
        with pytest.raises(DataError, match="Some row"):
            uncertainty(np.array([bad]))
    with pytest.raises(DataError, match="no image"):
        wrong_from_right(uncertainty(np.ones((2, 0, 2))), np.zeros(0, int))
