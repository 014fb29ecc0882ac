"""EfficientNet: one small network found by search, made wider, deeper and finer together.

M. Tan, Q. Le: "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019, table 1 and
the coefficients of the authors' code. Their paper scales depth, width and resolution by 1.2^φ, 1.1^φ and 1.15^φ;
their code rounds the three to what `SCALES` and the catalog's native sizes say.

The networks are torchvision's: symmetric padding, batch normalisation with eps 1e-5 and momentum 0.1 in B0 to B4 and
TensorFlow's 1e-3 and 0.01 in B5 to B7. ``padding="tensorflow"`` is what the authors' own weights need: asymmetric
padding where the stride is 2, and 1e-3 and 0.01 in all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from foveal.errors import UsageError, nearest
from foveal.models.blocks.channels import rounded
from foveal.models.blocks.conv_bn import Norm, conv_bn
from foveal.models.blocks.pooling import GlobalAvgPool
from foveal.models.blocks.squeeze_excitation import SqueezeExcitation
from foveal.models.blocks.stochastic_depth import StochasticDepth
from foveal.models.network import Stack, kaiming_, make_dense, make_dropout


class Stage(NamedTuple):
    """One row of table 1: `layers` blocks, of which the first has the stride."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    layers: int


STEM, HEAD = 32, 1280  # channels of stage 1, a 3×3 convolution of stride 2, and of stage 9, a 1×1
B0 = (
    Stage(1, 3, 1, 16, 1),  # stage 2
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),  # stage 8
)


class Scale(NamedTuple):
    """How a variant is made out of B0."""

    width: float
    depth: float
    dropout: float
    of_tensorflow: bool = False  # batch normalisation as TensorFlow's


SCALES = {
    "b0": Scale(1.0, 1.0, 0.2),
    "b1": Scale(1.0, 1.1, 0.2),
    "b2": Scale(1.1, 1.2, 0.3),
    "b3": Scale(1.2, 1.4, 0.3),
    "b4": Scale(1.4, 1.8, 0.4),
    "b5": Scale(1.6, 2.2, 0.4, of_tensorflow=True),
    "b6": Scale(1.8, 2.6, 0.5, of_tensorflow=True),
    "b7": Scale(2.0, 3.1, 0.5, of_tensorflow=True),
}
PADDINGS = {"symmetric": "same", "tensorflow": "tensorflow"}  # the option, and its name in `padding`


def scaled(stage: Stage, width: float, depth: float) -> Stage:
    """Return `stage` with `width` times the channels, to a multiple of 8, and `depth` times the layers, rounded up."""
    return stage._replace(channels=rounded(stage.channels * width), layers=math.ceil(stage.layers * depth))


class MBConv(nn.Module):
    """1×1 up, depthwise, squeeze-excitation, 1×1 down without activation; a shortcut where the shapes allow it.

    The squeeze has a quarter of the block's input channels, not of the expanded ones.
    """

    def __init__(
        self, inputs: int, stage: Stage, *, stride: int, drop: float, norm: Norm, padding: str = "same"
    ) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        brick = partial(conv_bn, norm=norm, padding=padding)
        expand = [brick(inputs, wide, 1, activation=nn.SiLU)] if stage.expansion != 1 else []
        self.block = nn.Sequential(
            *expand,
            brick(wide, wide, stage.kernel, stride=stride, groups=wide, activation=nn.SiLU),
            SqueezeExcitation(wide, inputs // 4, activation=nn.SiLU),
            brick(wide, stage.channels, 1, activation=None),
        )
        self.shortcut = stride == 1 and inputs == stage.channels
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.block(x)  # (B, stage.channels, H / stride, W / stride)
        if self.shortcut:
            y = self.stochastic_depth(y)
            y += x
        return y


def efficientnet(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,
    width: int = 224,
    variant: str = "b0",
    stochastic_depth: float = 0.2,
    padding: str = "symmetric",
    bn_eps: float = 0.0,
) -> Stack:
    """Return EfficientNet-B0 to B7. Keys and initialisation are torchvision's; any size will do.

    Initialised He-normal (fan out) in convolutions, uniform in ±1/√classes in the dense layer, biases zero.

    Args:
        classes: number of classes.
        channels: of the images.
        height: not needed, as the last map is averaged.
        width: as `height`.
        variant: b0 to b7.
        stochastic_depth: the probability that a block is left out rises from 0 to nearly this, block by block.
        padding: ``symmetric``, or ``tensorflow`` for the authors' weights.
        bn_eps: of batch normalisation; 0: the variant's.

    Raises:
        UsageError: for an unknown variant or padding, a probability outside 0 to 1, or a negative eps.
    """
    del height, width
    scale = SCALES[checked("variant of EfficientNet", variant, SCALES)]
    padding = PADDINGS[checked("padding", padding, PADDINGS)]
    norm = batch_norm(of_tensorflow=scale.of_tensorflow or padding == "tensorflow", eps=bn_eps)
    brick = partial(conv_bn, norm=norm, padding=padding, activation=nn.SiLU)
    stages = [scaled(stage, scale.width, scale.depth) for stage in B0]
    blocks, done = sum(stage.layers for stage in stages), 0

    inputs = rounded(STEM * scale.width)
    features: list[nn.Module] = [brick(channels, inputs, 3, stride=2)]  # (B, 32, H/2, W/2) in B0
    for stage in stages:
        repeated = []
        for index in range(stage.layers):
            drop = stochastic_depth * done / blocks
            first = stage.stride if index == 0 else 1
            repeated.append(MBConv(inputs, stage, stride=first, drop=drop, norm=norm, padding=padding))
            inputs, done = stage.channels, done + 1
        features.append(nn.Sequential(*repeated))
    head = rounded(HEAD * scale.width)
    features.append(brick(inputs, head, 1))  # (B, 1280, H/32, W/32) in B0

    dense = make_dense(head, classes)
    network = Stack(
        [
            ("features", nn.Sequential(*features)),
            ("avgpool", GlobalAvgPool()),
            ("classifier", nn.Sequential(make_dropout(scale.dropout), dense)),
        ],
        stages={
            **{f"stage{number}": f"features.{number - 1}" for number in range(1, len(features) + 1)},
            "output": "classifier.1",
        },
    )
    kaiming_(network)
    nn.init.uniform_(dense.weight, -1 / math.sqrt(classes), 1 / math.sqrt(classes))
    return network


def batch_norm(*, of_tensorflow: bool, eps: float) -> Norm:
    """Return the maker of batch normalisations: TensorFlow's eps and momentum or torch's, or another `eps` than 0."""
    if not 0 <= eps < 1:
        raise UsageError(f"An eps of {eps:g} for batch normalisation is none from 0 to below 1.")
    usual, momentum = (1e-3, 0.01) if of_tensorflow else (1e-5, 0.1)
    return partial(nn.BatchNorm2d, eps=eps or usual, momentum=momentum)


def checked(what: str, value: str, known: Mapping[str, object]) -> str:
    """Return `value` if it is known; UsageError names what is."""
    if value not in known:
        raise UsageError(f'There is no {what} "{value}"; choose {", ".join(known)}.{nearest(value, known)}')
    return value
