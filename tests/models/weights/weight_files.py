"""Weight files made here: networks with random weights and random statistics, saved as the world saves them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.catalog import create_model


def shaken(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Return the network's state with statistics and biases that are not their initial zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(torch.empty_like(tensor).normal_(0, 0.05, generator=generator))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def random_weights(model: str, seed: int = 0, **options: Any) -> dict[str, Tensor]:
    """Return weights of a network of the catalog."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return shaken(create_model(model, options=options), seed)


def pth(value: object) -> bytes:
    """Return the bytes of what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
