"""Pointing game, energy and IoU by hand, and their intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foveal.errors import UsageError
from foveal.explanation.located import (
    bootstrapped,
    energy_inside,
    intersection_over_union,
    located,
    pointing_game,
    proportion,
)

MASK = np.zeros((1, 6, 6), bool)
MASK[0, 1:3, 1:4] = True  # six pixels


def test_by_hand():
    values = np.zeros((1, 6, 6))
    values[0, 1, 1:4] = 3, 2, 1  # inside
    values[0, 5] = -1, -1, -1, 4, 0, 0  # beside it
    assert pointing_game(values, MASK).tolist() == [False]
    assert pointing_game(values, MASK, tolerance=3).tolist() == [True]  # three rows below
    assert pointing_game(values, MASK, tolerance=2).tolist() == [False]
    assert energy_inside(values, MASK) == pytest.approx([0.6])
    # the six largest: three inside, one outside, and two of the 29 zeros, of which three lie inside
    both = 3 + 2 * 3 / 29
    assert intersection_over_union(values, MASK) == pytest.approx([both / (12 - both)])
    assert intersection_over_union(values, MASK, share=0.5) == pytest.approx([2 / (3 + 6 - 2)])


def test_the_mask_itself_is_perfect_and_a_constant_map_points_at_nothing():
    perfect = MASK.astype(float)
    assert energy_inside(perfect, MASK) == intersection_over_union(perfect, MASK) == [1]
    assert pointing_game(perfect, MASK).all()
    even = np.ones((1, 6, 6))
    assert not pointing_game(even, MASK).any()
    assert energy_inside(even, MASK) == pytest.approx(1 / 6)  # the area
    assert intersection_over_union(even, MASK) == pytest.approx(1 / 11)  # one pixel of six, by chance
    assert np.isnan(energy_inside(-even, MASK)).all()
    assert intersection_over_union(-even, MASK, share=0.5) == [0]


def test_means_have_their_intervals_and_their_n():
    chance = np.random.default_rng(0)
    masks = np.repeat(MASK, 50, axis=0)
    maps = chance.random((50, 6, 6)) + masks * 0.5
    maps[0] = -1
    found = located(maps, masks, tolerance=1)
    assert found == located(maps, masks, tolerance=1)
    assert (found.pointing.n, found.energy.n, found.iou.n) == (50, 49, 50)  # in one map nothing spoke for the class
    for one in (found.pointing, found.energy, found.iou):
        assert one.low < one.value < one.high
    assert found.energy.value > 1.2 * found.area
    assert json.loads(json.dumps(found.to_dict()))["pointing"]["method"] == "Wilson"


def test_intervals_against_known_ones():
    wilson = proportion(8, 10)
    assert (wilson.low, wilson.high) == pytest.approx((0.490, 0.943), abs=1e-3)
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = bootstrapped(values)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.05)
    ratio = bootstrapped(values, np.full(400, 2.0))
    assert (ratio.value, ratio.low) == pytest.approx((found.value / 2, found.low / 2))


@pytest.mark.parametrize(
    ("maps", "masks", "options", "says"),
    [
        (np.ones((1, 6, 5)), MASK, {}, "one shape"),
        (np.ones((1, 6, 6)), ~np.ones((1, 6, 6), bool), {}, "one pixel or more"),
        (np.ones((1, 6, 6)), MASK.astype(int), {}, "boolean"),
        (np.full((1, 6, 6), np.nan), MASK, {}, "not finite"),
        (np.ones((1, 6, 6)), MASK, {"tolerance": -1}, "0 or more pixels"),
        (np.ones((1, 6, 6)), MASK, {"share": 0.0}, "above 0"),
    ],
)
def test_what_is_refused(maps, masks, options, says):
    with pytest.raises(UsageError, match=says):
        located(maps, masks, **options)
