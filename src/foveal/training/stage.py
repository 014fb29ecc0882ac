"""A stage of a training: what learns, from what, at which rates. A plain training has one; a transfer has two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from foveal.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a network is asked and should answer: inputs with labels (N,), and which rows serve what.

    `pixels` are decoded images (N, H, W, C) uint8, or the activations (N, …) float32 of a frozen trunk. With `views`
    they are (views · N, …): so many versions of each, of which training takes one by lot and validation the first.
    """

    pixels: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    classes: int
    views: int = 1


@dataclass(frozen=True, eq=False)
class TrainingStage:
    """One stage. `network` is what is asked: the whole, or the part of it that lies above a frozen trunk."""

    name: str  # "", or what the history calls it: head, last block, …
    network: nn.Module
    data: Callable[[], TrainingData]  # asked when the stage begins
    normalise: Callable[[Tensor], Tensor]  # what the network takes of a batch of the data
    recipe: Recipe  # with this stage's epochs, learning rate, schedule and patience
    shares: Mapping[str, float] | None = None  # parameter → its share of the learning rate; None: all, at 1
    quick: bool = False  # an epoch takes less time than to write of it


def as_it_is(batch: Tensor) -> Tensor:
    """Return a batch of activations, which need no preprocessing."""
    return batch


class Frozen:
    """Freezes what does not learn in a stage, and gives it back as it was."""

    def __init__(self, network: nn.Module, learning: Mapping[str, float] | None) -> None:
        self.network = network
        names = {name for name, _ in network.named_parameters()} if learning is None else set(learning)
        self.kept = [one for name, one in network.named_parameters() if name not in names and one.requires_grad]
        self.still = [] if learning is None else _still_modules(network, names)

    def __enter__(self) -> Frozen:
        for parameter in self.kept:
            parameter.requires_grad = False
        return self

    def __exit__(self, *_: object) -> None:
        for parameter in self.kept:
            parameter.requires_grad = True

    def train_mode(self) -> None:
        """Put the network into training mode, but for what is frozen: its batch norms keep their statistics."""
        self.network.train()
        for module in self.still:
            module.eval()


def _still_modules(network: nn.Module, learning: set[str]) -> list[nn.Module]:
    """Return the modules that stay in eval mode: the outermost that hold parameters, but none that learns.

    A module without parameters (dropout, an activation) goes with the next module above it that has some.
    """
    still: list[nn.Module] = []
    covered: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if covered and f"{name}.".startswith(covered):
            continue
        own = [f"{name}.{inner}" if name else inner for inner, _ in module.named_parameters()]
        if own and not any(one in learning for one in own):
            still.append(module)
            covered += (f"{name}." if name else "",)
    return still
