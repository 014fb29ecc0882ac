"""The gallery's networks as its tests see them: which there are, the smallest of each family, random weights."""

from __future__ import annotations

from itertools import groupby

import pytest
import torch
from torch import nn

from foveal.models.catalog import CATALOG, create_model
from foveal.models.network import Heads, Network

EVERY = sorted(CATALOG)
OF_ONE_INPUT = {"lenet5_1998"}  # one size, grey, and classes as many as it has codes: see its own tests
PASS_SIDE = 64  # of the images in passes through the ImageNet networks, where they can take it


def smallest_of_each_family() -> set[str]:
    """Return the network with the fewest multiply-adds of each file of `foveal.models`."""
    by_family = sorted(CATALOG.values(), key=lambda one: (one.builder.partition(":")[0], one.macs))
    return {next(members).name for _, members in groupby(by_family, key=lambda one: one.builder.partition(":")[0])}


SMALLEST = smallest_of_each_family()


def each(names: list[str]) -> list[object]:
    """Return `names` as parameters of a test: all but the smallest of each family are slow."""
    return [pytest.param(name, marks=[] if name in SMALLEST else [pytest.mark.slow]) for name in names]


def pass_size(name: str) -> tuple[int, int]:
    """Return a small (height, width) that the network can take."""
    entry = CATALOG[name]
    if max(entry.native_input[1:]) <= PASS_SIDE:
        return entry.native_input[1:]
    return (max(PASS_SIDE, entry.smallest),) * 2


def batch(count: int, channels: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return `network` with every weight and every moving mean and variance drawn anew, as after a training.

    Weights keep the scale of He's initialisation, so that signals neither die nor explode on their way.
    """
    chance = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            drawn = 0.75 + 0.5 * torch.rand(tensor.shape, generator=chance)
        elif tensor.ndim == 1:
            drawn = 0.1 * torch.randn(tensor.shape, generator=chance)
        else:
            inputs = tensor[0].numel()
            drawn = torch.randn(tensor.shape, generator=chance) * (2 / inputs) ** 0.5
        tensor.copy_(drawn)
    return network


def on_meta(name: str, *, classes: int | None = None, channels: int | None = None, side: int | None = None) -> Network:
    """Return the network without weights, at once."""
    with torch.device("meta"):
        size = None if side is None else (side, side)
        return create_model(name, classes=classes, channels=channels, size=size)


def total_loss(answer: torch.Tensor | Heads, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of an answer in training mode, as the training loop sums it."""
    heads = answer if isinstance(answer, Heads) else Heads(answer)
    losses = [nn.functional.cross_entropy(one, labels) for one in (heads.logits, *heads.auxiliary)]
    return losses[0] + heads.weight * sum(losses[1:])
