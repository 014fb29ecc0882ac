"""Convolution, batch normalisation, activation: the brick of the MobileNets and EfficientNets."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from foveal.models.blocks.padding import padded_conv

Norm = Callable[[int], nn.Module]  # channels → normalisation


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    activation: type[nn.Module] | None,
    stride: int = 1,
    groups: int = 1,
    padding: str = "same",
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """Return (B, inputs, H, W) → (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉).

    The convolution has no bias: the normalisation's would take it away. Without `activation` the brick is linear.
    With it, it works in place. `padding` is one of `padding.PADDINGS`.
    """
    layers: list[nn.Module] = [
        padded_conv(inputs, outputs, kernel, padding=padding, stride=stride, groups=groups, bias=False),
        norm(outputs),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)
