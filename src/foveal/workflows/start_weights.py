"""A training that starts from published weights: which, with what preprocessing, and how they enter the network.

Without `pretrained` in the recipe everything here does nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foveal.errors import ClassifierError
from foveal.models.network import Network
from foveal.models.weights.adapting import load_into, options_for
from foveal.models.weights.fetching import fetch
from foveal.models.weights.published import pretrained
from foveal.models.weights.record import PretrainedWeights
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.training.recipe import Recipe


def starting_weights(recipe: Recipe) -> PretrainedWeights | None:
    """Return the facts of the weights that `recipe` starts from, if it starts from any."""
    if recipe.pretrained is None:
        return None
    return pretrained(recipe.model, recipe.pretrained.partition("@")[0])


def pinned(recipe: Recipe, progress: Progress) -> Recipe:
    """Bring the weights here and return `recipe` with ``TAG@SHA256`` of them, as converted and loaded.

    Raises ClassifierError where `recipe` names another SHA-256: it would not be the same training.
    """
    weights = starting_weights(recipe)
    if weights is None or recipe.pretrained is None:
        return recipe
    kept = fetch(weights, progress)
    wanted = recipe.pretrained.partition("@")[2].lower()
    if not kept.sha256.startswith(wanted):
        raise ClassifierError(
            f"The recipe starts from {weights.name} with the SHA-256 {wanted[:12]}…, not {kept.sha256[:12]}…."
        )
    return recipe.changed({"pretrained": f"{weights.tag}@{kept.sha256}"})


def starting_options(recipe: Recipe, channels: int) -> dict[str, Any]:
    """Return the options of the network, those that the weights need among them; UsageError where they contradict."""
    weights = starting_weights(recipe)
    given = dict(recipe.model_options)
    return given if weights is None else options_for(weights, channels, given)


def starting_preprocess(weights: PretrainedWeights, recipe: Recipe, channels: int) -> Preprocess:
    """Return the weights' own preprocessing, at the recipe's size and with its fit where it says so.

    At another size the short side stays in proportion to the part that is cut out of it.
    """
    own = weights.preprocess(channels)
    height, width = recipe.size or (own.height, own.width)
    fit = recipe.fit or own.fit
    short_side = 0
    if fit == own.fit and own.short_side:
        short_side = max(height, width, max(height, width) * own.short_side // own.height)
    return replace(
        own, height=height, width=width, content_height=height, content_width=width, fit=fit, short_side=short_side
    )


def load_start(network: Network, recipe: Recipe, classes: int, channels: int, progress: Progress) -> tuple[str, ...]:
    """Load the weights that `recipe` starts from, if any; say and return what parameters of the network are new."""
    weights = starting_weights(recipe)
    if weights is None:
        return tuple(name for name, _ in network.named_parameters())
    pinned(recipe, progress)
    adapted = load_into(network, weights, classes=classes, channels=channels)
    parts = [f"new for {classes} classes: {', '.join(adapted.fresh)}"] if adapted.fresh else []
    parts += ["its first kernels summed over the colours, for grey images"] if adapted.grey else []
    progress.line(f"starting from {weights.name}{'; ' * bool(parts)}{'; '.join(parts)}")
    return adapted.fresh
