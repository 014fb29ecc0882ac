"""The range test: what is read off its course, and that it asks training images alone."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.training import finder
from foveal.training.finder import judged, longest_fall, range_test, smooth
from foveal.training.recipe import Recipe
from foveal.training.seeding import own_random_state
from foveal.training.stage import TrainingData
from foveal.workflows.network import build

RATES = np.logspace(-7, 1, 161).tolist()
RECIPE = Recipe(model="mlp", batch_size=16, device="cpu", threads=1)


def course(fall_at: float, rise_at: float) -> list[float]:
    """A loss of 2.3 that falls to 0.3 around one rate and rises without end from another on."""
    place = np.log10(RATES)
    fall = 2 / (1 + np.exp(-6 * (place - np.log10(fall_at))))
    return (2.3 - fall + np.exp(4 * (place - np.log10(rise_at)))).tolist()


@pytest.mark.parametrize(("fall_at", "rise_at"), [(1e-4, 1e-1), (1e-3, 1.0), (1e-5, 1e-2)])
def test_the_points_lie_where_the_course_has_them(fall_at, rise_at):
    rng = np.random.default_rng(0)
    losses = (np.array(course(fall_at, rise_at)) + rng.normal(0, 0.05, len(RATES))).tolist()
    test = judged(RATES, losses, diverged=True)
    true = course(fall_at, rise_at)
    assert abs(np.log10(test.steepest / fall_at)) < 0.3
    assert true[RATES.index(test.bottom)] < min(true) + 0.12
    assert test.steepest < test.bottom
    assert test.suggestion("one_cycle") == test.suggestion("cosine") == test.bottom
    assert test.suggestion("constant") == test.bottom / 5


def test_a_task_that_is_solved_before_the_end_does_not_suggest_the_end():
    solved = np.array(course(1e-4, 1e9)) - 0.29  # then flat for decades, its lowest point a matter of chance
    solved[150] -= 0.005
    test = judged(RATES, solved.tolist(), diverged=False)
    assert 2e-4 < test.bottom < 1e-3


@pytest.mark.parametrize("losses", [[2.3] * 161, np.linspace(2.3, 9, 161).tolist(), [2.3, 2.2, 2.1], []])
def test_a_loss_that_never_falls_suggests_nothing(losses):
    test = judged(RATES[: len(losses)], losses, diverged=False)
    assert test.bottom is None and test.suggestion("one_cycle") is None
    assert len(test.smoothed) == len(losses)


def test_smoothing_keeps_lines_and_has_no_lag():
    straight = np.linspace(3, 1, 161)
    assert smooth(RATES, straight)[20:-20] == pytest.approx(straight[20:-20])
    peak = np.zeros(161)
    peak[80] = 1
    assert smooth(RATES, peak).argmax() == 80


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_the_longest_fall_is_the_longest(values):
    every = [
        places
        for count in range(1, len(values) + 1)
        for places in combinations(range(len(values)), count)
        if all(values[a] > values[b] for a, b in pairwise(places))
    ]
    most = max(map(len, every))
    assert longest_fall(np.array(values, float)) in {(one[0], one[-1]) for one in every if len(one) == most}


def run_test(pixels: np.ndarray, steps: int = 40, recipe: Recipe = RECIPE) -> finder.RangeTest:
    labels = np.arange(120) % 3
    rows = np.arange(120)
    data = TrainingData(pixels, labels, rows[:60], rows[60:90], 3)
    preprocess = Preprocess(1, 8, 8, 8, 8, "letterbox", (0.5,), (0.25,))
    with own_random_state(recipe):
        network = build(recipe, 3, 1, (8, 8))
        return range_test(network, data, preprocess, recipe, Progress(silent=True), steps=steps)


def test_validation_and_test_images_are_not_asked_and_it_repeats():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (120, 8, 8, 1), dtype=np.uint8)
    pixels += (np.arange(120) % 3 * 80).astype(np.uint8)[:, None, None, None]
    first = run_test(pixels)
    other = pixels.copy()
    other[60:] = 255 - other[60:]
    assert run_test(other) == first
    assert first.bottom is not None
    assert first.rates[0] == finder.LOWEST and first.rates[-1] <= finder.HIGHEST * (1 + 1e-9)


def test_it_ends_where_the_loss_is_out_of_sight():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (120, 8, 8, 1), dtype=np.uint8)
    test = run_test(pixels, recipe=RECIPE.changed({"optimizer": "sgd"}))
    assert test.diverged and len(test.rates) < 40
    assert np.isfinite(test.losses).all()
