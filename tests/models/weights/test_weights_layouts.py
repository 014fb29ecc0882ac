"""timm's own networks with random weights against ours with the same, read from its names: equal answers."""

from __future__ import annotations

import pytest
import torch
from weight_files import shaken

from foveal.models.catalog import create_model
from foveal.models.weights.adapting import options_for
from foveal.models.weights.cache import expected_tensors
from foveal.models.weights.published import PUBLISHED
from foveal.models.weights.reading import fitted

SIDE = 65  # odd, so that TensorFlow's padding is not PyTorch's

QUICK = ("mobilenet_v2.ra_in1k", "mobilenet_v3_small.tf_in1k", "efficientnet_b0.tf_in1k", "efficientnet_lite0.ra_in1k")
SLOW = (
    "mobilenet_v3_small.lamb_in1k",
    "mobilenet_v3_large.ra_in1k",
    "mobilenet_v3_large.tf_in1k",
    "efficientnet_b0.ra_in1k",
    "efficientnet_b2.ra_in1k",
    "efficientnet_b5.tf_in1k",
    "efficientnet_b5.sw_in12k_ft_in1k",
    "efficientnet_lite0.tf_in1k",
    "efficientnet_lite3.tf_in1k",
    "convnext_tiny.fb_in1k",
    "resnet18.a1_in1k",
    "densenet121.ra_in1k",
    "vgg11_bn.tv_in1k",
)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_timms_network_and_ours_answer_alike(name, timm):
    weights = PUBLISHED[name]
    theirs = timm.create_model(weights.file.removesuffix(".safetensors").split(".")[0])
    state = dict(sorted(shaken(theirs, seed=3).items()))  # as a safetensors file has them, not in the network's order
    expected, _ = expected_tensors(weights, state)
    side = 224 if weights.model.startswith("vgg") else SIDE
    ours = create_model(weights.model, size=(side, side), options=options_for(weights, 3, {})).eval()
    ours.load_state_dict(fitted(state, expected, name))
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        a, b = ours(x), theirs.eval()(x)
    assert b.std() > 1e-3
    assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)


def test_padding_of_the_wrong_kind_would_be_seen(timm):
    weights = PUBLISHED["efficientnet_b0.tf_in1k"]
    theirs = timm.create_model("tf_efficientnet_b0")
    state = shaken(theirs, seed=3)
    ours = create_model("efficientnet_b0", size=(SIDE, SIDE)).eval()
    ours.load_state_dict(fitted(state, expected_tensors(weights, state)[0], "x"))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert not torch.allclose(ours(x), theirs.eval()(x), atol=1e-5, rtol=1e-4)
