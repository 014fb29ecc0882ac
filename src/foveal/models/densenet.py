"""DenseNet: inside a block, every layer sees the maps of all layers before it.

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger: "Densely connected convolutional networks", CVPR 2017, table 1.
Maps are put side by side, never added: a block of L layers has L(L + 1)/2 connections. Between blocks a transition
halves channels and sides.

A name counts weighted layers, the 1×1 of bottlenecks and transitions and the dense one among them; the network that
the paper calls 264 has 265. DenseNet-161 (growth 48) is the authors', but not in the paper.

Initialised as torchvision: convolutions He-normal by fan in, the dense layer uniform in ±1/√(fan in), its bias zero.
Deviation: the authors' code draws convolutions by fan out. The paper's dropout for CIFAR without augmentation is
left out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Stack, make_dense

LAYERS = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
    264: (6, 12, 64, 48),
}  # of each block


def densenet(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
    depth: int = 121,
) -> Stack:
    """Return DenseNet-BC for ImageNet. Shapes are given for DenseNet-121 and 224×224."""
    if depth not in LAYERS:
        raise UsageError(f"DenseNet has {', '.join(map(str, LAYERS))} layers, not {depth}.")
    growth = 48 if depth == 161 else 32
    stem: list[tuple[str, nn.Module]] = [
        ("conv0", nn.Conv2d(channels, 2 * growth, 7, stride=2, padding=3, bias=False)),  # (B, 64, 112, 112)
        ("norm0", nn.BatchNorm2d(2 * growth)),
        ("relu0", nn.ReLU(inplace=True)),
        ("pool0", nn.MaxPool2d(3, stride=2, padding=1)),  # (B, 64, 56, 56)
    ]
    # blocks: (B, 256, 56, 56), (B, 512, 28, 28), (B, 1024, 14, 14), (B, 1024, 7, 7)
    return _assemble(stem, "relu0", 2 * growth, LAYERS[depth], growth, 0.5, bottleneck=True, classes=classes)


def cifar_densenet(
    *,
    classes: int = 10,
    channels: int = 3,
    height: int = 32,  # noqa: ARG001  any size will do
    width: int = 32,  # noqa: ARG001
    depth: int = 100,
    growth: int = 12,
    reduction: float = 0.5,
    bottleneck: bool = True,
) -> Stack:
    """Return a DenseNet for 32×32: three blocks of N layers, depth = 6N + 4 with bottlenecks, 3N + 4 without.

    `reduction` is the share of channels that a transition keeps. The paper's first networks, as DenseNet-40-12, have
    ``bottleneck=False`` and ``reduction=1``; then the first convolution has 16 channels, else twice the growth.
    """
    each = 6 if bottleneck else 3
    layers, rest = divmod(depth - 4, each)
    if layers < 1 or depth > 1000 or rest:
        raise UsageError(f"This DenseNet has {each}N + 4 layers (40, 100, 190, 250), not {depth}.")
    if not 1 <= growth <= 512:
        raise UsageError(f"A DenseNet grows by 1 to 512 channels a layer, not {growth}.")
    if not 0 < reduction <= 1:
        raise UsageError(f"A transition keeps a share of channels above 0 and up to 1, not {reduction:g}.")
    first = 2 * growth if bottleneck else 16
    stem: list[tuple[str, nn.Module]] = [("conv0", nn.Conv2d(channels, first, 3, padding=1, bias=False))]
    # blocks of DenseNet-BC-100-12: (B, 216, 32, 32), (B, 300, 16, 16), (B, 342, 8, 8)
    blocks = (layers, layers, layers)
    return _assemble(stem, "conv0", first, blocks, growth, reduction, bottleneck=bottleneck, classes=classes)


def _assemble(
    features: list[tuple[str, nn.Module]],
    stem: str,
    width: int,
    blocks: tuple[int, ...],
    growth: int,
    reduction: float,
    *,
    bottleneck: bool,
    classes: int,
) -> Stack:
    """Return a network that begins with `features`, whose stem ends in `stem` and gives `width` channels."""
    stages = {"convolution": f"features.{stem}"}
    for number, layers in enumerate(blocks, 1):
        features.append((f"denseblock{number}", DenseBlock(width, layers, growth, bottleneck=bottleneck)))
        stages[f"dense block {number}"] = f"features.denseblock{number}"
        width += layers * growth
        if number < len(blocks):
            kept = max(1, int(width * reduction))
            features.append((f"transition{number}", transition(width, kept)))
            stages[f"transition {number}"] = f"features.transition{number}"
            width = kept
    features.append((f"norm{len(blocks) + 1}", nn.BatchNorm2d(width)))
    head = make_dense(width, classes)
    network = Stack(
        [
            ("features", nn.Sequential(OrderedDict(features))),
            ("relu", nn.ReLU(inplace=True)),
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("classifier", head),
        ],
        stages={**stages, "output": "classifier"},
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    nn.init.zeros_(head.bias)
    return network


class DenseBlock(nn.Sequential):
    """`layers` dense layers: (B, inputs, H, W) → (B, inputs + layers · growth, H, W)."""

    def __init__(self, inputs: int, layers: int, growth: int, *, bottleneck: bool) -> None:
        make = bottleneck_layer if bottleneck else basic_layer
        each = {f"denselayer{number + 1}": make(inputs + number * growth, growth) for number in range(layers)}
        super().__init__(OrderedDict(each))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer in self:
            x = torch.cat([x, layer(x)], dim=1)  # the maps of the block's input and of all layers so far
        return x


def bottleneck_layer(inputs: int, growth: int) -> nn.Sequential:
    """Return the layer of DenseNet-B, in which a 1×1 narrows what it sees to four times the growth."""
    return nn.Sequential(
        OrderedDict(
            norm1=nn.BatchNorm2d(inputs),
            relu1=nn.ReLU(inplace=True),
            conv1=nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            norm2=nn.BatchNorm2d(4 * growth),
            relu2=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )
    )


def basic_layer(inputs: int, growth: int) -> nn.Sequential:
    """Return the layer of the first DenseNets, without bottleneck."""
    return nn.Sequential(
        OrderedDict(
            norm1=nn.BatchNorm2d(inputs),
            relu1=nn.ReLU(inplace=True),
            conv1=nn.Conv2d(inputs, growth, 3, padding=1, bias=False),
        )
    )


def transition(inputs: int, outputs: int) -> nn.Sequential:
    """Return what stands between two blocks: (B, inputs, H, W) → (B, outputs, H/2, W/2)."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(inputs, outputs, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )
