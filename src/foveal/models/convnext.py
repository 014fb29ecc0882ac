"""ConvNeXt: a ResNet brought step by step to what vision transformers do, convolutions throughout.

Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell, S. Xie: "A ConvNet for the 2020s", CVPR 2022, table 9.
The layers are named and laid out as torchvision's: the pointwise convolutions of a block are dense layers over
channels that lie last, which is the same function.

Initialised as torchvision and the authors' code: normal with deviation 0.02 (their cut at ±2 is out of reach),
biases zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.blocks.stochastic_depth import StochasticDepth
from foveal.models.network import Stack, make_dense

LAYER_SCALE = 1e-6  # at the start; one factor a channel, learned


def convnext_tiny(
    *,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
    stochastic_depth: float = 0.1,
) -> Stack:
    """Return ConvNeXt-T, shapes given for 224×224.

    `stochastic_depth` is the probability with which the last block is left out in training, from 0 at the first
    rising evenly.
    """
    if not 0 <= stochastic_depth < 1:
        raise UsageError(f"A stochastic depth of {stochastic_depth:g} is no probability from 0 to below 1.")
    rising = iter([stochastic_depth * block / 17 for block in range(18)])

    def stage(width: int, count: int) -> nn.Sequential:
        return nn.Sequential(*(Block(width, next(rising)) for _ in range(count)))

    features = nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 96, 4, stride=4), ChannelNorm(96, eps=1e-6)),  # (B, 96, 56, 56)
        stage(96, 3),
        downsample(96, 192),  # (B, 192, 28, 28)
        stage(192, 3),
        downsample(192, 384),  # (B, 384, 14, 14)
        stage(384, 9),
        downsample(384, 768),  # (B, 768, 7, 7)
        stage(768, 3),
    )
    classifier = nn.Sequential(ChannelNorm(768, eps=1e-6), nn.Flatten(), make_dense(768, classes))
    network = Stack(
        [("features", features), ("avgpool", nn.AdaptiveAvgPool2d(1)), ("classifier", classifier)],
        stages={
            "stem": "features.0",
            "res2": "features.1",
            "res3": "features.3",
            "res4": "features.5",
            "res5": "features.7",
            "output": "classifier",
        },
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return network


class Block(nn.Module):
    """7×7 depthwise, norm, to four times the channels and back, scaled and added: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, width: int, stochastic_depth: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            ChannelsLast(),  # (B, H, W, C)
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            ChannelsFirst(),
        )
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), LAYER_SCALE))
        self.stochastic_depth = StochasticDepth(stochastic_depth)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.stochastic_depth(self.layer_scale * self.block(x))
        y += x
        return y


def downsample(inputs: int, outputs: int) -> nn.Sequential:
    """Return what stands between two stages: (B, inputs, H, W) → (B, outputs, H/2, W/2)."""
    return nn.Sequential(ChannelNorm(inputs, eps=1e-6), nn.Conv2d(inputs, outputs, 2, stride=2))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel: (B, C, H, W) → (B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """(B, C, H, W) → (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """(B, H, W, C) → (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.permute(0, 3, 1, 2)
