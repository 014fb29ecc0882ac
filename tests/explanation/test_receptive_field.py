"""Windows on the image, the effective receptive field, and the drawing of both."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch
from explained import member, same_state, state_of
from torch import nn

from foveal.errors import UsageError
from foveal.explanation.receptive_field import (
    EffectiveField,
    draw_fields,
    effective_field,
    sight_of,
    window_on_image,
    windows_around,
)
from foveal.models.anatomy import inspect_network
from foveal.models.anatomy.receptive_field import Sight


def ones(layers: int, *, channels: int = 1) -> nn.Sequential:
    """Return convolutions of 3×3 whose weights are all one."""
    network = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers)))
    for one in network.parameters():
        nn.init.ones_(one)
    return network


def field_of(values: np.ndarray, window: tuple[int, int, int, int]) -> EffectiveField:
    return EffectiveField(values.astype(np.float32), 1.0, 0.1, 0.0, 1, "conv", (0, 0), window)


# --- windows ---


def test_a_window_counts_from_the_first_cells_and_is_cut_at_the_edges():
    sight = Sight((7, 5), stride=(2, 4), start=(-3, 1))
    assert window_on_image(sight, (0, 0)) == (-3, 1, 4, 6)
    assert window_on_image(sight, (2, 3)) == (1, 13, 8, 18)
    assert window_on_image(sight, (0, 0), (28, 28)) == (0, 1, 4, 6)
    assert window_on_image(sight, (2, 3), (6, 15)) == (1, 13, 6, 15)
    top, left, bottom, right = window_on_image(Sight((2, 2), start=(-9, 3)), (0, 0), (8, 8))
    assert (top, bottom) == (0, 0)
    assert (left, right) == (3, 5)


def test_the_sight_of_a_stage_is_the_anatomys():
    network, x = member("resnet18")
    image = tuple(x.shape[1:])
    for stage in inspect_network(network, *image).stages:
        if stage.start:
            place, sight = sight_of(network, stage.name, image)
            assert place.module == stage.module
            assert (sight.field, sight.stride, sight.start) == (stage.receptive_field, stage.stride, stage.start)


def test_windows_around_a_point_hold_it_and_grow():
    network, x = member("resnet18")
    image = tuple(x.shape[1:])
    for point in (None, (3, 60)):
        windows = windows_around(network, image, point=point)
        row, column = point or (32, 32)
        assert list(windows) == ["conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x"]
        for top, left, bottom, right in windows.values():
            assert top <= row < bottom
            assert left <= column < right
        areas = [(bottom - top) * (right - left) for top, left, bottom, right in windows.values()]
        assert areas == sorted(areas)
    assert list(windows_around(network, image, stages=["conv3_x", 0])) == ["conv3_x", "conv1"]
    with pytest.raises(UsageError, match=r"The point \(64, 0\) is not in the image of 64×64 pixels"):
        windows_around(network, image, point=(64, 0))


# --- the effective field ---


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_convolutions_of_ones_give_the_multinomial_of_their_paths(layers):
    """n windows of three pixels in a row: the coefficients of (1 + z + z²)ⁿ, and their outer product."""
    row = np.array([1.0])
    for _ in range(layers):
        row = np.convolve(row, np.ones(3))
    found = effective_field(ones(layers, channels=2), torch.randn(3, 2, 21, 17), layers - 1)
    wanted = np.zeros((21, 17))
    wanted[10 - layers : 11 + layers, 8 - layers : 9 + layers] = np.outer(row, row) / row.max() ** 2
    np.testing.assert_allclose(found.map, wanted, atol=1e-6)
    assert found.map.dtype == np.float32
    assert (found.n, found.cell, found.outside) == (3, (10, 8), 0.0)
    assert found.window == (10 - layers, 8 - layers, 11 + layers, 9 + layers)
    assert found.side == np.sqrt((wanted > 1 - 0.9545).sum())
    assert found.share == pytest.approx(found.side / (2 * layers + 1))


def test_windows_of_two_pixels_give_the_binomial():
    network = nn.Sequential(*(nn.Conv2d(1, 1, (1, 2), bias=False) for _ in range(8)))
    for one in network.parameters():
        nn.init.ones_(one)
    found = effective_field(network, torch.zeros(1, 1, 3, 20), 7, cell=(1, 4))
    wanted = np.array([comb(8, k) for k in range(9)]) / comb(8, 4)
    np.testing.assert_allclose(found.map[1, 4:13], wanted, rtol=1e-6)
    assert not found.map[[0, 2]].any()


@pytest.mark.parametrize("name", ["cifar_resnet20", "efficientnet_lite0", "squeezenet1_1"])
def test_without_gates_it_lies_within_the_window(name):
    network, x = member(name)
    image = tuple(x.shape[1:])
    for stage in (1, 2):
        place, sight = sight_of(network, stage, image)
        for cell in ((0, 0), (place.shape[1] // 2, place.shape[2] // 2), (place.shape[1] - 1, place.shape[2] - 1)):
            found = effective_field(network, x, stage, cell=cell)
            top, left, bottom, right = window_on_image(sight, cell, image[1:])
            outside = found.map.copy()
            outside[top:bottom, left:right] = 0
            assert found.map.max() == 1
            assert not outside.any()
            assert found.outside == 0
            assert "outside" not in str(found)


def test_what_comes_through_gates_is_said():
    network, x = member("mobilenet_v3_small")
    found = effective_field(network, x, "bneck4", cell=(0, 0))
    assert 0 < found.outside < 1
    assert f"{100 * found.outside:.1f} % of it lies outside the window" in str(found)


def test_images_count_alike_however_many_pass_at_once():
    network, _ = member("cifar_resnet20")
    x = torch.randn(11, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    found = effective_field(network, x)
    alone = sum(
        torch.autograd.functional.jacobian(
            lambda one: network.get_submodule("layer3")(
                network.get_submodule("layer2")(network.layer1(network.relu(network.bn1(network.conv1(one)))))
            )[0, :, 4, 4].sum(),
            x[at : at + 1],
        ).abs()
        for at in range(11)
    )
    alone = alone[0].mean(0)
    # Of batches other kernels compute, whose rounding moves a ReLU here and there; a lost image would cost a tenth.
    np.testing.assert_allclose(found.map, alone / alone.max(), rtol=1e-2, atol=1e-3)


def test_the_network_is_left_as_it_was_found():
    network, x = member("cifar_resnet20")
    network.train()
    network.layer1.eval()
    network.conv1.weight.grad = torch.ones_like(network.conv1.weight)
    network.conv1.weight.requires_grad_(False)
    pixels, before = x.clone(), state_of(network)
    effective_field(network, x, "layer2")
    assert same_state(state_of(network), before)
    assert torch.equal(x, pixels)
    assert not x.requires_grad
    with pytest.raises(UsageError):
        effective_field(network, x, "layer2", cell=(99, 0))
    assert same_state(state_of(network), before)


def test_what_does_not_exist_is_one_sentence():
    network = ones(2)
    x = torch.zeros(1, 1, 8, 9)
    for cell in ((8, 0), (0, 9), (-1, 0)):
        with pytest.raises(
            UsageError, match=r"map of 1 has 8×9 cells, from \(0, 0\) to \(7, 8\); .* is none of them\."
        ):
            effective_field(network, x, 1, cell=cell)
    with pytest.raises(UsageError, match="no stage or module"):
        effective_field(network, x, "conv9")
    with pytest.raises(UsageError, match="at least one"):
        effective_field(network, x[:0])
    network[0].register_forward_hook(lambda _, __, output: output.detach())
    with pytest.raises(UsageError, match="gives the pixels no gradient"):
        effective_field(network, x, "1")
    network = ones(2)
    nn.init.constant_(network[0].weight, torch.inf)
    with pytest.raises(UsageError, match="not finite"):
        effective_field(network, x + 1)


def test_a_cell_that_nothing_changes_is_told_and_not_drawn():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    nn.init.constant_(network[0].bias, -100)
    found = effective_field(network, torch.rand(2, 1, 12, 12), "1")
    assert found.is_empty
    assert str(found) == (
        "No pixel changes cell (5, 5) of 1 in 2 images: the gradient is zero everywhere, so there is nothing to show."
    )
    picture = np.full((12, 12, 3), 90, np.uint8)
    drawn = draw_fields(picture, {}, effective=found, side=120)
    assert (drawn[8:128, 8:128] == 90).all()


# --- the drawing ---


def shows(drawn: np.ndarray, at: tuple[int, int]) -> bool:
    """Whether the pixels around `at` hold an outline: black beside a light colour."""
    part = drawn[max(at[0] - 3, 0) : at[0] + 4, max(at[1] - 3, 0) : at[1] + 4].reshape(-1, 3)
    return bool((part == 0).all(axis=1).any() and (part.max(axis=1) > 200).any())


@pytest.mark.parametrize(("height", "width", "times"), [(28, 28, 21), (224, 224, 2), (128, 96, 4), (350, 601, 1)])
def test_pictures_are_enlarged_in_whole_multiples_and_seen_where_nothing_lies_on_them(height, width, times):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    drawn = draw_fields(picture, {"C1": (5, 6, 12, 13)})
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] == max(width * times + 16, 360)
    assert drawn.shape[0] > height * times + 16
    enlarged = picture.repeat(times, 0).repeat(times, 1)
    start = 8 + 20 * times
    np.testing.assert_array_equal(
        drawn[start : 8 + height * times, start : 8 + width * times], enlarged[20 * times :, 20 * times :]
    )
    np.testing.assert_array_equal(  # inside of an outline nothing is covered
        drawn[8 + 5 * times : 8 + 12 * times, 8 + 6 * times : 8 + 13 * times],
        enlarged[5 * times : 12 * times, 6 * times : 13 * times],
    )


def test_outlines_lie_where_the_windows_do():
    drawn = draw_fields(np.full((28, 28), 128, np.uint8), {"S2": (4, 6, 20, 24)}, side=280)
    for row in (4, 20):
        assert all(shows(drawn, (8 + 10 * row, 8 + 10 * column)) for column in range(7, 24, 4)), row
    for column in (6, 24):
        assert all(shows(drawn, (8 + 10 * row, 8 + 10 * column)) for row in range(5, 20, 4)), column


def test_a_window_in_the_padding_has_room_and_one_far_out_takes_none():
    picture = np.full((20, 20, 3), 128, np.uint8)
    alone = draw_fields(picture, {"whole": (0, 0, 20, 20)}, side=400)
    near = draw_fields(picture, {"near": (-5, 0, 20, 23)}, side=400)
    far = draw_fields(picture, {"far": (-500, -500, 520, 520)}, side=400)
    assert near.shape[1] == alone.shape[1] + 60
    assert far.shape[1] == alone.shape[1]
    np.testing.assert_array_equal(far[8:408, 8:408], 128)


def test_each_outline_has_a_number_and_a_line_of_words():
    picture = np.full((64, 64, 3), 128, np.uint8)
    windows = {f"stage {n}": (20 - n, 20 - n, 24 + n, 24 + n) for n in range(1, 6)}
    few, many = (draw_fields(picture, dict([*windows.items()][:n])) for n in (2, 5))
    assert many.shape[0] == few.shape[0] + 3 * 18
    twice = draw_fields(picture, {"a": (1, 1, 5, 5), "b": (1, 1, 5, 5)})
    once = draw_fields(picture, {"a": (1, 1, 5, 5)})
    assert twice.shape == once.shape
    assert (twice != once).any()


def test_the_effective_field_is_heat_on_grey():
    values = np.zeros((16, 16))
    values[8, 8] = 1
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 200
    drawn = draw_fields(picture, {}, effective=field_of(values, (4, 4, 12, 12)), side=160)
    assert len(set(drawn[20, 20])) == 1
    assert drawn[8 + 85, 8 + 85].tolist() != drawn[20, 20].tolist()
    with pytest.raises(UsageError, match="that of an image of 16×16 pixels, not 8×8"):
        draw_fields(picture[:8, :8], {}, effective=field_of(values, (4, 4, 12, 12)))


def test_a_network_of_ones_own_is_drawn_from_end_to_end():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.LazyLinear(2)
    )
    x = torch.rand(2, 1, 28, 28)
    network(x)
    field = effective_field(network, x, "3")
    picture = (255 * x[0, 0].numpy()).astype(np.uint8)
    drawn = draw_fields(picture, windows_around(network, (1, 28, 28)), effective=field)
    assert drawn.shape[1] == 28 * 21 + 16
