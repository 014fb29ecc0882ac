"""The maps of a convolution before and after its non-linearity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explained import member, same_state, state_of
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.errors import UsageError
from foveal.explanation.feature_maps import feature_maps
from foveal.models.catalog import create_model

X = torch.tensor([[[[-1.0, 0.5], [2.0, -3.0]]]])  # (1, 1, 2, 2)


def one_by_one(*factors: float) -> nn.Conv2d:
    """A convolution whose map k is the image times `factors` k."""
    made = nn.Conv2d(1, len(factors), 1, bias=False)
    made.weight = nn.Parameter(torch.tensor(factors).view(-1, 1, 1, 1))
    return made


class Written(nn.Module):
    """A convolution and what `end` makes of its maps; the same ReLU serves at the end again."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.conv = one_by_one(1.0, -2.0)
        self.norm = nn.BatchNorm2d(2)
        self.norm.running_mean.fill_(1.0)
        self.norm.running_var.fill_(1.0 - 1e-5)
        self.second = nn.Conv2d(2, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.end == "shared":
            y = self.relu(self.second(self.relu(y)))
        elif self.end == "norm":
            y = self.relu(self.norm(y))
        elif self.end == "functional":
            y = F.leaky_relu(y, 0.25)
        elif self.end == "in place":
            y = F.relu_(y)
        elif self.end == "sum":
            y = F.relu(y + x)
        elif self.end == "pool":
            y = F.relu(F.max_pool2d(y, 2))
        elif self.end == "gate":
            y = y * torch.sigmoid(y)
        return y.mean((2, 3))


MAPS = torch.cat([X, -2 * X], 1)[0]  # (2, 2, 2)


@pytest.mark.parametrize(
    ("end", "before", "after", "path"),
    [
        ("shared", MAPS, MAPS.relu(), "conv, then relu"),
        ("norm", MAPS - 1, (MAPS - 1).relu(), "conv, then norm, then relu"),
        ("functional", MAPS, F.leaky_relu(MAPS, 0.25), "conv, then leaky_relu"),
        ("in place", MAPS, MAPS.relu(), "conv, then relu"),
        ("sum", MAPS + X[0], (MAPS + X[0]).relu(), "conv, then add, then relu"),
        ("pool", MAPS.amax((1, 2), keepdim=True), MAPS.amax((1, 2), keepdim=True).relu(), "conv, then max_pool2d"),
    ],
)
def test_before_is_what_enters_the_non_linearity_and_after_what_leaves_it(end, before, after, path):
    network = Written(end)
    network.norm.eval()  # a mode of its own, which must stay
    state = state_of(network)
    found = feature_maps(network, X)
    assert found.layer == "conv"
    assert found.path.startswith(path)
    np.testing.assert_allclose(found.before, before.numpy(), atol=1e-6)
    assert found.after is not None
    np.testing.assert_allclose(found.after, after.numpy(), atol=1e-6)
    assert same_state(state, state_of(network))


@pytest.mark.parametrize(("end", "follows"), [("gate", "sigmoid, multiply"), ("nothing", "mean")])
def test_where_no_non_linearity_follows_it_says_so(end, follows):
    found = feature_maps(Written(end), X)
    assert found.after is None
    assert f"no non-linearity comes next ({follows} does)" in found.path
    np.testing.assert_array_equal(found.before, MAPS.numpy())
    assert [one.title for one in found.tiles()] == ["conv · filter 0\n-3 to 2", "conv · filter 1\n-4 to 6"]


def test_titles_say_what_each_map_is_and_a_dead_unit_that_it_is():
    network = nn.Sequential(one_by_one(1.0, 0.0), nn.ReLU())
    titles = [(one.title, one.alarm) for one in feature_maps(network, X).tiles()]
    assert titles == [
        ("0 · filter 0 · before relu\n-3 to 2", ""),
        ("0 · filter 0 · after relu\n0 to 2", ""),
        ("0 · filter 1 · before relu", "all zero"),
        ("0 · filter 1 · after relu", "all zero"),
    ]


def test_colours_are_signed_below_zero_and_heat_above():
    before, after, *_ = feature_maps(nn.Sequential(one_by_one(1.0), nn.ReLU()), X).tiles()
    assert before.picture[1, 1].tolist() == [8, 48, 107]  # -3, the largest magnitude: dark blue
    assert after.picture[1, 0].tolist() == [252, 255, 164]  # 2, the largest: pale yellow
    assert after.picture[0, 0].tolist() == [0, 0, 4]


def test_32_pairs_and_the_image_fill_a_page_and_more_go_on():
    picture = np.zeros((2, 2, 1), np.uint8)
    assert len(feature_maps(nn.Sequential(one_by_one(*[1.0] * 32), nn.ReLU()), X).sheets(picture)) == 1
    assert len(feature_maps(nn.Sequential(one_by_one(*[1.0] * 36), nn.ReLU()), X).sheets(picture)) == 2


@pytest.mark.parametrize(
    ("stage", "layer"), [("C1", "conv1"), ("C3", "conv2"), ("act3", "conv2"), ("conv2", "conv2"), (None, "conv1")]
)
def test_a_stage_is_found_by_its_name_its_activation_or_its_convolution(stage, layer):
    found = feature_maps(create_model("lenet5_1998"), torch.rand(1, 1, 32, 32), stage)
    assert (found.layer, found.activation) == (layer, "squash")


def test_a_block_shows_its_last_convolution_with_the_shortcut():
    network, x = member("resnet18")
    found = feature_maps(network, x[:1], "conv2_x")
    assert found.path == "layer1.1.conv2, then layer1.1.bn2, then layer1.1.add, then layer1.1.relu2"
    with torch.no_grad():
        stem = network.maxpool(network.relu(network.bn1(network.conv1(x[:1]))))
        np.testing.assert_allclose(found.after, network.layer1(stem)[0].numpy(), rtol=1e-5, atol=1e-5)


def test_bad_questions_are_one_sentence():
    network = create_model("lenet5")
    with pytest.raises(UsageError, match="Give one image"):
        feature_maps(network, torch.rand(2, 1, 32, 32))
    with pytest.raises(UsageError, match='no stage or module "C9"'):
        feature_maps(network, torch.rand(1, 1, 32, 32), "C9")
    with pytest.raises(UsageError, match='"F6" has no convolution; choose conv1, conv2'):
        feature_maps(network, torch.rand(1, 1, 32, 32), "F6")
    with pytest.raises(UsageError, match='"S2" has no convolution; choose conv1, conv2, conv3'):
        feature_maps(create_model("lenet5_1998"), torch.rand(1, 1, 32, 32), "S2")  # a subsampling with weights
    with pytest.raises(UsageError, match="no convolution, so"):
        feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), X)
