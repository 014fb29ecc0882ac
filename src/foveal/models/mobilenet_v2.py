"""MobileNetV2: thin bottlenecks between wide depthwise convolutions, and shortcuts from one bottleneck to the next.

M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen: "MobileNetV2: Inverted residuals and linear bottlenecks",
CVPR 2018, table 2.

Deviations, torchvision's: dropout of 0.2 before the classifier, and batch normalisation with eps 1e-5, where
TensorFlow's network has 1e-3.
"""

from __future__ import annotations

from torch import Tensor, nn

from foveal.models.blocks.conv_bn import conv_bn
from foveal.models.blocks.pooling import GlobalAvgPool
from foveal.models.network import Stack, kaiming_, make_dense, make_dropout

BOTTLENECKS = (  # table 2: expansion t, channels c, repeats n, stride s of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST, LAST = 32, 1280  # channels of the convolutions before and after


class InvertedResidual(nn.Module):
    """1×1 up to `expansion` times the channels, 3×3 depthwise, 1×1 down to `outputs` without activation.

    The shortcut joins the thin ends, where stride and channels allow it.
    """

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = [conv_bn(inputs, wide, 1, activation=nn.ReLU6)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_bn(wide, wide, 3, stride=stride, groups=wide, activation=nn.ReLU6),
            *conv_bn(wide, outputs, 1, activation=None),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.conv(x)  # (B, outputs, H / stride, W / stride)
        if self.shortcut:
            y += x
        return y


def mobilenet_v2(
    *, classes: int = 1000, channels: int = 3, height: int = 224, width: int = 224, dropout: float = 0.2
) -> Stack:
    """Return MobileNetV2. Keys and initialisation are torchvision's; any size will do.

    Initialised He-normal (fan out) in convolutions, N(0, 0.01) in the dense layer, biases zero.
    """
    del height, width  # the last map is averaged, whatever its size
    features: list[nn.Module] = [conv_bn(channels, FIRST, 3, stride=2, activation=nn.ReLU6)]  # (B, 32, H/2, W/2)
    stages = {"conv1": "features.0"}
    inputs = FIRST
    for number, (expansion, outputs, repeats, stride) in enumerate(BOTTLENECKS, 1):
        for index in range(repeats):
            first = stride if index == 0 else 1
            features.append(InvertedResidual(inputs, outputs, expansion=expansion, stride=first))
            inputs = outputs
        stages[f"bottleneck{number}"] = f"features.{len(features) - 1}"
    stages["conv2"] = f"features.{len(features)}"
    features.append(conv_bn(inputs, LAST, 1, activation=nn.ReLU6))  # (B, 1280, H/32, W/32)

    dense = make_dense(LAST, classes)
    network = Stack(
        [
            ("features", nn.Sequential(*features)),
            ("avgpool", GlobalAvgPool()),  # (B, 1280)
            ("classifier", nn.Sequential(make_dropout(dropout), dense)),
        ],
        stages={**stages, "output": "classifier.1"},
    )
    kaiming_(network)
    nn.init.normal_(dense.weight, std=0.01)
    return network
