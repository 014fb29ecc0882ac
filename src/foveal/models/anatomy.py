"""What a network is made of: its layers with shapes, parameters, connections and multiply-adds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn


@dataclass(frozen=True)
class Layer:
    """One layer that computes something, for one image.

    `macs` counts the multiply-adds of convolutions and dense layers, `connections` the links into the layer's
    units as LeCun et al. 1998 count them: one an input that a unit sees, and one for its bias. A layer of a kind
    that counts itself (`SelfCounting`) says both. Norms and activations are no units and count none.
    """

    name: str
    type: str
    output: str  # without the batch: "6×28×28"
    parameters: int
    macs: int
    connections: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json."""
        return asdict(self)


@runtime_checkable
class SelfCounting(Protocol):
    """A layer that is none of torch's and knows its own numbers, given its output (1, …) for one image."""

    def multiply_adds(self, output: torch.Tensor) -> int:
        """Return the multiply-adds."""

    def connections(self, output: torch.Tensor) -> int:
        """Return the links into its units, biases included."""


def layer_table(network: nn.Module, channels: int, height: int, width: int) -> list[Layer]:
    """Return the layers in the order in which one black image passes them. The network is left as it was found."""
    rows: list[Layer] = []

    def note(name: str, module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> None:
        parameters = sum(one.numel() for one in module.parameters(recurse=False))
        shape = "×".join(str(size) for size in output.shape[1:])
        links = _connections(module, x, output)
        rows.append(Layer(name, type(module).__name__, shape, parameters, _macs(module, output), links))

    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: note(name, module, inputs[0], output))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    training = [module for module in network.modules() if module.training]
    try:
        network.eval()
        with torch.inference_mode():
            device = next(network.parameters()).device
            network(torch.zeros(1, channels, height, width, device=device))
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    return rows


def _macs(module: nn.Module, output: torch.Tensor) -> int:
    if isinstance(module, SelfCounting):
        return module.multiply_adds(output)
    if isinstance(module, nn.Conv2d):
        kernel = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
        return output[0].numel() * kernel
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return 0


def _connections(module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> int:
    units = output[0].numel()
    if isinstance(module, SelfCounting):
        return module.connections(output)
    if isinstance(module, nn.Conv2d | nn.Linear):
        return _macs(module, output) + (units if module.bias is not None else 0)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        side = module.kernel_size
        return units * (side**2 if isinstance(side, int) else math.prod(side))
    return x[0].numel() if isinstance(module, nn.AdaptiveAvgPool2d) else 0
