"""Near duplicates: what is one picture is found, what only looks alike is not, and MNIST's ones are no copies."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import foveal
from foveal.audit.looks import PREPROCESS, SMALL, summarise
from foveal.audit.near import clusters, near_duplicates, near_findings


def small(pictures: list[Image.Image]) -> np.ndarray:
    pixels = np.stack([PREPROCESS.geometry(one.convert("RGB")) for one in pictures])
    return summarise(pixels)[:, : SMALL * SMALL * 3].reshape(-1, SMALL, SMALL, 3)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """60 pictures of smooth random shapes, each its own: what photos are to a thumbnail."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 9, 12, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((240, 180), Image.Resampling.BICUBIC) for one in coarse]


def jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(io.BytesIO(buffer.getvalue()))


CHANGES = {
    "compressed": jpeg,
    "halved": lambda one: one.resize((one.width // 2, one.height // 2)),
    "brightened": lambda one: ImageEnhance.Brightness(one).enhance(1.1),
    "flatter": lambda one: ImageEnhance.Contrast(one).enhance(0.8),
    "grey": lambda one: one.convert("L"),
    "mirrored": ImageOps.mirror,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_and_nothing_else(photos, change):
    changed = [CHANGES[change](one) for one in photos[:20]]
    pairs = near_duplicates(small([*photos, *changed]), None)
    found = {(pair.row, pair.other) for pair in pairs}
    wanted = {(row, 60 + row) for row in range(20)}
    assert found <= wanted and len(found) == 20
    assert {pair.by for pair in pairs} == {"mirrored" if change == "mirrored" else "pixels"}


def test_an_embedding_finds_what_pixels_do_not_but_not_two_different_lawns(photos):
    cut = [one.crop((7, 5, one.width - 7, one.height - 5)) for one in photos[:10]]
    thumbnails = small([*photos, *cut])
    assert not near_duplicates(thumbnails, None)
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(70, 64))
    embeddings[60:] = embeddings[:10] + 0.05 * rng.normal(size=(10, 64))
    embeddings[30] = embeddings[31] + 0.01  # alike to the network, but not one picture
    pairs = near_duplicates(thumbnails, embeddings)
    assert {(pair.row, pair.other) for pair in pairs} == {(row, 60 + row) for row in range(10)}
    assert {pair.by for pair in pairs} == {"embedding"}


def test_pictures_that_show_nothing_are_compared_with_none():
    even = [Image.new("RGB", (64, 64), (level, level, level)) for level in range(0, 250, 10)]
    assert near_duplicates(small(even), None) == []
    assert near_duplicates(np.zeros((1, SMALL, SMALL, 3), np.float32), None) == []


def test_pairs_join_to_clusters():
    thumbnails = small([Image.effect_noise((64, 64), 80).convert("RGB") for _ in range(6)])
    pairs = near_duplicates(np.concatenate([thumbnails, thumbnails[:2], thumbnails[:1]]), None)
    numbers = clusters(pairs, 9)
    assert numbers[0] == numbers[6] == numbers[8] != numbers[1] and numbers[1] == numbers[7]
    assert len(set(numbers[2:6].tolist())) == 4


def test_across_given_splits_and_under_two_labels_they_warn(photos, tmp_path):
    for number, split, label in ((0, "train", "a"), (1, "test", "b"), (2, "train", "b"), (3, "test", "a")):
        folder = tmp_path / "set" / split / label
        folder.mkdir(parents=True)
        photos[number].save(folder / f"{number}.png")
    photos[0].resize((120, 90)).save(tmp_path / "set" / "test" / "b" / "again.png")
    dataset = foveal.load(tmp_path / "set")
    pictures = [dataset.images.picture(row) for row in range(len(dataset))]
    pairs = near_duplicates(small(pictures), None)
    found = {one.name: one for one in near_findings(dataset, pairs, dataset.given_splits)}
    assert set(found) == {"near-duplicates", "near-duplicates-across-splits", "near-duplicates-two-labels"}
    assert all(one.severity == "warn" and one.count == 1 for one in found.values())
    assert "again.png" in found["near-duplicates"].records[0]
    assert "kept in the same split" in near_findings(dataset, pairs, np.full(5, "train"))[0].sentence


@pytest.mark.slow
def test_no_pair_is_called_across_mnists_official_splits(real_data):
    """A plain difference hash calls over a thousand there; of the 600 million pairs none is known to be a copy."""
    mnist = foveal.load(real_data / "mnist")
    rows = np.concatenate(
        [np.flatnonzero(mnist.given_splits == "test")[:4_000], np.flatnonzero(mnist.given_splits == "train")[:12_000]]
    )
    pictures = [mnist.images.picture(int(row)) for row in rows]
    assert (
        near_duplicates(np.concatenate([small(pictures[at : at + 500]) for at in range(0, len(rows), 500)]), None) == []
    )
