"""The gate fitted: false alarms as often as promised, foreign images caught, the same gate for the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from foveal.errors import DataError, UsageError
from foveal.evaluation.gate_fitting import REFERENCE_BYTES, quantile_of_units, shrunk_covariance
from scene_pictures import scenes
from shown_images import Shown, fit_gate

CLASSES, WIDTH = 3, 32


def seen(count: int, seed: int = 0, *, pixels: np.ndarray | None = None) -> Shown:
    """Return images of light from above, with features around one of three directions and logits to match."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    features = 4 * np.eye(WIDTH)[labels] + rng.normal(0, 0.5, (count, WIDTH))
    logits = 6 * np.eye(CLASSES)[labels] + rng.normal(0, 1, (count, CLASSES))
    shown = scenes(count, 32, seed) if pixels is None else pixels
    return Shown(shown, features.astype(np.float32), logits.astype(np.float32), labels)


@pytest.fixture(scope="module")
def gate():
    return fit_gate(seen(600, 1), seen(400, 2), false_alarm_rate=0.03)


def caught(gate, one: Shown) -> np.ndarray:
    return (gate.assess(one.pixels, one.features, one.logits).scores >= 1).mean(axis=0)


def test_each_detector_catches_its_own(gate):
    own = seen(300, 3)
    assert [one.name for one in gate.detectors] == ["features", "energy", "statistics"]
    rng = np.random.default_rng(0)
    elsewhere = replace(own, features=rng.normal(0, 2, own.features.shape).astype(np.float32))
    assert caught(gate, elsewhere)[0] == 1
    weak = replace(own, logits=own.logits * 0.1)
    assert caught(gate, weak)[1] == 0  # features judge in its place
    assert caught(gate, replace(weak, features=None))[1] > 0.95
    for change in (
        lambda x: 255 - x,
        lambda x: np.rot90(x, axes=(1, 2)),
        lambda x: gaussian_filter(x, (0, 1.5, 1.5, 0)),
        np.zeros_like,
    ):
        foreign = caught(gate, replace(own, pixels=np.ascontiguousarray(change(own.pixels))))
        assert foreign[2] > 0.95
        assert foreign[:2].tolist() == caught(gate, own)[:2].tolist()


def test_colour_is_foreign_where_grey_was_learnt():
    def coloured(one: Shown, tint: tuple[float, float, float]) -> Shown:
        return replace(one, pixels=(one.pixels * np.array(tint)).astype(np.uint8))

    train, held, own = (coloured(seen(200, seed), (1, 1, 1)) for seed in (1, 2, 3))
    grey = fit_gate(train, held)
    answers = grey.assess(coloured(own, (1, 0.8, 0.6)).pixels, own.features, own.logits)
    assert (answers.scores[:, 2] >= 1).all()
    assert all("colour" in reason for reason in answers.reasons.values())


