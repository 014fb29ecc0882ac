"""The learning curve by training-set size: the law is found again, and nothing is claimed that the data do not hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.special import ndtr, ndtri

from foveal.errors import DataError
from foveal.evaluation.data_curve import DataCurve, fit_data_curve, power_laws

SIZES = [100, 200, 400, 700, 1000]


def answers(
    law: tuple[float, float, float], n: int, *, sizes=SIZES, repeats: int = 3, seed: int = 0, jitter: float = 0.05
) -> list[np.ndarray]:
    """(R, N) bool for each size: wrong answers with the errors of `law`; images are hard for all sizes alike."""
    rng = np.random.default_rng(seed)
    a, b, c = law
    hard = rng.normal(size=n)
    found = []
    for size in sizes:
        error = np.minimum((a + b * size**-c) * np.exp(rng.normal(0, jitter, repeats)), 0.95)
        own = np.sqrt(0.7) * hard + np.sqrt(0.3) * rng.normal(size=(repeats, n))
        found.append(own < ndtri(error)[:, None])
    return found


@pytest.mark.parametrize("law", [(0.02, 1.0, 0.5), (0.0, 2.0, 0.4), (0.1, 30.0, 1.2), (0.3, 0.5, 0.2)])
def test_a_law_without_noise_is_found_again(law):
    a, b, c = law
    sizes = np.array(SIZES, float)
    (found_a, found_b, found_c), left = power_laws(sizes, (a + b * sizes**-c)[:, None], np.ones(5))
    beyond = np.array([1500.0, 2000.0])
    assert found_c[0] == pytest.approx(c, rel=0.03)  # the grid's step
    assert found_a + found_b * beyond**-found_c == pytest.approx(a + b * beyond**-c, abs=0.0015)
    assert left[0] < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 0.9), min_size=5, max_size=5))
def test_the_fit_is_as_good_as_a_general_minimiser(errors):
    sizes, observed, weights = np.array(SIZES, float), np.array(errors), np.array([1.0, 2, 3, 4, 5])
    (a, b, c), left = power_laws(sizes, observed[:, None], weights)
    assert a[0] >= 0 and b[0] >= 0
    assert left[0] == pytest.approx(float(weights @ (observed - a[0] - b[0] * sizes ** -c[0]) ** 2), abs=1e-9)

    def residuals(x):
        return np.sqrt(weights) * (observed - x[0] - x[1] * (sizes / 100) ** -x[2])

    starts = [(observed.min(), max(np.ptp(observed), 1e-3), rate) for rate in (0.1, 0.5, 1.5)]
    bounds = ([0, 0, 0.05], [1, 10, 2.0])
    general = min(2 * least_squares(residuals, start, bounds=bounds).cost for start in starts)
    assert left[0] <= general + 1e-3


def test_a_steep_curve_promises_a_gain():
    curve = fit_data_curve(SIZES, answers((0.0, 2.0, 0.5), 1000), np.arange(1000))
    true = 2 * 1000**-0.5 * (1 - 2**-0.5)
    assert curve.verdict == "gain" and curve.gain.low <= true <= curve.gain.high
    assert curve.largest == 1000 and curve.band[-1][0] == pytest.approx(2000)
    assert curve.gain.value == pytest.approx(curve.law.error(1000) - curve.law.error(2000))
    assert all(low <= middle <= high for _, middle, low, high in curve.band)
    assert [one.images for one in curve.points] == SIZES
    assert curve.points[0].error.value == pytest.approx(np.mean(curve.points[0].errors))


def test_a_flat_curve_promises_nothing():
    curve = fit_data_curve(SIZES, answers((0.2, 0.0, 0.5), 500), np.arange(500))
    assert curve.verdict == "flat" and curve.gain.low < 0.0005


def test_too_few_sizes_and_a_law_that_does_not_fit():
    wrong = answers((0.0, 2.0, 0.5), 1000)
    assert fit_data_curve(SIZES[:2], wrong[:2], np.arange(1000)).law is None
    three = fit_data_curve(SIZES[:3], wrong[:3], np.arange(1000))
    assert three.verdict == "too few sizes" and three.law.p_fit is None
    assert fit_data_curve([600, 700, 800, 900], wrong[:4], np.arange(1000)).verdict == "too few sizes"
    step = [np.tile(np.arange(5000) < share * 5000, (3, 1)) for share in (0.5, 0.48, 0.46, 0.1, 0.09)]
    assert fit_data_curve(SIZES, step, np.arange(5000)).verdict == "misfit"


def test_no_error_at_all_still_has_an_interval():
    none = [np.zeros((2, 50), bool)] * 5
    curve = fit_data_curve(SIZES, none, np.arange(50))
    assert curve.verdict == "flat"
    assert curve.points[0].error.high > 0.05 and "Wilson" in curve.points[0].error.method


def test_units_widen_the_interval_and_the_seed_decides():
    wrong = [np.repeat(one[:, ::10], 10, axis=1) for one in answers((0.1, 1.0, 0.4), 1000)]
    alone = fit_data_curve(SIZES, wrong, np.arange(1000))
    together = fit_data_curve(SIZES, wrong, np.arange(1000) // 10)
    widths = [one.points[0].error.high - one.points[0].error.low for one in (alone, together)]
    assert widths[1] > 1.5 * widths[0] and together.units == 100
    assert fit_data_curve(SIZES, wrong, np.arange(1000)) == alone
    assert fit_data_curve(SIZES, wrong, np.arange(1000), seed=1) != alone


def test_one_repeat_will_do():
    curve = fit_data_curve(SIZES, answers((0.0, 2.0, 0.5), 1000, repeats=1), np.arange(1000))
    assert curve.repeats == 1 and curve.gain is not None


def test_it_goes_through_json():
    for sizes in (2, 5):
        curve = fit_data_curve(SIZES[:sizes], answers((0.0, 2.0, 0.5), 200)[:sizes], np.arange(200))
        assert DataCurve.from_dict(json.loads(json.dumps(curve.to_dict(), allow_nan=False))) == curve


@pytest.mark.parametrize(
    ("sizes", "wrong", "units"),
    [
        ([100], [np.zeros((1, 5), bool)], np.arange(5)),
        ([100, 100], [np.zeros((1, 5), bool)] * 2, np.arange(5)),
        ([200, 100], [np.zeros((1, 5), bool)] * 2, np.arange(5)),
        ([100, 200], [np.zeros((1, 5), bool)], np.arange(5)),
        ([100, 200], [np.zeros((1, 5), bool), np.zeros((2, 5), bool)], np.arange(5)),
        ([100, 200], [np.zeros((1, 5), bool)] * 2, np.arange(4)),
    ],
)
def test_what_does_not_fit_together_is_refused(sizes, wrong, units):
    with pytest.raises(DataError, match="learning curve needs"):
        fit_data_curve(sizes, wrong, units)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "n"), [((0.02, 1.0, 0.5), 500), ((0.0, 2.0, 0.5), 1000), ((0.1, 1.0, 0.3), 300), ((0.05, 8.0, 1.0), 500)]
)
def test_the_interval_of_the_gain_covers_the_true_gain(law, n):
    """120 simulated curves each: the interval holds the true gain in 9 of 10 or more, also where one is promised."""
    _, b, c = law
    true = b * 1000**-c * (1 - 2**-c)
    curves = [
        fit_data_curve(SIZES, answers(law, n, seed=seed), np.arange(n), resamples=400, seed=seed) for seed in range(120)
    ]
    covered = np.array([one.gain.low - 1e-12 <= true <= one.gain.high + 1e-12 for one in curves])
    promised = np.array([one.verdict == "gain" for one in curves])
    assert covered.mean() >= 0.88 and covered[promised].mean() >= 0.88


def test_the_simulation_makes_the_errors_that_it_says():
    wrong = answers((0.1, 1.0, 0.4), 20_000, jitter=0.0)
    assert [one.mean() for one in wrong] == pytest.approx([0.1 + size**-0.4 for size in SIZES], abs=0.015)
    assert ndtr(ndtri(0.3)) == pytest.approx(0.3)
