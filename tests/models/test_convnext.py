"""ConvNeXt and stochastic depth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.stochastic_depth import StochasticDepth
from foveal.models.catalog import create_model
from foveal.models.convnext import Block, ChannelNorm


def test_stochastic_depth_drops_whole_images_and_keeps_the_expectation():
    torch.manual_seed(0)
    x = torch.rand(20_000, 2, 1, 3) + 1
    y = StochasticDepth(0.2)(x)
    kept = y[:, 0, 0, 0] != 0
    assert torch.allclose(y[kept], x[kept] / 0.8) and not y[~kept].any()
    assert (~kept).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert y.mean().item() == pytest.approx(x.mean().item(), rel=0.02)


def test_stochastic_depth_is_the_identity_in_evaluation_and_at_zero():
    x = torch.randn(4, 3)
    assert StochasticDepth(0.9).eval()(x) is x
    assert StochasticDepth(0.0)(x) is x


@pytest.mark.parametrize("probability", [-0.1, 1.0, float("nan")])
def test_stochastic_depth_takes_probabilities_below_one(probability):
    with pytest.raises(UsageError, match="no probability"):
        StochasticDepth(probability)


@pytest.mark.parametrize("probability", [-1.0, 17.0, float("nan")])
def test_the_probability_that_was_asked_is_the_one_refused(probability):
    with pytest.raises(UsageError, match=f"of {probability:g} is no probability"):
        create_model("convnext_tiny", options={"stochastic_depth": probability})


def test_it_rises_evenly_to_that_of_the_last_block():
    with torch.device("meta"):
        networks = [create_model("convnext_tiny", options=options) for options in ({}, {"stochastic_depth": "0"})]
    rising, none = (
        [one.probability for one in network.modules() if isinstance(one, StochasticDepth)] for network in networks
    )
    assert rising == pytest.approx(np.linspace(0, 0.1, 18)) and none == [0] * 18


def test_a_block_in_numpy():
    """Depthwise, norm over the channels of a pixel, C → 4C → C, scale, add."""
    torch.manual_seed(0)
    block = Block(4, stochastic_depth=0.0).double()
    for one in block.parameters():
        nn.init.normal_(one)
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    depthwise, norm, widen, narrow = (block.block[place] for place in (0, 2, 3, 5))
    y = depthwise(x).detach().numpy()[0]  # (4, 8, 8)
    y = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-6)
    w = {name: one.detach().numpy() for name, one in block.named_parameters()}
    y = np.einsum("chw,c->hwc", y, w["block.2.weight"]) + w["block.2.bias"]
    y = nn.functional.gelu(torch.from_numpy(y @ w["block.3.weight"].T + w["block.3.bias"])).numpy()
    y = (y @ w["block.5.weight"].T + w["block.5.bias"]).transpose(2, 0, 1)
    expected = x.numpy()[0] + w["layer_scale"] * y
    assert (norm.eps, widen.out_features, narrow.out_features) == (1e-6, 16, 4)
    assert block(x).detach().numpy()[0] == pytest.approx(expected, rel=1e-9)


def test_an_untrained_block_is_nearly_the_identity():
    torch.manual_seed(0)
    block = create_model("convnext_tiny").eval().get_submodule("features.1.0")
    x = torch.randn(1, 96, 8, 8)
    with torch.no_grad():
        off = (block(x) - x).abs().max()
    assert 0 < off < 1e-5


def test_it_has_no_batch_norm_and_every_layer_a_bias():
    with torch.device("meta"):
        modules = list(create_model("convnext_tiny").modules())
    assert not any(isinstance(one, nn.BatchNorm2d) for one in modules)
    assert all(one.bias is not None for one in modules if isinstance(one, nn.Conv2d | nn.Linear))
    assert {one.eps for one in modules if isinstance(one, nn.LayerNorm)} == {1e-6}
    assert sum(isinstance(one, ChannelNorm) for one in modules) == 5  # stem, three downsamplings, head


def test_the_first_weights_are_torchvisions_of_the_same_seed(torchvision):
    torch.manual_seed(5)
    ours = create_model("convnext_tiny").state_dict()
    torch.manual_seed(5)
    theirs = torchvision.models.convnext_tiny().state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(one, theirs[key]) for key, one in ours.items())
