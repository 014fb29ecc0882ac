"""Transfer learning: the stages in which a pretrained network learns new classes.

======================  ==============================================================================================
`feature_extraction`    a new head learns on the frozen network; nothing else moves
`fine_tune`             … and then the last block of convolutions with it, at smaller rates
`full`                  … and then all of the network, at rates that fall from stage to stage downwards
`none`                  no stages: the whole network learns from the start
======================  ==============================================================================================

Sources: Yosinski et al., "How transferable are features in deep neural networks?", 2014 (the stages); Howard, Ruder,
"Universal language model fine-tuning", 2018 (rates that fall downwards); Kornblith, Shlens, Le, "Do better ImageNet
models transfer better?", 2019 (the fewer the images, the less fine-tuning gains over features alone).
"""

from __future__ import annotations

from collections.abc import Collection

from foveal.errors import UsageError
from foveal.models.depth import decaying_shares, last_block, last_layers
from foveal.models.network import Network
from foveal.training.recipe import Recipe

FEW, MANY = 1_000, 20_000  # images of all splits


def choose_transfer(recipe: Recipe, images: int) -> tuple[Recipe, str]:
    """Return `recipe` with its transfer said, and the reason where it was chosen here, by the number of `images`."""
    if recipe.pretrained is None or recipe.transfer is not None:
        return recipe, ""
    if recipe.unfreeze is not None:
        kind, reason = ("full" if recipe.unfreeze == "all" else "fine_tune"), f"since unfreeze is {recipe.unfreeze}"
    elif images < FEW:
        kind, reason = "feature_extraction", f"since {images:,} images are fewer than {FEW:,}, too few to move more"
    elif images < MANY:
        kind, reason = "fine_tune", f"since {images:,} images are from {FEW:,} to {MANY:,}"
    else:
        kind, reason = "full", f"since {images:,} images are {MANY:,} or more"
    if kind == "feature_extraction" and recipe.head_epochs is not None:
        kind, reason = "fine_tune", "since head_epochs speaks of a first stage"
    return recipe.changed({"transfer": kind}), reason


def head_recipe(recipe: Recipe) -> Recipe:
    """Return the resolved `recipe` as the stage that trains the head follows it."""
    if recipe.transfer == "feature_extraction":
        return recipe.changed({"epoch_images": None})
    own = {
        "epochs": recipe.head_epochs,
        "learning_rate": recipe.head_learning_rate,
        "schedule": recipe.head_schedule,
        "patience": recipe.head_patience,
        "epoch_images": None,
    }
    return recipe.changed(own)


def second_stage(network: Network, recipe: Recipe, head: Collection[str]) -> tuple[str, dict[str, float]]:
    """Return what the second stage trains, in words, and each parameter's share of the learning rate.

    `head` names the parameters that are new. Raises UsageError where so many layers are not there.
    """
    if recipe.unfreeze == "all":
        learning = frozenset(name for name, _ in network.named_parameters())
        name = "whole network"
    elif recipe.unfreeze == "last_block":
        block, learning = last_block(network, head)
        name = f"last block ({block})"
    elif isinstance(recipe.unfreeze, int):
        learning = last_layers(network, recipe.unfreeze, head)
        name = "last layer" if recipe.unfreeze == 1 else f"last {recipe.unfreeze} layers"
    else:
        raise UsageError("unfreeze says nothing; a resolved recipe names last_block, all, or a number of layers.")
    return name, decaying_shares(network, learning, recipe.layer_decay)
