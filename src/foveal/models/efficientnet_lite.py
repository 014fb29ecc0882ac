"""EfficientNet-Lite: EfficientNet for processors without floating point, so without what quantises badly.

R. Liu et al., TensorFlow TPU repository, models/official/efficientnet/lite, March 2020; there is no paper. Against
EfficientNet of the same scale:

* no squeeze-excitation, and ReLU6 for SiLU;
* the first convolution's 32 channels and the last one's 1280 are not scaled;
* nor are the layers of the first and the last stage.

Padding and batch normalisation are TensorFlow's by default, as the published weights need them (timm's
``tf_efficientnet_lite0`` to ``4``); a training in PyTorch (timm's ``efficientnet_lite0``) wants
``padding="symmetric"`` and ``bn_eps=1e-5``. Keys are timm's. The authors' code trains and counts lite3 and lite4 at
280 and 300 pixels, the catalog's native sizes; timm evaluates their weights at 300 and 380.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from foveal.models.blocks.conv_bn import Norm
from foveal.models.blocks.padding import padded_conv
from foveal.models.blocks.pooling import GlobalAvgPool
from foveal.models.blocks.stochastic_depth import StochasticDepth
from foveal.models.efficientnet import B0, HEAD, PADDINGS, STEM, Scale, Stage, batch_norm, checked, scaled
from foveal.models.network import Stack, make_dense, make_dropout

SCALES = {
    "lite0": Scale(1.0, 1.0, 0.2),
    "lite1": Scale(1.0, 1.1, 0.2),
    "lite2": Scale(1.1, 1.2, 0.3),
    "lite3": Scale(1.2, 1.4, 0.3),
    "lite4": Scale(1.4, 1.8, 0.3),
}


def stages_of(scale: Scale) -> list[Stage]:
    """Return B0's stages at `scale`, the first and the last with the layers that they have in B0."""
    return [scaled(stage, scale.width, 1.0 if stage in {B0[0], B0[-1]} else scale.depth) for stage in B0]


class LiteBlock(nn.Sequential):
    """1×1 up, depthwise, 1×1 down without activation; a shortcut where the shapes allow it. Names are timm's."""

    def __init__(self, inputs: int, stage: Stage, *, stride: int, drop: float, norm: Norm, padding: str) -> None:
        wide, outputs = inputs * stage.expansion, stage.channels
        conv = partial(padded_conv, padding=padding, bias=False)
        depthwise = conv(wide, wide, stage.kernel, stride=stride, groups=wide)
        layers: dict[str, nn.Module]
        if stage.expansion == 1:
            layers = {
                **{"conv_dw": depthwise, "bn1": norm(wide), "act1": nn.ReLU6(inplace=True)},
                **{"conv_pw": conv(wide, outputs, 1), "bn2": norm(outputs)},
            }
        else:
            layers = {
                **{"conv_pw": conv(inputs, wide, 1), "bn1": norm(wide), "act1": nn.ReLU6(inplace=True)},
                **{"conv_dw": depthwise, "bn2": norm(wide), "act2": nn.ReLU6(inplace=True)},
                **{"conv_pwl": conv(wide, outputs, 1), "bn3": norm(outputs)},
            }
        super().__init__(OrderedDict(layers))
        self.shortcut = stride == 1 and inputs == outputs
        if self.shortcut:
            self.add_module("drop", StochasticDepth(drop))

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        y = input
        for layer in self:
            y = layer(y)  # in the end (B, stage.channels, H / stride, W / stride)
        if self.shortcut:
            y += input
        return y


def efficientnet_lite(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,
    width: int = 224,
    variant: str = "lite0",
    stochastic_depth: float = 0.2,
    padding: str = "tensorflow",
    bn_eps: float = 1e-3,
) -> Stack:
    """Return EfficientNet-Lite0 to 4; any size will do.

    Initialised as in TensorFlow's code: convolutions N(0, 2 / fan-out), where the fan-out of a depthwise one is that
    of one channel, k² (torchvision's EfficientNet counts all channels); uniform in ±1/√classes in the dense layer;
    biases zero.

    Args:
        classes: number of classes.
        channels: of the images.
        height: not needed, as the last map is averaged.
        width: as `height`.
        variant: lite0 to lite4.
        stochastic_depth: the probability that a block is left out rises from 0 to nearly this, block by block.
        padding: ``tensorflow`` or ``symmetric``.
        bn_eps: of batch normalisation; its momentum is TensorFlow's 0.01.

    Raises:
        UsageError: for an unknown variant or padding, a probability outside 0 to 1, or a negative eps.
    """
    del height, width
    scale = SCALES[checked("variant of EfficientNet-Lite", variant, SCALES)]
    padding = PADDINGS[checked("padding", padding, PADDINGS)]
    norm = batch_norm(of_tensorflow=True, eps=bn_eps)
    stages = stages_of(scale)
    blocks, done = sum(stage.layers for stage in stages), 0

    inputs = STEM
    repeats: list[nn.Module] = []
    for stage in stages:
        repeated = []
        for index in range(stage.layers):
            drop = stochastic_depth * done / blocks
            first = stage.stride if index == 0 else 1
            repeated.append(LiteBlock(inputs, stage, stride=first, drop=drop, norm=norm, padding=padding))
            inputs, done = stage.channels, done + 1
        repeats.append(nn.Sequential(*repeated))

    network = Stack(
        [
            ("conv_stem", padded_conv(channels, STEM, 3, stride=2, padding=padding, bias=False)),  # (B, 32, H/2, W/2)
            ("bn1", norm(STEM)),
            ("act1", nn.ReLU6(inplace=True)),
            ("blocks", nn.Sequential(*repeats)),
            ("conv_head", padded_conv(inputs, HEAD, 1, padding=padding, bias=False)),  # (B, 1280, H/32, W/32)
            ("bn2", norm(HEAD)),
            ("act2", nn.ReLU6(inplace=True)),
            ("global_pool", GlobalAvgPool()),
            ("dropout", make_dropout(scale.dropout)),
            ("classifier", make_dense(HEAD, classes)),
        ],
        stages={
            "stage1": "act1",
            **{f"stage{number + 2}": f"blocks.{number}" for number in range(len(repeats))},
            "stage9": "act2",
            "output": "classifier",
        },
    )
    _initialise(network)
    return network


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -1 / math.sqrt(module.out_features), 1 / math.sqrt(module.out_features))
            nn.init.zeros_(module.bias)
