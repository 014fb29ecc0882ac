"""Squeeze and excitation: each channel weighed by what the whole image shows.

J. Hu, L. Shen, G. Sun: "Squeeze-and-excitation networks", CVPR 2018. With z the mean of each channel over the
image, the block gives x · σ(W₂ δ(W₁ z + b₁) + b₂): one factor a channel (eq. 2 to 4). δ is the ReLU and σ the
logistic function in the paper; MobileNetV3 takes a hard sigmoid for σ, EfficientNet a SiLU for δ.

Deviation, torchvision's and the EfficientNet authors': W₁ and W₂ are 1×1 convolutions with a bias, which the paper
does not speak of. The arithmetic is that of dense layers.
"""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """(B, channels, H, W) → the same shape. `squeezed` is the number of units between; keys as torchvision's."""

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        activation: type[nn.Module] = nn.ReLU,
        gate: type[nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        z = self.activation(self.fc1(self.avgpool(x)))  # (B, squeezed, 1, 1)
        weight: Tensor = self.gate(self.fc2(z))  # (B, channels, 1, 1)
        return weight * x
