"""Nested subsets: each holds the smaller ones, classes by their share, no unit torn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.subsets import nested_subsets

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 5))
def test_they_are_nested_whole_and_hold_every_class_of_single_class_units(seed, size, classes):
    rng = np.random.default_rng(seed)
    units = np.sort(rng.integers(0, max(classes, 200 // size), 200))
    of_unit = rng.integers(0, classes, units.max() + 1)
    of_unit[np.unique(units)[:classes]] = np.arange(len(np.unique(units)[:classes]))
    labels = of_unit[units]
    subsets = nested_subsets(labels, units, SHARES, seed)
    for small, large in pairwise(subsets):
        assert (large | ~small).all()
    assert subsets[-1].all()
    for subset in subsets:
        assert all(len(set(subset[units == unit].tolist())) == 1 for unit in np.unique(units))
        assert set(labels[subset].tolist()) == set(labels.tolist())


def test_single_images_are_drawn_by_the_share_of_each_class():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    for share, subset in zip(SHARES, nested_subsets(labels, np.arange(1000), SHARES, 3), strict=True):
        assert np.bincount(labels[subset]).tolist() == [round(share * count) for count in (600, 300, 100)]


def test_a_unit_of_several_classes_is_whole_and_counts_once():
    labels, units = np.array([0, 1] * 50), np.arange(100) // 2
    small, whole = nested_subsets(labels, units, (0.5, 1.0), 0)
    assert small.sum() == 50 and whole.all()
    assert np.bincount(labels[small]).tolist() == [25, 25]


def test_the_seed_decides():
    labels = np.arange(100) % 2
    first, again, other = (nested_subsets(labels, np.arange(100), (0.3, 1.0), seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
