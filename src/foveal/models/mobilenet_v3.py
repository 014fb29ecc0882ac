"""MobileNetV3: MobileNetV2's blocks chosen by search, with squeeze-excitation and cheap non-linearities.

A. Howard et al.: "Searching for MobileNetV3", ICCV 2019, tables 1 (large) and 2 (small).

Deviations, torchvision's: dropout of 0.2 before the classifier (the paper writes 0.8: TensorFlow's code counts what is
kept); the last two layers are dense, where the paper writes 1×1 convolutions on the pooled 1×1 map.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from foveal.errors import UsageError, nearest
from foveal.models.blocks.channels import rounded
from foveal.models.blocks.conv_bn import Norm, conv_bn
from foveal.models.blocks.pooling import GlobalAvgPool
from foveal.models.blocks.squeeze_excitation import SqueezeExcitation
from foveal.models.efficientnet import PADDINGS, checked
from foveal.models.network import Stack, kaiming_, make_dense, make_dropout

RE, HS = nn.ReLU, nn.Hardswish
SE, __ = True, False  # with squeeze-excitation, without


class Row(NamedTuple):
    """One bneck of the paper's tables."""

    kernel: int
    wide: int  # channels of the depthwise convolution: "exp size"
    outputs: int
    squeezes: bool
    activation: type[nn.Module]
    stride: int


LARGE = (
    Row(3, 16, 16, __, RE, 1),
    Row(3, 64, 24, __, RE, 2),
    Row(3, 72, 24, __, RE, 1),
    Row(5, 72, 40, SE, RE, 2),
    Row(5, 120, 40, SE, RE, 1),
    Row(5, 120, 40, SE, RE, 1),
    Row(3, 240, 80, __, HS, 2),
    Row(3, 200, 80, __, HS, 1),
    Row(3, 184, 80, __, HS, 1),
    Row(3, 184, 80, __, HS, 1),
    Row(3, 480, 112, SE, HS, 1),
    Row(3, 672, 112, SE, HS, 1),
    Row(5, 672, 160, SE, HS, 2),
    Row(5, 960, 160, SE, HS, 1),
    Row(5, 960, 160, SE, HS, 1),
)
SMALL = (
    Row(3, 16, 16, SE, RE, 2),
    Row(3, 72, 24, __, RE, 2),
    Row(3, 88, 24, __, RE, 1),
    Row(5, 96, 40, SE, HS, 2),
    Row(5, 240, 40, SE, HS, 1),
    Row(5, 240, 40, SE, HS, 1),
    Row(5, 120, 48, SE, HS, 1),
    Row(5, 144, 48, SE, HS, 1),
    Row(5, 288, 96, SE, HS, 2),
    Row(5, 576, 96, SE, HS, 1),
    Row(5, 576, 96, SE, HS, 1),
)
FIRST = 16  # channels of the first convolution
VARIANTS = {"large": (LARGE, 960, 1280), "small": (SMALL, 576, 1024)}  # rows, last convolution, hidden units


class InvertedResidual(nn.Module):
    """1×1 up, depthwise, squeeze-excitation, 1×1 down without activation; a shortcut where the shapes allow it.

    The squeeze has a quarter of the depthwise channels.
    """

    def __init__(self, inputs: int, row: Row, *, norm: Norm, padding: str = "same") -> None:
        super().__init__()
        brick = partial(conv_bn, norm=norm, padding=padding)
        wide, activation = row.wide, row.activation
        layers: list[nn.Module] = []
        if wide != inputs:
            layers.append(brick(inputs, wide, 1, activation=activation))
        layers.append(brick(wide, wide, row.kernel, stride=row.stride, groups=wide, activation=activation))
        if row.squeezes:
            layers.append(SqueezeExcitation(wide, rounded(wide // 4), gate=nn.Hardsigmoid))
        layers.append(brick(wide, row.outputs, 1, activation=None))
        self.block = nn.Sequential(*layers)
        self.shortcut = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.block(x)  # (B, outputs, H / stride, W / stride)
        if self.shortcut:
            y += x
        return y


def mobilenet_v3(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,
    width: int = 224,
    variant: str = "small",
    dropout: float = 0.2,
    padding: str = "symmetric",
    bn_eps: float = 1e-3,
) -> Stack:
    """Return MobileNetV3, small or large. Keys and initialisation are torchvision's; any size will do.

    Initialised He-normal (fan out) in convolutions, N(0, 0.01) in dense layers, biases zero.
    `padding` is ``tensorflow`` for weights ported from there; `bn_eps` is 1e-5 for those that timm trained.
    """
    del height, width  # the last map is averaged, whatever its size
    if variant not in VARIANTS:
        raise UsageError(f'There is no MobileNetV3 "{variant}"; choose small or large.{nearest(variant, VARIANTS)}')
    if not 0 < bn_eps < 1:
        raise UsageError(f"An eps of {bn_eps:g} for batch normalisation is none between 0 and 1.")
    rows, last, hidden = VARIANTS[variant]
    norm = partial(nn.BatchNorm2d, eps=bn_eps, momentum=0.01)
    brick = partial(conv_bn, norm=norm, padding=PADDINGS[checked("padding", padding, PADDINGS)])
    widths = (FIRST, *(row.outputs for row in rows))
    features = [
        brick(channels, FIRST, 3, stride=2, activation=HS),  # (B, 16, H/2, W/2)
        *(
            InvertedResidual(inputs, row, norm=norm, padding=PADDINGS[padding])
            for inputs, row in zip(widths, rows, strict=False)
        ),
        brick(widths[-1], last, 1, activation=HS),  # (B, last, H/32, W/32)
    ]
    names = ("conv1", *(f"bneck{number}" for number in range(1, len(rows) + 1)), "conv2")
    head = nn.Sequential(
        make_dense(last, hidden), nn.Hardswish(inplace=True), make_dropout(dropout), make_dense(hidden, classes)
    )
    network = Stack(
        [("features", nn.Sequential(*features)), ("avgpool", GlobalAvgPool()), ("classifier", head)],
        stages={
            **{name: f"features.{index}" for index, name in enumerate(names)},
            "pool": "avgpool",
            "hidden": "classifier.1",
            "output": "classifier.3",
        },
    )
    kaiming_(network)
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
    return network
