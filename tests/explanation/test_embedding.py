"""Features as points, and their page."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from foveal.errors import MissingPartError, UsageError
from foveal.explanation.embedding import Embedding, embed
from foveal.explanation.embedding_page import COLOURS, SHAPES, Member, embedding_page

GREY = np.full((6, 6, 1), 90, np.uint8)


def members(*classes: tuple[str, str]) -> list[Member]:
    return [Member(f"{at}.png", true, said, GREY) for at, (true, said) in enumerate(classes)]


def page_of(shown: list[Member]) -> str:
    points = np.arange(2.0 * len(shown)).reshape(-1, 2)
    return embedding_page(Embedding(points, "pca", "Two axes."), shown, title="fruit & <more>")


def test_principal_components_are_those_of_the_singular_vectors():
    features = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32) * [9, 5, 1, 1, 1, 1, 1] + 100
    found = embed(features)
    centred = features - features.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.points), np.abs(centred @ axes[:2].T), rtol=1e-6, atol=1e-6)
    shares = found.points.var(0, ddof=1) / centred.var(0, ddof=1).sum()
    assert f"{shares[0]:.0%} and {shares[1]:.0%} of the variance" in found.words
    np.testing.assert_array_equal(found.points, embed(features).points)


def test_features_that_are_all_the_same_lie_in_one_place():
    with np.errstate(all="ignore"):
        assert not embed(np.ones((5, 4), np.float32)).points.any()


def test_umap_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingPartError, match=r"pip install 'foveal\[umap\]'"):
        embed(np.eye(5, dtype=np.float32), method="umap")


def test_too_little_is_refused():
    with pytest.raises(UsageError, match="at least 3 images and 2 features, not 2 and 4"):
        embed(np.ones((2, 4), np.float32))


def test_each_point_says_its_name_its_class_and_the_answer():
    page = page_of(members(("plum", "plum"), ("lime", "plum"), ("", "lime")))
    labels = re.findall(r'class="(point[^"]*)"[^>]*aria-label="([^"]*)"', page)
    assert labels == [
        ("point", "2.png: not labelled, predicted lime"),
        ("point wrong", "1.png: lime, predicted plum"),
        ("point", "0.png: plum, predicted plum"),
    ]
    assert "1 of 2 that are predicted wrongly" in page
    assert "fruit &amp; &lt;more&gt;" in page
    assert page.count('tabindex="0"') == 1
    assert "://" not in page


def test_56_classes_differ_in_colour_or_shape():
    names = [f"class {at:02}" for at in range(len(COLOURS) * len(SHAPES))]
    page = page_of(members(*zip(names, names, strict=True)))
    marks = re.findall(r'<li><svg[^>]*><path d="([^"]*)" fill="([^"]*)"', page)
    assert len(marks) == len(set(marks)) == 56