def test_the_false_alarm_rate_is_the_one_asked():
    rate, shares = 0.06, []
    everything = seen(20_000, 9, pixels=np.tile(scenes(500, 16, 9), (40, 1, 1, 1)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        order = rng.permutation(500)
        parts = [
            replace(
                everything,
                **{name: getattr(everything, name)[at] for name in ("pixels", "features", "logits", "labels")},
            )
            for at in (order[:150], order[150:300], order[300:])
        ]
        fitted = fit_gate(parts[0], parts[1], false_alarm_rate=rate)
        shares.append([])
        for features in (parts[2].features, None):  # of torch, and of an engine that gives none
            fired = fitted.assess(parts[2].pixels, features, parts[2].logits).scores >= 1
            shares[-1] += [*fired.mean(axis=0), fired.any(axis=1).mean()]
    found = np.mean(shares, axis=0)
    assert found[[0, 2, 5, 6]] == pytest.approx([rate / 2] * 4, abs=0.015)
    assert found[1] == found[4] == 0
    assert 0.03 < found[3] < rate + 0.015
    assert 0.03 < found[7] < rate + 0.015


def test_the_quantile_is_exceeded_as_rarely_as_said():
    """P(a new score exceeds it) is exactly 1 - rank / (n + 1), by exchangeability: simulated with continuous scores."""
    rng = np.random.default_rng(1)
    for count, rate in ((49, 0.1), (19, 0.2), (30, 0.001)):
        scores = rng.normal(size=(6_000, count + 1))
        quantiles = [quantile_of_units(row[:-1], np.arange(count), rate) for row in scores]
        exceeded = (scores[:, -1] > quantiles).mean()
        promised = max(np.floor((count + 1) * rate + 1e-9), 1) / (count + 1)
        assert exceeded == pytest.approx(promised, abs=4 * np.sqrt(promised / 6_000))


def test_a_unit_counts_once_with_its_highest_score():
    scores = np.array([1.0, 9.0, 2.0, 3.0, 4.0, 5.0])
    units = np.array([0, 0, 1, 2, 3, 3])  # highest: 9, 2, 3, 5
    assert quantile_of_units(scores, units, 0.4) == 5  # ceil(5 × 0.6) = 3rd of 2, 3, 5, 9
    assert quantile_of_units(scores, units, 0.2) == 9
    held = seen(60, 2)
    grouped = fit_gate(seen(60, 1), held, held_units=np.repeat([f"p{n}" for n in range(30)], 2))
    assert grouped.facts["units"] == 30 and grouped.facts["n"] == 60


def test_too_few_held_out_units_promise_what_they_can():
    few = fit_gate(seen(60, 1), seen(20, 2))
    assert few.facts["false_alarm_rate"] == 0.02
    assert few.facts["promised_rate"] == pytest.approx(2 / 21)
    own = seen(20, 2)
    assert not few.assess(own.pixels, own.features, own.logits).reasons  # the largest is no alarm
    assert all(one.share == 1 for one in few.detectors)
    many = fit_gate(seen(60, 1), seen(200, 2), split="calibration")
    assert many.facts["promised_rate"] == pytest.approx(0.02)
    assert many.facts["split"] == "calibration"


def test_it_is_the_same_for_the_same_images(gate):
    again = fit_gate(seen(600, 1), seen(400, 2), false_alarm_rate=0.03)
    assert again.to_dict() == gate.to_dict()
    assert all(np.array_equal(array, gate.arrays()[name]) for name, array in again.arrays().items())
    other = fit_gate(seen(600, 1), seen(400, 2), false_alarm_rate=0.03, seed=1)
    assert not np.array_equal(other.references, gate.references)


def test_references_are_spread_over_classes_and_stay_small():
    train = seen(700, 1)
    rare = replace(train, labels=np.where(np.arange(700) < 20, 1, 0))
    of_rare = {tuple(row) for row in fit_gate(replace(rare, features=rare.features), seen(50, 2)).references.tolist()}
    units = rare.features[:20] / np.linalg.norm(rare.features[:20].astype(np.float64), axis=1, keepdims=True)
    assert {tuple(row) for row in units.astype(np.float32).astype(np.float16).tolist()} <= of_rare
    wide = [replace(one, features=np.ones((len(one.labels), 25_088), np.float32)) for one in (train, seen(20, 2))]
    arrays = fit_gate(*wide).arrays()
    assert arrays["references"].nbytes <= REFERENCE_BYTES
    assert sum(array.nbytes for array in arrays.values()) < 2_000_000


@pytest.mark.parametrize(("n", "k"), [(2, 2), (3, 37), (200, 37), (1000, 1)])
def test_the_shrunk_covariance_is_that_of_scikit_learn(n, k):
    from sklearn.covariance import ledoit_wolf

    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, k)) @ rng.normal(size=(k, k))
    np.testing.assert_allclose(shrunk_covariance(x), ledoit_wolf(x, assume_centered=True)[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(shrunk_covariance(np.zeros((n, k))), np.zeros((k, k)))


def test_a_network_without_features_has_two_detectors():
    bare = fit_gate(replace(seen(60, 1), features=None), replace(seen(60, 2), features=None))
    assert [one.name for one in bare.detectors] == ["energy", "statistics"]
    assert bare.facts["references"] == 0
    own = seen(5, 3)
    assert bare.assess(own.pixels, None, own.logits).scores.shape == (5, 2)


@pytest.mark.parametrize("pixels", [np.zeros((30, 32, 32, 1), np.uint8), np.full((30, 1, 1, 3), 255, np.uint8)])
def test_images_that_are_all_alike_still_make_a_gate(pixels):
    alike = fit_gate(seen(30, 1, pixels=pixels), seen(30, 2, pixels=pixels))
    own = seen(30, 2, pixels=pixels)
    assert not alike.assess(pixels, own.features, own.logits).reasons
    assert (alike.assess(pixels // 2 + 60, own.features, own.logits).scores[:, 2] >= 1).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, h: (seen(1), h), "two training images"),
        (lambda t, h: (t, seen(0)), "none"),
        (lambda t, h: (t, replace(h, features=None)), "Only one"),
        (lambda t, h: (t, replace(h, features=h.features[:, 1:])), "different length"),
        (lambda t, h: (t, replace(h, pixels=h.pixels[:, 1:])), "differ in shape"),
        (lambda t, h: (replace(t, logits=t.logits * np.nan), h), "finite"),
        (lambda t, h: (replace(t, labels=t.labels[1:]), h), "as many"),
    ],
)
def test_what_is_no_basis_for_a_gate_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        fit_gate(*change(seen(20, 1), seen(20, 2)))


@pytest.mark.parametrize("rate", [0, 0.5, -1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UsageError, match="false alarm rate"):
        fit_gate(seen(20, 1), seen(20, 2), false_alarm_rate=rate)
