"""What is special to EfficientNet: compound scaling, the squeeze's width, batch normalisation, TensorFlow's padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.padding import Conv2dSame
from foveal.models.blocks.squeeze_excitation import SqueezeExcitation
from foveal.models.blocks.stochastic_depth import StochasticDepth
from foveal.models.efficientnet import MBConv, efficientnet

TABLE = {  # stem, channels of the stages, their layers, head, dropout: as published with the authors' code
    "b0": (32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 1280, 0.2),
    "b1": (32, (16, 24, 40, 80, 112, 192, 320), (2, 3, 3, 4, 4, 5, 2), 1280, 0.2),
    "b2": (32, (16, 24, 48, 88, 120, 208, 352), (2, 3, 3, 4, 4, 5, 2), 1408, 0.3),
    "b3": (40, (24, 32, 48, 96, 136, 232, 384), (2, 3, 3, 5, 5, 6, 2), 1536, 0.3),
    "b4": (48, (24, 32, 56, 112, 160, 272, 448), (2, 4, 4, 6, 6, 8, 2), 1792, 0.4),
    "b5": (48, (24, 40, 64, 128, 176, 304, 512), (3, 5, 5, 7, 7, 9, 3), 2048, 0.4),
    "b6": (56, (32, 40, 72, 144, 200, 344, 576), (3, 6, 6, 8, 8, 11, 3), 2304, 0.5),
    "b7": (64, (32, 48, 80, 160, 224, 384, 640), (4, 7, 7, 10, 10, 13, 4), 2560, 0.5),
}


def on_meta(variant: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return efficientnet(variant=variant, **options)


def norms(network: nn.Module) -> set[tuple[float, float]]:
    return {(one.eps, one.momentum) for one in network.modules() if isinstance(one, nn.BatchNorm2d)}


@pytest.mark.parametrize("variant", TABLE)
def test_compound_scaling_gives_the_table(variant):
    network = on_meta(variant)
    stem, *stages, head = network.get_submodule("features")
    channels = tuple(stage[-1].block[-1][0].out_channels for stage in stages)
    layers = tuple(len(stage) for stage in stages)
    dropout = network.get_submodule("classifier.0").p
    assert (stem[0].out_channels, channels, layers, head[0].out_channels, dropout) == TABLE[variant]


@pytest.mark.parametrize("variant", ["b0", "b3"])
def test_the_squeeze_is_a_quarter_of_the_blocks_input(variant):
    network = on_meta(variant)
    inputs = network.get_submodule("features.0")[0].out_channels
    for block in (one for one in network.modules() if isinstance(one, MBConv)):
        gate = next(one for one in block.modules() if isinstance(one, SqueezeExcitation))
        assert gate.fc1.out_channels == inputs // 4
        inputs = block.block[-1][0].out_channels


def test_the_projection_is_linear_and_the_rest_is_silu():
    for block in (one for one in on_meta("b0").modules() if isinstance(one, MBConv)):
        assert [type(one).__name__ for one in block.block[-1]] == ["Conv2d", "BatchNorm2d"]
        assert all(
            type(brick[-1]) is nn.SiLU for brick in block.block if type(brick) is nn.Sequential and len(brick) == 3
        )


def test_batch_normalisation_is_torchvisions_or_tensorflows():
    usual, tensorflows = {(1e-5, 0.1)}, {(1e-3, 0.01)}
    assert [norms(on_meta(variant)) for variant in ("b0", "b4", "b5")] == [usual, usual, tensorflows]
    assert norms(on_meta("b0", padding="tensorflow")) == tensorflows
    assert norms(on_meta("b0", bn_eps=1e-4)) == {(1e-4, 0.1)}


def test_tensorflows_padding_is_asymmetric_where_the_stride_is_2():
    network = on_meta("b0", padding="tensorflow")
    strided = [one for one in network.modules() if isinstance(one, nn.Conv2d) and one.stride == (2, 2)]
    assert len(strided) == 5
    assert all(isinstance(one, Conv2dSame) for one in strided)
    assert not any(isinstance(one, Conv2dSame) for one in on_meta("b0").modules())


def test_blocks_are_left_out_more_often_the_deeper_they_lie():
    drops = [one.probability for one in on_meta("b0").modules() if isinstance(one, StochasticDepth)]
    assert drops == [pytest.approx(0.2 * index / 16) for index in range(16)]
    assert all(
        one.probability == 0
        for one in on_meta("b0", stochastic_depth=0.0).modules()
        if isinstance(one, StochasticDepth)
    )


def test_outputs_of_tensorflows_kind_are_timms(timm):
    """The same weights, renamed, in timm's network for the authors' checkpoints."""
    torch.manual_seed(0)
    ours, theirs = efficientnet(padding="tensorflow").eval(), timm.create_model("tf_efficientnet_b0").eval()
    for one in ours.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.running_var, 0.001, 0.01)  # where an eps of 1e-3 tells
    state = dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True))  # both in the order of the pass
    theirs.load_state_dict(state)
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        expected = theirs(x)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_wrong_options_are_usage_errors():
    with pytest.raises(UsageError, match='no variant of EfficientNet "b8"'):
        efficientnet(variant="b8")
    with pytest.raises(UsageError, match='Did you mean "tensorflow"'):
        efficientnet(padding="tensorflw")
    with pytest.raises(UsageError, match="eps of -1"):
        efficientnet(bn_eps=-1.0)
    with pytest.raises(UsageError, match="no probability"):
        efficientnet(stochastic_depth=2.0)
