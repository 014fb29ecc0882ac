"""Rows held out for validation: whole units, every class still trained on, by seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.splits import MOST_VALIDATION, hold_out, joined_units
from foveal.errors import DataError


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=120),
    st.sampled_from([0.1, 0.3]),
    st.integers(0, 99),
)
def test_no_unit_is_torn_and_every_class_is_trained_on(rows, share, seed):
    labels = np.unique([label for label, _ in rows], return_inverse=True)[1]
    units = np.unique([unit for _, unit in rows], return_inverse=True)[1]
    try:
        held = hold_out(labels, units, share=share, seed=seed)
    except DataError as error:
        assert "held out" in str(error)
        return
    assert set(units[held]).isdisjoint(units[~held])
    assert set(labels[~held]) == set(labels)
    for label in set(labels):
        if len(set(units[labels == label])) == 1:
            assert not held[labels == label].any()
    np.testing.assert_array_equal(held, hold_out(labels, units, share=share, seed=seed))


def test_single_images_give_the_share_of_every_class_exactly():
    labels = np.repeat([0, 1, 2], [40, 100, 20])
    held = hold_out(labels, np.arange(160), share=0.25, seed=3)
    assert np.bincount(labels[held]).tolist() == [10, 25, 5]
    assert (held != hold_out(labels, np.arange(160), share=0.25, seed=4)).any()


def test_no_more_is_held_out_than_sharpens_the_figure():
    labels = np.arange(60_000) % 2
    assert hold_out(labels, np.arange(60_000), share=0.5, seed=0).sum() == MOST_VALIDATION


def test_too_few_units_are_refused():
    with pytest.raises(DataError, match="4 images"):
        hold_out(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), share=0.5, seed=0)


def test_rows_are_joined_by_digest_and_by_every_column():
    digests, groups = np.array(["c", "a", "b", "a", "d"]), np.array(["", "", "p", "p", ""])
    assert joined_units(digests, [groups]).tolist() == [1, 0, 0, 0, 2]
    assert joined_units(digests, []).tolist() == [2, 0, 1, 0, 3]
