"""The images that excite a unit most."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import same_state, state_of
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.explanation.exciting import OUTLINE, exciting

SIZE = (1, 12, 8)


def brightness(stride: int = 2) -> nn.Sequential:
    """A network whose first stage is the sum of 3×3 pixels, every `stride` pixels, and its negative."""
    made = nn.Sequential(nn.Conv2d(1, 2, 3, stride=stride, padding=1, bias=False), nn.ReLU(inplace=True))
    made[0].weight = nn.Parameter(torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)]))
    return made


def normalise(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 255  # (B, C, H, W)


def spots(places: list[tuple[int, int, int]]) -> np.ndarray:
    """One image a spot (row, column, brightness), black but there."""
    images = np.zeros((len(places), *SIZE[1:], 1), np.uint8)
    for image, (row, column, value) in zip(images, places, strict=True):
        image[row, column] = value
    return images


def in_batches(images: np.ndarray, size: int):
    """Yield the images, as rows 0, 2, 4, … of a dataset."""
    for start in range(0, len(images), size):
        part = images[start : start + size]
        yield np.arange(start, start + len(part)) * 2, part


def test_the_strongest_come_first_with_the_field_of_their_cell():
    images = spots([(4, 4, 100), (0, 0, 255), (4, 4, 50), (10, 6, 255), (4, 4, 200), (4, 4, 200)])
    network = brightness()
    state = state_of(network)
    for size in (1, 4, 6):
        found = exciting(network, 0, "0", SIZE, in_batches(images, size), normalise=normalise, top=4)
        assert [one.row for one in found.images] == [2, 6, 8, 10]  # of equal ones the earlier first
        assert found.seen == 6
    assert [one.cell for one in found.images[:3]] == [(0, 0), (5, 3), (2, 2)]
    # A window of 3, every 2 pixels from the padding on: that of cell (2, 2) begins at pixel 3.
    assert [one.box for one in found.images[:3]] == [(0, 0, 2, 2), (9, 5, 12, 8), (3, 3, 6, 6)]
    assert same_state(state, state_of(network))


def test_the_map_of_the_module_itself_counts_not_what_is_written_over_it():
    found = exciting(brightness(), 1, "0", SIZE, in_batches(spots([(4, 4, 100)]), 1), normalise=normalise)
    assert found.images[0].value == 0
    white = np.full((1, *SIZE[1:], 1), 255, np.uint8)
    found = exciting(brightness(), 1, "0", SIZE, in_batches(white, 1), normalise=normalise)
    assert found.images[0].value == pytest.approx(-4)  # a corner sees four pixels


def test_the_field_is_outlined_and_shown_alone():
    found = exciting(brightness(), 0, "0", SIZE, in_batches(spots([(4, 4, 255)] * 40), 8), normalise=normalise, top=33)
    assert len(found.sheets(lambda row: f"image {row}")) == 2
    page = np.asarray(found.sheets()[0])
    assert (page == OUTLINE).all(-1).sum() > 8


def test_bad_questions_are_one_sentence():
    with pytest.raises(UsageError, match="no unit 2 in 0: it has 2"):
        exciting(brightness(), 2, "0", SIZE, [], normalise=normalise)
    with pytest.raises(UsageError, match="no images"):
        exciting(brightness(), 0, "0", SIZE, [], normalise=normalise)
