"""The bootstrap: what a resample gives is what scikit-learn gives with those weights, and intervals cover."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as oracle

from foveal.errors import UsageError
from foveal.evaluation import figures, resampling, tally
from foveal.evaluation.bootstrap import Bootstrap
from foveal.evaluation.resampling import draws, percentiles, resample


def case(seed: int, n: int, classes: int, digits: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Labels, probabilities with many ties, units of one to several images."""
    rng = np.random.default_rng(seed)
    shares = np.round(rng.dirichlet(np.full(classes, 0.6), n), digits)
    _, units = np.unique(rng.integers(0, max(2, n // 2), n), return_inverse=True)
    return rng.integers(0, rng.integers(2, classes + 1), n), shares, units, int(units.max()) + 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 70), st.integers(2, 4), st.integers(1, 8))
def test_each_resample_is_scikit_learn_with_those_weights(seed, n, classes, digits):
    labels, shares, units, count = case(seed, n, classes, digits)
    once, many = resample(labels, shares, units, count, resamples=100, seed=seed % 7)
    drawn = np.column_stack([np.ones(count), draws(count, resamples=100, seed=seed % 7)])
    for column in (0, 1, 41, 100):
        sums = once if column == 0 else many
        at, weight = max(0, column - 1), drawn[units, column]
        check_against_oracle(labels, shares, weight, sums, at)


def check_against_oracle(labels, shares, weight, sums, at):
    classes, guess = shares.shape[1], shares.argmax(1)
    truth = labels[:, None] == np.arange(classes)
    assert sums.n[at] == weight.sum()
    plain = oracle.confusion_matrix(labels, guess, sample_weight=weight, labels=range(classes))
    assert np.array_equal(sums.hits[:, at], np.diag(plain))
    assert np.array_equal(sums.truths[:, at], plain.sum(1)) and np.array_equal(sums.answers[:, at], plain.sum(0))
    losses = -np.log(np.maximum(shares[np.arange(len(labels)), labels], 1e-9))
    assert sums.loss[at] / sums.n[at] == pytest.approx(np.average(losses, weights=weight), abs=1e-12)
    brier = np.average(((shares - truth) ** 2).sum(1), weights=weight)
    assert sums.brier[at] / sums.n[at] == pytest.approx(brier, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the oracle, where there is one class
        mcc = oracle.matthews_corrcoef(labels, guess, sample_weight=weight)
        kappa = oracle.cohen_kappa_score(labels, guess, sample_weight=weight)
    ours = figures.matthews(sums)[at], figures.kappa(sums)[at]
    assert np.isnan(ours[0]) if (sums.truths[:, at] > 0).sum() == 1 else ours[0] == pytest.approx(mcc, abs=1e-9)
    assert np.isnan(ours[1]) if np.isnan(kappa) else ours[1] == pytest.approx(kappa, abs=1e-9)
    micro = oracle.roc_auc_score(truth.ravel(), shares.ravel(), sample_weight=np.repeat(weight, classes))
    assert sums.auc_micro[0, at] == pytest.approx(micro, abs=1e-12)
    for index in range(classes):
        if not 0 < (weight * truth[:, index]).sum() < weight.sum():
            assert np.isnan(sums.auc[index, at]) and np.isnan(sums.average_precision[index, at])
            continue
        one = truth[:, index], shares[:, index]
        used = weight > 0  # the oracle wants both sides among its rows
        area = oracle.roc_auc_score(one[0][used], one[1][used], sample_weight=weight[used])
        precision = oracle.average_precision_score(*one, sample_weight=weight)
        assert sums.auc[index, at] == pytest.approx(area, abs=1e-12)
        assert sums.average_precision[index, at] == pytest.approx(precision, abs=1e-12)


@pytest.mark.parametrize("abreast", [16, 2048])
def test_rankings_longer_than_a_piece_are_the_same(monkeypatch, abreast):
    labels, shares, units, count = case(8, 3_000, 3, digits=9)
    whole = resample(labels, shares, units, count, resamples=104)[1]
    monkeypatch.setattr(tally, "ABREAST", abreast)
    monkeypatch.setattr(resampling, "MOST_ABREAST", 8)
    pieces = resample(labels, shares, units, count, resamples=104)[1]
    for name in ("auc", "average_precision", "auc_micro"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), abs=1e-12, nan_ok=True)
    weight = draws(count, resamples=104, seed=0)[units, 103]
    check_against_oracle(labels, shares, weight, pieces, 103)


def test_threads_and_blocks_change_nothing_and_seeds_do(monkeypatch):
    labels, shares, units, count = case(2, 120, 3)
    two = resample(labels, shares, units, count, resamples=600)[1]
    monkeypatch.setattr(resampling, "THREADS", 1)
    monkeypatch.setattr(resampling, "MOST_ABREAST", 16)
    one = resample(labels, shares, units, count, resamples=600)[1]
    assert np.array_equal(one.hits, two.hits) and np.array_equal(one.loss, two.loss)
    assert np.array_equal(one.auc, two.auc, equal_nan=True)
    other = resample(labels, shares, units, count, resamples=600, seed=1)[1]
    assert not np.array_equal(one.loss, other.loss)
    assert np.array_equal(draws(count, resamples=130, seed=0), draws(count, resamples=600, seed=0)[:, :130])


def test_draws_are_multinomial():
    counts = draws(40, resamples=4_000, seed=3)
    assert (counts.sum(axis=0) == 40).all()
    assert counts.mean() == 1 and counts.var() == pytest.approx(39 / 40, abs=0.02)
    assert (counts == 0).mean() == pytest.approx((39 / 40) ** 40, abs=0.01)


def test_percentiles_leave_out_what_is_undefined_up_to_a_twentieth():
    values = np.arange(1_000.0)
    assert percentiles(values) == pytest.approx((24.975, 974.025))
    values[:50] = np.nan
    assert percentiles(values) == pytest.approx(tuple(np.quantile(np.arange(50, 1_000), [0.025, 0.975])))
    values[50] = np.nan
    assert percentiles(values) is None
    tail = stats.norm.cdf(stats.t.ppf(0.025, 9) * np.sqrt(10 / 9))
    assert percentiles(np.arange(1_000.0), count=10) == pytest.approx((999 * tail, 999 * (1 - tail)))


def test_too_few_resamples_are_refused():
    with pytest.raises(UsageError, match="100 or more"):
        resample(*case(0, 20, 3), resamples=99)


def images(rng: np.random.Generator, patients: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes, in patients that have one to `most` images of one class, and an ease of their own."""
    units = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    labels = rng.choice(3, patients, p=[0.2, 0.3, 0.5])[units]
    logits = rng.normal(size=(patients, 3))[units] * (most > 1) + rng.normal(size=(len(units), 3))
    logits[np.arange(len(units)), labels] += 1.8
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), units


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "most"), [(200, 1), (150, 6)])
def test_bootstrap_intervals_cover(patients, most):
    rng = np.random.default_rng(9)
    names = ("loss", "macro_f1", "balanced_accuracy", "auc_macro", "brier")
    truths = Bootstrap(*images(rng, 150_000, most), resamples=100, seed=0)
    truth = {name: getattr(truths, name)().value for name in names}
    held = dict.fromkeys(names, 0)
    for seed in range(1_000):
        labels, shares, units = images(rng, patients, most)
        drawn = Bootstrap(labels, shares, units if most > 1 else None, resamples=800, seed=seed)
        for name in names:
            ours = getattr(drawn, name)()
            held[name] += ours.low <= truth[name] <= ours.high
    assert all(0.925 <= count / 1_000 <= 0.975 for count in held.values()), held
