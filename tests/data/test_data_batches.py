"""Batches: a permutation an epoch, the same wherever one starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.data.batches import Batches

CPU = torch.device("cpu")


def batches(
    count: int, size: int, seed: int = 0, pixels: np.ndarray | None = None, epoch_images: int | None = None
) -> Batches:
    """Batches over `count` of 2·count images whose first pixel and label say which they are."""
    rows = np.random.default_rng(seed).permutation(2 * count)[:count]
    if pixels is None:
        pixels = np.zeros((2 * count, 2, 2, 1), np.uint8)
        pixels[:, 0, 0, 0] = np.arange(2 * count) % 256
    return Batches(
        pixels, np.arange(2 * count), rows, batch_size=size, seed=seed, device=CPU, epoch_images=epoch_images
    )


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 5), epoch=st.integers(0, 3), start=st.data()
)
def test_an_epoch_is_a_permutation_wherever_it_starts(
    count: int, size: int, seed: int, epoch: int, start: st.DataObject
) -> None:
    one = batches(count, size, seed)
    whole = list(one.of_epoch(epoch))
    assert len(whole) == len(one)
    labels = torch.cat([labels for _, labels in whole]).tolist()
    rest = count % size
    left_out = 1 if rest == 1 and count > size else 0  # batch normalisation cannot learn from one image
    assert len(labels) == count - left_out
    assert len(set(labels)) == len(labels)
    assert set(labels) <= set(one.rows.tolist())
    assert all(len(labels) == size for _, labels in whole[:-1])
    for images, labels in whole:
        assert images.dtype == torch.uint8
        assert (images[:, 0, 0, 0] == labels % 256).all()
    begin = start.draw(st.integers(0, len(one)))
    resumed = list(batches(count, size, seed).of_epoch(epoch, begin))
    assert len(resumed) == len(whole) - begin
    for (images, labels), (images_again, labels_again) in zip(whole[begin:], resumed, strict=True):
        assert torch.equal(labels, labels_again)
        assert torch.equal(images, images_again)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first = batches(40, 8).order(3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(batches(40, 8).order(3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert first[:6].tolist() == [16, 15, 1, 21, 5, 9]  # golden: a resumed run of an older version depends on it
    assert not torch.equal(batches(40, 8).order(4), first)
    assert not torch.equal(batches(40, 8, seed=1).order(3), first)


@pytest.mark.parametrize("count", [1, 33, 64])
def test_images_mapped_on_disk_give_the_same_batches(count: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2 * count, 4, 4, 3), dtype=np.uint8)
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=pixels.shape)
    mapped[:] = pixels
    for epoch in range(2):
        pairs = zip(
            batches(count, 8, pixels=pixels).of_epoch(epoch),
            batches(count, 8, pixels=mapped).of_epoch(epoch),
            strict=True,
        )
        for (images, labels), (images_mapped, labels_mapped) in pairs:
            assert torch.equal(images, images_mapped)
            assert torch.equal(labels, labels_mapped)
            assert np.array_equal(images.numpy(), pixels[labels.numpy()])


def labels_of(one: Batches, epoch: int, start: int = 0) -> list[int]:
    return [int(label) for _, labels in one.of_epoch(epoch, start) for label in labels]


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(1, 40),
    epoch_images=st.integers(2, 100).filter(lambda images: images % 6 != 1),  # no last batch of one image
    seed=st.integers(0, 5),
    start=st.data(),
)
def test_epochs_of_some_images_are_one_endless_stream_of_passes(
    count: int, epoch_images: int, seed: int, start: st.DataObject
) -> None:
    one = batches(count, 6, seed, epoch_images=epoch_images)
    epochs = 3
    stream = [label for epoch in range(epochs) for label in labels_of(one, epoch)]
    assert len(stream) == epochs * epoch_images
    whole = batches(count, count, seed)
    passes = [labels_of(whole, number) for number in range(-(-len(stream) // count))]
    assert stream == [label for labels in passes for label in labels][: len(stream)]
    epoch, begin = start.draw(st.integers(0, epochs - 1)), start.draw(st.integers(0, len(one)))
    again = batches(count, 6, seed, epoch_images=epoch_images)
    assert labels_of(again, epoch, begin) == labels_of(one, epoch)[begin * 6 :]


def test_epochs_of_all_images_are_passes() -> None:
    one = batches(40, 8)
    for epoch in range(3):
        assert torch.equal(one.stream(epoch * 40), one.order(epoch))
