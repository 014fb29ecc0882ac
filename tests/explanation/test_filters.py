"""Pictures of a convolution's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import same_state, state_of
from torch import nn

from foveal.errors import UsageError
from foveal.explanation.filters import MOST_TILES, Filters, filters
from foveal.models.catalog import create_model

WHITE = 247  # of the scale's middle


def network(channels: int = 3, maps: int = 2) -> nn.Sequential:
    """Two convolutions; the first filter of the first is a ramp from -1 to 1, the second of zeros."""
    made = nn.Sequential(nn.Conv2d(channels, maps, 2), nn.ReLU(), nn.Conv2d(maps, 40, 3))
    with torch.no_grad():
        made[0].weight.zero_()
        made[0].weight[0] = torch.linspace(-1, 1, channels * 4).view(channels, 2, 2)
    return made


def test_a_first_layer_is_drawn_in_colour_between_each_filters_extremes():
    made = network()
    before = state_of(made)
    found = filters(made)
    assert (found.layer, found.weights.shape, found.weights.dtype) == ("0", (2, 3, 2, 2), np.float32)
    ramp, zeros = found.tiles()
    assert ramp.picture[..., 0].ravel().tolist() == [0, 23, 46, 70]  # red: the lowest four of twelve steps
    assert ramp.picture[1, 1].tolist() == [70, 162, 255]
    assert (zeros.picture == 128).all()
    assert (ramp.title, ramp.alarm) == ("0 · filter 0\n-1 to 1", "")
    assert (zeros.title, zeros.alarm) == ("0 · filter 1\n0 everywhere", "almost zero")
    assert same_state(before, state_of(made))
    found.weights[:] = 5
    assert same_state(before, state_of(made))  # they were copied


def test_other_layers_are_drawn_channel_by_channel_with_white_at_zero():
    made = network(channels=2)
    with torch.no_grad():
        made[0].weight[0] = torch.tensor([[[-1.0, 0.0], [0.0, 1.0]], [[0.0, 0.5], [0.0, 0.0]]])
    tiles = list(filters(made, "0").tiles())
    assert [one.title.split("\n")[0] for one in tiles[:2]] == ["0 · filter 0 · channel 0", "0 · filter 0 · channel 1"]
    assert (tiles[0].picture[0, 1] == WHITE).all()
    blue, orange, half = tiles[0].picture[0, 0], tiles[0].picture[1, 1], tiles[1].picture[0, 1]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert half.sum() > orange.sum()  # paler: the channels of a filter share one scale


def test_32_filters_fill_four_rows_of_eight_and_more_go_on_further_pages():
    (page,) = filters(network(maps=32)).sheets()
    assert page.width > page.height
    first, second = filters(network(maps=33)).sheets()
    assert first.size[0] == page.size[0]
    assert second.height < first.height
    assert len(filters(network(), "2").sheets()) == 2  # 80 kernels, 64 a page


def test_of_a_million_kernels_the_first_are_shown_and_the_rest_counted():
    found = Filters("deep", np.zeros((64, 64, 1, 1), np.float32))
    assert len(found.sheets()) == MOST_TILES // 64


def test_partial_connections_are_zeros():
    found = filters(create_model("lenet5_1998"), "conv2")
    assert found.weights.shape == (16, 6, 5, 5)
    assert not found.weights[0, 3:].any()  # the paper's first map of C3 sees the first three of S2


def test_what_is_no_convolution_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match='"1" is no convolution; choose 0, 2'):
        filters(network(), "1")
    with pytest.raises(UsageError, match="no convolution, so"):
        filters(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
