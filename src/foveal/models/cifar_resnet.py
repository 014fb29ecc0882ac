"""ResNet for images of 32×32: the paper's own study of depth, with 0.27 to 1.7 million parameters.

K. He, X. Zhang, S. Ren, J. Sun: "Deep residual learning for image recognition", CVPR 2016, section 4.2. torchvision's
ResNet-18 is another network: eleven million parameters, and a stem that takes 32×32 down to 8×8 at once.

Initialised He-normal, as the paper says; biases zero.
"""

from __future__ import annotations

from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Stack, kaiming_, make_dense
from foveal.models.resnet import BasicBlock, project


def cifar_resnet(
    *,
    classes: int = 10,
    channels: int = 3,
    height: int = 32,  # noqa: ARG001  any size will do
    width: int = 32,  # noqa: ARG001
    depth: int = 20,
    shortcut: str = "A",
) -> Stack:
    """Return a ResNet of `depth` = 6n + 2 layers: three stages of n basic blocks. Shapes are given for 32×32.

    Where the shape changes, `shortcut` A takes every second pixel and adds channels of zeros, without parameters, as
    in all of the paper's CIFAR networks; B is a 1×1 convolution with its norm.
    """
    n, rest = divmod(depth - 2, 6)
    if n < 1 or n > 200 or rest:
        raise UsageError(f"ResNet for CIFAR has 6n + 2 layers (20, 32, 44, 56, 110, up to 1202), not {depth}.")
    if shortcut not in ("A", "B"):
        raise UsageError(f'shortcut is "A" (zero channels) or "B" (1×1 convolutions), not "{shortcut}".')
    reshape = PaddedShortcut if shortcut == "A" else project

    def stage(inputs: int, width: int) -> nn.Sequential:
        """Return n blocks, of which the first halves the map."""
        first = BasicBlock(inputs, width, 2, reshape(inputs, width, 2))
        return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(n - 1)))

    network = Stack(
        [
            ("conv1", nn.Conv2d(channels, 16, 3, padding=1, bias=False)),  # (B, 16, 32, 32)
            ("bn1", nn.BatchNorm2d(16)),
            ("relu", nn.ReLU(inplace=True)),
            ("layer1", nn.Sequential(*(BasicBlock(16, 16) for _ in range(n)))),  # (B, 16, 32, 32)
            ("layer2", stage(16, 32)),  # (B, 32, 16, 16)
            ("layer3", stage(32, 64)),  # (B, 64, 8, 8)
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),  # (B, 64)
            ("fc", make_dense(64, classes)),
        ],
        stages={"conv1": "relu", "conv2_x": "layer1", "conv3_x": "layer2", "conv4_x": "layer3", "output": "fc"},
    )
    kaiming_(network)
    return network


class PaddedShortcut(nn.Module):
    """Option A: every `stride`-th pixel, then zeros: (B, inputs, H, W) → (B, outputs, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.zeros = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.zeros))

    def extra_repr(self) -> str:  # noqa: D102
        return f"stride={self.stride}, zeros={self.zeros}"
