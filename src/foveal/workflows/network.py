"""The network of a recipe is built; one that cannot be is refused before the long work."""

from __future__ import annotations

from typing import Any

import torch

from foveal.errors import UsageError
from foveal.models.anatomy.without_values import without_values
from foveal.models.architecture import HEAD
from foveal.models.catalog import create_model
from foveal.models.network import Network
from foveal.training.recipe import Recipe

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)


def build(recipe: Recipe, classes: int, channels: int, size: tuple[int, int] | None) -> Network:
    """Return a new network by `recipe`, for images of `channels` and `size`."""
    return create_model(recipe.model, classes=classes, channels=channels, size=size, options=network_options(recipe))


def network_options(recipe: Recipe) -> dict[str, Any]:
    """Return the options of the network, its head by name among them."""
    return {**recipe.model_options, **({HEAD: recipe.head} if recipe.head else {})}


def refuse_unbuildable(recipe: Recipe, classes: int, channels: int, size: tuple[int, int] | None) -> None:
    """Build the network once without weights, so that a wrong option or size is said before the long work."""
    with torch.random.fork_rng(devices=[]), without_values():
        network = build(recipe, classes, channels, size)
    if recipe.batch_size == 1 and any(isinstance(one, BATCH_NORMS) for one in network.modules()):
        raise UsageError("Batch normalisation cannot learn from one image at a time: use --batch-size 2 or more.")
