"""The gate applied: its scores and reasons, how it is stored, and what it refuses to be read from."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp

from foveal.classifier.gate import OPENING, Detector, Gate, distances
from foveal.errors import DataError
from scene_pictures import scenes
from shown_images import Shown, fit_gate


def seen(count: int, seed: int) -> Shown:
    rng = np.random.default_rng(seed)
    features = 1 + rng.normal(0, 0.3, (count, 24)).astype(np.float32)
    return Shown(scenes(count, 32, seed), features, rng.normal(0, 1, (count, 2)), rng.integers(0, 2, count))


@pytest.fixture(scope="module")
def gate() -> Gate:
    return fit_gate(seen(300, 1), seen(300, 2))


OWN = seen(40, 3)
BLURRED = gaussian_filter(OWN.pixels, (0, 2, 2, 0))


def test_a_score_of_1_is_the_threshold_and_0_the_median():
    one = Detector("energy", median=-5.0, threshold=-1.0, share=0.99)
    raw = np.array([-9.0, -5.0, -3.0, -1.0, 3.0, np.nan, np.inf])
    assert one.scaled(raw).tolist() == [0, 0, 0.5, 1, 2, 1e6, 1e6]


def test_raw_scores_are_those_of_the_papers(gate):
    raw = gate.raw_scores(gate.by_aspect(gate.deviations(gate.measured(OWN.pixels))), OWN.features, OWN.logits)
    assert raw["energy"] == pytest.approx(-logsumexp(OWN.logits, axis=1))
    units = OWN.features / np.linalg.norm(OWN.features, axis=1, keepdims=True)
    apart = np.linalg.norm(units[:, None] - gate.references[None].astype(float), axis=2)
    assert raw["features"] == pytest.approx(apart.min(axis=1), abs=2e-3)
    third = distances(gate.references, OWN.features, 3)
    assert third == pytest.approx(np.sort(apart, axis=1)[:, 2], abs=2e-3)


def test_the_reason_names_what_differs(gate):
    blurred = gate.assess(BLURRED, OWN.features, OWN.logits).reasons
    assert len(blurred) == 40
    assert all(reason.startswith(OPENING) for reason in blurred.values())
    assert sum("sharp" in reason or "detail" in reason for reason in blurred.values()) > 36
    dark = gate.assess(OWN.pixels // 8, OWN.features, OWN.logits).reasons
    assert sum("black" in reason or "darker" in reason or "contrast" in reason for reason in dark.values()) > 36
    away = gate.assess(OWN.pixels[:1], -OWN.features[:1], OWN.logits[:1]).reasons[0]
    assert "its features lie farther from the training images than those of 9" in away
    weak = gate.assess(OWN.pixels[:1], None, OWN.logits[:1] - 50).reasons[0]
    assert "response to it is weaker than to 9" in weak
    ordinary = gate.assess(OWN.pixels, OWN.features, OWN.logits)
    assert set(ordinary.reasons) == set(np.flatnonzero((ordinary.scores >= 1).any(axis=1)).tolist())


def test_without_features_energy_judges_in_their_place(gate):
    without, within = (gate.assess(BLURRED, features, OWN.logits).scores for features in (None, OWN.features))
    assert (without[:, 0] == 0).all()
    assert (within[:, 1] == 0).all()
    assert (without[:, 1] > 0).any()
    assert (within[:, 0] > 0).any()
    assert np.array_equal(without[:, 2], within[:, 2])


def test_numbers_that_are_none_are_foreign_and_no_error(gate):
    features, logits = OWN.features.copy(), OWN.logits.copy()
    features[0], logits[1, 0], features[2] = np.nan, np.inf, 0
    scores = gate.assess(OWN.pixels, features, logits).scores
    assert np.isfinite(scores).all()
    assert scores[0, 0] == scores[1, 1] == 1e6
    assert scores[2, 0] >= 1


def test_an_image_alone_is_judged_as_among_others(gate):
    together = gate.assess(BLURRED, OWN.features, OWN.logits)
    for row in range(len(BLURRED)):
        part = slice(row, row + 1)
        alone = gate.assess(BLURRED[part], OWN.features[part], OWN.logits[part])
        assert np.array_equal(alone.scores[0], together.scores[row])
        assert alone.reasons[0] == together.reasons[row]
    assert gate.assess(BLURRED[:0], OWN.features[:0], OWN.logits[:0]).scores.shape == (0, 3)


def test_it_comes_back_as_it_was_stored(gate):
    back = Gate.from_dict(json.loads(json.dumps(gate.to_dict(), allow_nan=False)), gate.arrays())
    assert back.to_dict() == gate.to_dict()
    ours, theirs = (one.assess(BLURRED, OWN.features, OWN.logits) for one in (gate, back))
    assert np.array_equal(ours.scores, theirs.scores) and ours.reasons == theirs.reasons
    assert back.arrays()["references"].dtype == np.float16


@pytest.mark.parametrize(
    ("pixels", "features", "logits", "words"),
    [
        (OWN.pixels[:, 1:], OWN.features, OWN.logits, "images of"),
        (OWN.pixels.astype(float), OWN.features, OWN.logits, "uint8"),
        (OWN.pixels, OWN.features[:, 1:], OWN.logits, "other features"),
        (OWN.pixels, OWN.features[1:], OWN.logits, "other features"),
        (OWN.pixels, OWN.features, OWN.logits[1:], "logits"),
    ],
)
def test_arrays_of_another_shape_are_refused(gate, pixels, features, logits, words):
    with pytest.raises(DataError, match=words):
        gate.assess(pixels, features, logits)


def test_statistics_of_images_of_another_size_are_refused(gate):
    with pytest.raises(DataError, match="statistics an image"):
        gate.judge(gate.measured(OWN.pixels)[:, 1:], OWN.features, OWN.logits)


DAMAGE = [
    (lambda v, a: v.pop("detectors"), "no detectors"),
    (lambda v, a: v["detectors"].pop(), "detectors"),
    (lambda v, a: v["detectors"].reverse(), "detectors"),
    (lambda v, a: v["detectors"][0].update(threshold=float("nan")), "not finite"),
    (lambda v, a: v["detectors"][0].update(threshold=v["detectors"][0]["median"]), "not above"),
    (lambda v, a: v["detectors"][1].update(share=2), "share"),
    (lambda v, a: v["detectors"][1].update(extra=2), "exactly"),
    (lambda v, a: v.update(size=[32, 32]), "size"),
    (lambda v, a: v.update(size=[32, 32, 2]), "channels"),
    (lambda v, a: v.update(size=[32, 32, 3]), "shape"),
    (lambda v, a: v.update(size=[32, 10**400, 3]), "shape"),
    (lambda v, a: v.update(neighbours=0), "neighbours"),
    (lambda v, a: v.update(neighbours=10_000), "neighbours"),
    (lambda v, a: v.update(facts=[]), "facts"),
    (lambda v, a: a.pop("references"), "arrays"),
    (lambda v, a: a.update(more=np.zeros(1)), "arrays"),
    (lambda v, a: a.update(references=a["references"].astype(int)), "finite numbers"),
    (lambda v, a: a.update(references=a["references"] * np.float16("nan")), "finite numbers"),
    (lambda v, a: a.update(references=a["references"][:0]), "shape"),
    (lambda v, a: a.update(whitening=a["whitening"][1:]), "shape"),
    (lambda v, a: a.update(knots=a["knots"][:, ::-1]), "rise"),
    (lambda v, a: a.update(scores=a["scores"] * 0), "rise"),
    (lambda v, a: a.update(limits=a["limits"] * 0), "limit"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_a_damaged_gate_is_refused(gate, damage, words):
    value, arrays = copy.deepcopy(gate.to_dict()), dict(gate.arrays())
    damage(value, arrays)
    with pytest.raises(ValueError, match=words):
        Gate.from_dict(value, arrays)


@pytest.mark.parametrize("value", [None, [], {}, {"detectors": 1, "size": 1, "neighbours": 1, "facts": 1}])
def test_what_is_no_gate_is_refused(value):
    with pytest.raises(ValueError, match="gate"):
        Gate.from_dict(value, {})
