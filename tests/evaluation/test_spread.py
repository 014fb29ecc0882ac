"""The spread of repeated runs against scipy's t, and the correction for overlapping splits by its formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from foveal.evaluation.spread import spread


@given(st.lists(st.floats(0.3, 0.7), min_size=2, max_size=12))
def test_it_is_students_interval(values):
    ours = spread(values)
    scale = float(stats.sem(values))
    if scale > 1e-12:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scale)
        assert (ours.mean.low, ours.mean.high) == pytest.approx((max(low, 0), min(high, 1)))
    assert ours.mean.value == pytest.approx(np.mean(values))
    assert ours.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_overlapping_splits_widen_it():
    values = [0.5, 0.52, 0.54, 0.49, 0.51]
    plain, wide = spread(values), spread(values, overlap=0.25)
    widths = [one.mean.high - one.mean.low for one in (plain, wide)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt((1 / 5 + 0.25) / (1 / 5)))  # Nadeau, Bengio 2003
    assert "corrected" in wide.mean.method and "corrected" not in plain.mean.method


def test_a_share_stays_a_share():
    assert spread([0.99, 1.0]).mean.high == 1.0
    assert spread([1.0, 1.0]).mean.low == spread([1.0, 1.0]).mean.high == 1.0
