"""Shortcuts are found where they are planted, and chance is called chance; label errors are found where made."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import foveal
from foveal.audit.label_errors import logistic_regression, suspects
from foveal.audit.looks import file_facts, look
from foveal.audit.shortcuts import auc, binned, crossed, interval, kinds_of, one_hot, shortcut_finding, shortcuts
from foveal.data.splits import find_units
from foveal.ops import softmax
from foveal.progress import Progress

QUIET = Progress(silent=True)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))


def told(folder, draw) -> dict:
    """Write 60 images of each of two classes by `draw(rng, label)` → picture, options; return kind → what it tells."""
    rng = np.random.default_rng(0)
    for label in (0, 1):
        (folder / "set" / f"class{label}").mkdir(parents=True)
        for number in range(60):
            picture, name, options = draw(rng, label)
            picture.save(folder / "set" / f"class{label}" / f"{number}{name}", **options)
    dataset = foveal.load(folder / "set")
    looks = look(dataset, np.arange(len(dataset)), QUIET, memory_gib=1, scratch=folder)
    kinds = kinds_of(dataset, looks, file_facts(dataset, QUIET))
    units = find_units(dataset, by_group=True)
    return {one.kind: one for one in shortcuts(dataset, kinds, units, crossed(dataset.labels, units))}


def noise(rng, size=(48, 48)) -> Image.Image:
    return Image.fromarray(rng.integers(60, 160, (*size, 3), dtype=np.uint8))


def border(rng, label):
    pixels = np.asarray(noise(rng)).copy()
    pixels[:4] = 150 if label else 70
    return Image.fromarray(pixels), ".png", {}


def mark(rng, label):
    pixels = np.asarray(noise(rng, (128, 128))).copy()
    if label:
        pixels[8:20, 100:104] = 255
    return Image.fromarray(pixels), ".png", {}


PLANTED = {
    "image size": lambda rng, label: (noise(rng, (48, 48 + 6 * label + int(rng.integers(3)))), ".png", {}),
    "file format": lambda rng, label: (noise(rng), ".jpg" if label else ".png", {}),
    "colour mode": lambda rng, label: (noise(rng).convert("L" if label else "RGB"), ".png", {}),
    "file size": lambda rng, label: (noise(rng), ".jpg", {"quality": 95 if label else 60}),
    "border pixels": border,
    "bright marks": mark,
    "mean brightness and contrast": lambda rng, label: (noise(rng).point(lambda v: v + 40 * label), ".png", {}),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_shortcut_is_found(tmp_path, kind):
    found = told(tmp_path, PLANTED[kind])
    assert found[kind].auc > 0.95 and found[kind].is_shortcut
    (finding,) = shortcut_finding(list(found.values()))
    assert finding.name == "shortcut" and any(line.startswith(f"{kind}: tells class") for line in finding.records)


def test_what_tells_nothing_is_no_shortcut(tmp_path):
    found = told(tmp_path, lambda rng, _: (noise(rng, (48, int(rng.integers(40, 60)))), ".png", {}))
    assert found and not any(one.is_shortcut for one in found.values()) and not shortcut_finding(list(found.values()))
    assert all(0.3 < one.auc < 0.7 and one.chance < 0.75 for one in found.values())


def test_groups_are_never_torn_so_that_a_patients_mark_is_no_shortcut():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    labels = np.repeat(rng.integers(0, 2, 40), 5)
    marks = np.repeat(rng.normal(size=(40, 30)), 5, axis=0)  # each patient's own, the same in all five images
    images = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    dataset = foveal.load(images, labels, groups=patients)
    (grouped,) = shortcuts(dataset, {"mark": marks}, patients, crossed(labels, patients))
    (torn,) = shortcuts(dataset, {"mark": marks}, np.arange(200), crossed(labels, np.arange(200)))
    assert torn.auc > 0.9 and grouped.auc < 0.75 and not grouped.is_shortcut


def test_the_area_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, scores = rng.integers(0, 2, 50) > 0, rng.integers(0, 6, 50).astype(float)
        assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


def test_values_are_cut_so_that_a_band_tells_as_well_as_a_height():
    values = np.array([1024] * 50 + list(range(20)) + [2000 + one for one in range(20)])
    columns = binned(values)
    assert ((columns[:50] == columns[0]).all(axis=1)).all() and not (columns[50:] == columns[0]).all(axis=1).any()
    assert one_hot(np.array(["a"] * 5 + ["b"] * 5)).shape == (10, 1) and one_hot(np.array(["a"] * 5)).shape == (5, 0)


def test_wrong_labels_are_found():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 20)) * 2
    truth = np.repeat(np.arange(3), 120)
    embeddings = centres[truth] + rng.normal(size=(360, 20))
    labels = truth.copy()
    wrong = rng.choice(360, 15, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 3
    found = suspects(embeddings, labels, crossed(labels, np.arange(360)))
    assert len({one.row for one in found} & set(wrong.tolist())) >= 13 and len(found) <= 18
    assert {one.row for one in found[:10]} <= set(wrong.tolist())  # the clearest first
    assert all(one.looks_like == truth[one.row] for one in found[:10])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_the_regression_that_doubts_labels_is_scikit_learns(classes, strength):
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=120)
    x = rng.normal(size=(120, 9)) + np.eye(classes, 9)[labels]
    theirs = LogisticRegression(C=strength, max_iter=10_000, tol=1e-10).fit(x, labels).predict_proba(x)
    weights = logistic_regression(x, labels, strength)
    ours = softmax(np.hstack([x, np.ones((120, 1))]) @ weights)
    assert np.abs(ours - theirs).max() < 1e-3


def test_a_class_with_too_few_units_is_not_judged():
    labels = np.array([0] * 20 + [1] * 3)
    folds = crossed(labels, np.arange(23))
    assert folds is None and suspects(np.zeros((23, 4)), labels, folds) == []
    images = np.random.default_rng(0).integers(0, 256, (23, 8, 8), dtype=np.uint8)
    assert shortcuts(foveal.load(images, labels), {"x": np.ones((23, 1))}, np.arange(23), folds) == []


def test_the_interval_is_that_of_drawing_units_anew():
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(60), 2)
    truth = np.repeat(np.arange(60) < 20, 2)
    scores = truth + np.repeat(rng.normal(size=60), 2) + 0.1 * rng.normal(size=120)
    low, high = interval(scores, truth, units, np.random.default_rng(1))
    areas = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(20, 20), 20 + rng.choice(40, 40)])
        rows = np.concatenate([np.flatnonzero(units == one) for one in drawn])
        areas.append(roc_auc_score(truth[rows], scores[rows]))
    assert [low, high] == pytest.approx(np.quantile(areas, [0.025, 0.975]).tolist(), abs=0.03)
