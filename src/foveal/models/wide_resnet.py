"""Wide ResNet for images of 32×32: fewer layers, more channels.

S. Zagoruyko, N. Komodakis: "Wide residual networks", BMVC 2016, table 1 and figure 1(d). Blocks are pre-activated
(norm, ReLU, convolution) as in K. He et al.: "Identity mappings in deep residual networks", ECCV 2016. As in the
authors' code, a block that changes the shape gives its shortcut the activated input, and the 1×1 no norm.

Initialised as the authors' code: convolutions He-normal by fan out, the dense layer uniform in ±1/√(fan in), its
bias zero.
"""

from __future__ import annotations

from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Stack, make_dense, make_dropout


def wide_resnet(
    *,
    classes: int = 10,
    channels: int = 3,
    height: int = 32,  # noqa: ARG001  any size will do
    width: int = 32,  # noqa: ARG001
    depth: int = 28,
    widen: int = 10,
    dropout: float = 0.0,
) -> Stack:
    """Return WRN-`depth`-`widen`: three stages of n blocks of two 3×3, depth = 6n + 4. Shapes are given for WRN-28-10.

    The depth counts the first convolution, the 6n of the blocks and their three 1×1 shortcuts, not the dense layer.
    `dropout` stands between the two convolutions of a block; the paper uses 0.3, or none.
    """
    n, rest = divmod(depth - 4, 6)
    if n < 1 or n > 200 or rest:
        raise UsageError(f"A Wide ResNet has 6n + 4 layers (16, 22, 28, 40, …), not {depth}.")
    if not 1 <= widen <= 100:
        raise UsageError(f"A Wide ResNet is 1 to 100 times as wide as a ResNet, not {widen}.")

    def stage(inputs: int, width: int, stride: int) -> nn.Sequential:
        """Return n blocks, of which the first changes the shape."""
        first = WideBlock(inputs, width, stride, dropout)
        return nn.Sequential(first, *(WideBlock(width, width, 1, dropout) for _ in range(n - 1)))

    head = make_dense(64 * widen, classes)
    network = Stack(
        [
            ("conv1", nn.Conv2d(channels, 16, 3, padding=1, bias=False)),  # (B, 16, 32, 32)
            ("conv2", stage(16, 16 * widen, stride=1)),  # (B, 160, 32, 32)
            ("conv3", stage(16 * widen, 32 * widen, stride=2)),  # (B, 320, 16, 16)
            ("conv4", stage(32 * widen, 64 * widen, stride=2)),  # (B, 640, 8, 8)
            ("bn", nn.BatchNorm2d(64 * widen)),
            ("relu", nn.ReLU(inplace=True)),
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),  # (B, 640)
            ("fc", head),
        ],
        stages={"conv1": "conv1", "conv2": "conv2", "conv3": "conv3", "conv4": "relu", "output": "fc"},
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(head.bias)
    return network


class WideBlock(nn.Module):
    """Twice norm, ReLU, 3×3: (B, inputs, H, W) → (B, width, H/stride, W/stride)."""

    def __init__(self, inputs: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.dropout = make_dropout(dropout) if dropout else None
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = (inputs, 1) != (width, stride)
        self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        activated = self.relu1(self.bn1(x))
        hidden = self.relu2(self.bn2(self.conv1(activated)))
        y: Tensor = self.conv2(hidden if self.dropout is None else self.dropout(hidden))
        y += x if self.shortcut is None else self.shortcut(activated)
        return y
