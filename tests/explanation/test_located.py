"""Pointing game, energy and IoU by hand, and the interval of their means."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.explanation.located import located, mean_share, summarised

MASK = np.zeros((6, 6), bool)
MASK[1:3, 1:4] = True  # six pixels


def test_by_hand():
    values = np.zeros((6, 6))
    values[1:3, 1:4] = (3, 2, 1), (0.1, 0.1, 0)
    values[5] = -1, -1, -1, 4, 0.2, 0.3
    found = located(values, MASK)
    assert not found.pointed
    assert not located(values, MASK, tolerance=2).pointed
    assert located(values, MASK, tolerance=3).pointed  # three rows below
    assert found.inside == pytest.approx(6.2 / 10.7)
    assert found.iou == pytest.approx(3 / 9)  # of the six largest, three
    assert found.area == pytest.approx(1 / 6)


def test_the_mask_itself_is_perfect_and_a_map_of_zeros_points_at_nothing():
    perfect = located(MASK.astype(float), MASK)
    assert (perfect.pointed, perfect.inside, perfect.iou) == (True, 1, 1)
    for nothing in (np.zeros((6, 6)), -np.ones((6, 6))):
        found = located(nothing, MASK)
        assert (found.pointed, found.inside, found.iou) == (False, 0, 0)
    assert not located(np.ones((6, 6)), MASK).pointed
    assert located(np.ones((6, 6)), MASK).inside == pytest.approx(1 / 6)


def test_means_have_their_interval_and_their_n():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_share(values)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.05)
    assert found == mean_share(values)
    chance = np.random.default_rng(0)
    means = summarised([located(chance.random((6, 6)) + MASK, MASK) for _ in range(50)])
    assert means["pointed"].value == 1
    assert means["inside"].low < means["inside"].value < means["inside"].high
    assert means["iou"].n == 50


def test_what_is_refused():
    with pytest.raises(DataError, match="6×6, its map 6×5"):
        located(np.ones((6, 5)), MASK)
    with pytest.raises(DataError, match="empty"):
        located(np.ones((6, 6)), ~MASK & MASK)
