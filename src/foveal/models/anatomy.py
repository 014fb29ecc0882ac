"""What a network is made of: its layers with shapes, parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Layer:
    """One layer that computes something. `macs` counts multiply-adds of convolutions and dense layers, one image."""

    name: str
    type: str
    output: str  # without the batch: "6×28×28"
    parameters: int
    macs: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json."""
        return asdict(self)


def layer_table(network: nn.Module, channels: int, height: int, width: int) -> list[Layer]:
    """Return the layers in the order in which one black image passes them. The network is left as it was found."""
    rows: list[Layer] = []

    def note(name: str, module: nn.Module, output: torch.Tensor) -> None:
        parameters = sum(one.numel() for one in module.parameters(recurse=False))
        shape = "×".join(str(size) for size in output.shape[1:])
        rows.append(Layer(name, type(module).__name__, shape, parameters, _macs(module, output)))

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
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
    if isinstance(module, nn.Conv2d):
        kernel = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
        return output[0].numel() * kernel
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return 0
