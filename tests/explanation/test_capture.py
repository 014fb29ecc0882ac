"""Capture: what is kept is what a module gave, and the network is left exactly as it was found."""

from __future__ import annotations

import pytest
import torch
from explained import same_state, state_of
from torch import nn

from foveal.errors import UsageError
from foveal.explanation.cam import gradient_cam
from foveal.explanation.capture import capture
from foveal.explanation.stages import find_stage, last_map, map_stages
from foveal.explanation.target import Target


class Tangled(nn.Module):
    """In-place and shared activations, a buffer that counts, an unused branch, and a module that gives two tensors."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.bn, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.pair, self.unused, self.fc = Pair(), nn.Conv2d(1, 1, 1), nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1  # in eval mode too
        x = self.relu(self.bn(self.conv1(x)))
        x = self.relu(self.conv2(x))
        x, _ = self.pair(x)
        x += 1
        return self.fc(nn.functional.dropout(x, training=self.training).mean(dim=(2, 3)))


class Pair(nn.Module):
    def forward(self, x):
        return x * 2, x


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = Tangled().train()
    net.bn.eval()  # a part in eval mode inside one in training mode
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    net.conv1.weight.requires_grad_(False)
    return net


@pytest.mark.parametrize("graph", ["none", "above", "whole"])
def test_the_network_is_left_as_found_even_after_an_error(network, graph):
    x, before, mode = torch.rand(2, 1, 8, 8), state_of(network), torch.is_grad_enabled()
    with capture(network, "conv1", "relu", graph=graph):
        network(x)
    assert same_state(before, state_of(network))
    with pytest.raises(RuntimeError), capture(network, "conv1", graph=graph):
        network(torch.rand(2, 2, 8, 8))
    assert same_state(before, state_of(network))
    assert torch.is_grad_enabled() == mode


def test_what_an_in_place_layer_writes_over_is_kept(network):
    x = torch.rand(2, 1, 8, 8)
    with capture(network, "bn", "relu", "conv2") as kept:
        network(x)
    network.eval()
    with torch.no_grad():
        bn = network.bn(network.conv1(x))
        conv2 = network.conv2(torch.relu(bn))
    torch.testing.assert_close(kept["bn"], bn)
    assert (kept["bn"] < 0).any()
    torch.testing.assert_close(kept["conv2"], conv2)
    first, second = kept.calls("relu")  # one module, called twice
    torch.testing.assert_close(first, torch.relu(bn))
    torch.testing.assert_close(second, torch.relu(conv2))
    assert torch.equal(kept["relu"], second)


@pytest.mark.parametrize("graph", ["above", "whole"])
def test_gradients_are_those_of_autograd(network, graph):
    x = torch.rand(2, 1, 8, 8)
    with capture(network, "bn", "relu", graph=graph) as kept:
        score = network(x)[:, 1]
        by_bn, by_relu = kept.gradients(score, "bn", "relu")
    network.eval()
    bn = network.bn(network.conv1(x)).detach().requires_grad_()
    last = torch.relu(network.conv2(torch.relu(bn)))
    logits = network.fc((last * 2 + 1).mean(dim=(2, 3)))
    wanted = torch.autograd.grad(logits[:, 1].sum(), (bn, last))
    torch.testing.assert_close(by_bn, wanted[0])
    torch.testing.assert_close(by_relu, wanted[1])


def test_nothing_below_the_stage_is_recorded(network):
    with capture(network, "relu", graph="above") as kept:
        network(torch.rand(1, 1, 8, 8))
        assert kept.calls("relu")[0].grad_fn is None
        assert kept["relu"].grad_fn is not None  # the second call lies above the first


def test_what_is_refused(network):
    x = torch.rand(1, 1, 8, 8)
    with (
        pytest.raises(UsageError, match=r'no stage or module "relu1" .* choose conv1, .*Did you mean "relu"'),
        capture(network, "relu1"),
    ):
        pass
    with capture(network, "unused", "pair") as kept:
        network(x)
        with pytest.raises(UsageError, match="takes no part"):
            kept["unused"]
        with pytest.raises(UsageError, match="no single tensor; choose a module inside it"):
            kept["pair"]
    with capture(network, "conv1") as kept, pytest.raises(UsageError, match="does not depend on"):
        kept.gradients(network(x)[:, 0], "conv1")


def test_stages_of_a_module_that_names_none(network):
    image = (1, 8, 8)
    assert next(place.name for place in map_stages(network, image)) == "conv1"
    assert find_stage(network, "conv2", image).shape == (4, 8, 8)
    with pytest.raises(UsageError, match="takes no part"):
        find_stage(network, "unused", image)


def test_a_network_that_was_wrapped_or_is_not_ours():
    timm_like = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    assert last_map(timm_like, (3, 9, 9)).module == "0"
    assert last_map(nn.Sequential(timm_like), (3, 9, 9)).shape == (4, 7, 7)


@pytest.mark.parametrize(
    ("name", "stage"),
    [("resnet18", "layer4"), ("mobilenetv3_small_050", None), ("vit_tiny_patch16_224", "patch_embed.proj")],
)
def test_networks_of_timm(timm, name, stage):
    """The last map is found (a vision transformer's only one is that of its patches); Grad-CAM leaves all as found."""
    network = timm.create_model(name, pretrained=False, num_classes=4).train()
    before, image = state_of(network), (3, 224, 224)
    place = last_map(network, image)
    assert stage is None or place.module == stage
    maps = gradient_cam(network, torch.rand(1, *image), Target(), place.module)
    assert maps.shape == (1, *place.shape[1:])
    assert same_state(before, state_of(network))
