"""ResNet and its kin: a block learns what to add to its input.

K. He, X. Zhang, S. Ren, J. Sun: "Deep residual learning for image recognition", CVPR 2016, table 1. Shortcuts are
the paper's option B: the identity, or a 1×1 convolution where the shape changes.

* v1.5 (the default, as fb.resnet.torch and torchvision): a bottleneck halves the map in its 3×3 convolution.
* v1, as published (`stride_in_1x1`): it halves the map in its first 1×1. The same weights, another function.
* ResNeXt: S. Xie, R. Girshick, P. Dollár, Z. Tu, K. He: "Aggregated residual transformations for deep neural
  networks", CVPR 2017. The 3×3 has `groups` of `base_width` channels in the first stage.
* Wide ResNet-50-2, -101-2: S. Zagoruyko, N. Komodakis: "Wide residual networks", BMVC 2016. The 3×3 is twice as wide
  (`base_width=128`), the output of the block is not.

Initialised as torchvision: convolutions He-normal by fan out, the dense layer uniform in ±1/√(fan in).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Stack, make_dense

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDEST = 4096  # channels of the first 3×3; ResNeXt-101 64×4d has 256


def resnet(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
    depth: int = 50,
    groups: int = 1,
    base_width: int = 64,
    stride_in_1x1: bool = False,
    zero_init_residual: bool = False,
) -> Stack:
    """Return a ResNet of basic blocks, or from 50 layers on of bottlenecks. Shapes are given for ResNet-50 and 224×224.

    `zero_init_residual` starts the last norm of each block at zero, so that each block starts as the identity
    (P. Goyal et al.: "Accurate, large minibatch SGD", 2017).
    """
    if depth not in BLOCKS:
        raise UsageError(f"ResNet has {', '.join(map(str, BLOCKS))} layers, not {depth}.")
    if depth < 50 and (groups != 1 or base_width != 64 or stride_in_1x1):
        raise UsageError(f"groups, base_width and stride_in_1x1 are for bottlenecks, which ResNet-{depth} has not.")
    if groups < 1 or base_width < 1 or groups * base_width > WIDEST:
        raise UsageError(f"A ResNet with {groups} groups of {base_width} channels cannot be made.")
    bottleneck = partial(Bottleneck, groups=groups, base_width=base_width, stride_in_1x1=stride_in_1x1)
    block, expansion = (BasicBlock, 1) if depth < 50 else (bottleneck, 4)

    def stage(inputs: int, width: int, count: int, stride: int = 2) -> nn.Sequential:
        """Return `count` blocks, of which the first changes the shape."""
        outputs = width * expansion
        shortcut = None if (inputs, stride) == (outputs, 1) else project(inputs, outputs, stride)
        first = block(inputs, width, stride, shortcut)
        return nn.Sequential(first, *(block(outputs, width) for _ in range(count - 1)))

    two, three, four, five = BLOCKS[depth]
    network = Stack(
        [
            ("conv1", nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)),  # (B, 64, 112, 112)
            ("bn1", nn.BatchNorm2d(64)),
            ("relu", nn.ReLU(inplace=True)),
            ("maxpool", nn.MaxPool2d(3, stride=2, padding=1)),  # (B, 64, 56, 56)
            ("layer1", stage(64, 64, two, stride=1)),  # (B, 256, 56, 56)
            ("layer2", stage(64 * expansion, 128, three)),  # (B, 512, 28, 28)
            ("layer3", stage(128 * expansion, 256, four)),  # (B, 1024, 14, 14)
            ("layer4", stage(256 * expansion, 512, five)),  # (B, 2048, 7, 7)
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),  # (B, 2048)
            ("fc", make_dense(512 * expansion, classes)),
        ],
        stages={
            "conv1": "relu",
            "conv2_x": "layer1",
            "conv3_x": "layer2",
            "conv4_x": "layer3",
            "conv5_x": "layer4",
            "output": "fc",
        },
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_((module.bn2 if isinstance(module, BasicBlock) else module.bn3).weight)
    return network


class BasicBlock(nn.Module):
    """Two 3×3 convolutions: (B, inputs, H, W) → (B, width, H/stride, W/stride). `downsample` reshapes the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu2(y)
        return out


class Bottleneck(nn.Module):
    """A 1×1 that narrows, a 3×3, a 1×1 that widens: (B, inputs, H, W) → (B, 4·width, H/stride, W/stride)."""

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *,
        groups: int = 1,
        base_width: int = 64,
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        inner, outputs = width * base_width // 64 * groups, 4 * width
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = nn.Conv2d(inputs, inner, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = downsample
        self.relu3 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu3(y)
        return out


def project(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return option B's shortcut: a 1×1 convolution and its norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
