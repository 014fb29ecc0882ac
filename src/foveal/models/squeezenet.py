"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

F. N. Iandola et al.: "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
arXiv 1602.07360, 2016; version 1.1 is their repository's and needs less than half the multiply-adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Stack, make_dropout

FIRES = (16, 16, 32, 32, 48, 48, 64, 64)  # table 1: maps that fire2 … fire9 squeeze to; each expands to 2 × 4 times
STEM = {"1.0": (96, 7), "1.1": (64, 3)}  # conv1's maps and kernel
POOLED = {"1.0": (4, 8), "1.1": (3, 5)}  # fires behind which the maps are pooled


class Fire(nn.Module):
    """Squeezes to few maps by 1×1, expands them by 1×1 and 3×3: (B, inputs, H, W) → (B, 8 squeezed, H, W)."""

    def __init__(self, inputs: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.squeeze_activation(self.squeeze(x))  # (B, squeezed, H, W)
        one, three = self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))
        return torch.cat((one, three), 1)


def squeezenet(
    *,
    version: str = "1.0",
    dropout: float = 0.5,
    classes: int = 1000,
    channels: int = 3,
    height: int = 224,  # noqa: ARG001  any size will do
    width: int = 224,  # noqa: ARG001
) -> Stack:
    """Return SqueezeNet 1.0 or 1.1; its keys are torchvision's.

    There is no dense layer: conv10 has a map a class, whose mean after ReLU is the logit, which thus is never
    negative. The paper's table prints 111×111 for conv1, which 7×7 by steps of 2 gives from 227, not from its 224
    (109). Poolings round up (``ceil_mode``), as in Caffe. Initialised as torchvision: He-uniform, conv10 N(0, 0.01²),
    zero biases.

    Raises:
        UsageError: for a version that there is not, or a dropout that is no probability.
    """
    if version not in STEM:
        raise UsageError(f"There is no SqueezeNet {version}; choose {' or '.join(STEM)}.")
    inputs, kernel = STEM[version]
    layers = [nn.Conv2d(channels, inputs, kernel, stride=2), nn.ReLU(inplace=True), _pool()]
    stages = {"conv1": "features.1"}  # 1.0: (B, 96, 109, 109); 1.1: (B, 64, 111, 111)
    for fire, squeezed in enumerate(FIRES, 2):
        stages[f"fire{fire}"] = f"features.{len(layers)}"
        layers += [Fire(inputs, squeezed)]
        layers += [_pool()] if fire in POOLED[version] else []
        inputs = 8 * squeezed
    conv10 = nn.Conv2d(inputs, classes, 1)
    classifier = nn.Sequential(
        make_dropout(dropout), conv10, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network = Stack(
        [("features", nn.Sequential(*layers)), ("classifier", classifier)],  # (B, 512, 13, 13), (B, classes)
        stages={**stages, "conv10": "classifier.2", "output": "classifier.4"},
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            if layer is conv10:
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)
