"""The stages of a transfer, from features to the whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from foveal.classifier.answers import Raw
from foveal.classifier.inference import logits_and_features, probabilities
from foveal.engines.trunk import TorchTrunk, engine_version
from foveal.features import GIB, Features
from foveal.models.cut import Cut, cut_before, cut_below
from foveal.models.network import Network
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.history import EpochRow
from foveal.training.loop import Fit, fit_stages
from foveal.training.recipe import Recipe
from foveal.training.stage import TrainingData, TrainingStage, as_it_is
from foveal.training.transfer import head_recipe, second_stage
from foveal.workflows.prepare import Prepared
from foveal.workflows.start_weights import load_start
from foveal.workflows.started import Started


@dataclass(frozen=True, eq=False)
class Transferred:
    """A trained network, and what its stages learned from."""

    network: Network
    fit: Fit
    below: tuple[tuple[Cut, Features] | None, ...]  # of each stage: the features that it learned from, if any

    @property
    def best_below(self) -> tuple[Cut, Features] | None:
        """What the stage of the best epoch learned from; None where that was the images themselves."""
        return self.below[self.fit.best_stage]


def transfer(
    prepared: Prepared,
    started: Started,
    recipe: Recipe,
    run: Run,
    progress: Progress,
    tell: Callable[[Sequence[EpochRow]], None],
) -> Transferred:
    """Train the new head of a pretrained network on its features, then, where the recipe says so, more of it.

    The network is left with the weights of the epoch whose validation loss was the lowest of all.
    """
    network = started.network
    below: list[tuple[Cut, Features] | None] = [(started.cut, started.features)]

    def head_data() -> TrainingData:
        return _with_views(prepared, started, recipe)

    stages = [TrainingStage("head", started.cut.head, head_data, as_it_is, head_recipe(recipe), quick=True)]
    if recipe.is_two_staged:
        name, shares = second_stage(network, recipe, started.cut.head_names)
        stage, kept = _second(name, shares, prepared, started, recipe)
        stages.append(stage)
        below.append(kept)

    def start_anew() -> None:
        load_start(network, recipe, len(prepared.dataset.classes), prepared.preprocess.channels, Progress(silent=True))

    fit = fit_stages(stages, run, progress, tell, start_anew)
    network.to(torch.device(recipe.device)).eval()
    return Transferred(network, fit, tuple(below))


def _second(
    name: str, shares: Mapping[str, float], prepared: Prepared, started: Started, recipe: Recipe
) -> tuple[TrainingStage, tuple[Cut, Features] | None]:
    """Return the second stage, and what it learns from where much of the network stays frozen below it.

    The activations there are computed once, too, unless they would take more than the memory that is allowed.
    """
    cut, count = cut_below(started.network, shares), len(prepared.dataset)
    varied = recipe.augmentation.changes_images or recipe.augmentation.mixes_images  # anew in every epoch
    if cut.step == 0 or varied or count * _bytes(cut, prepared.preprocess) > recipe.memory_gib * GIB:
        normalise = prepared.preprocess.normalise
        return TrainingStage(name, started.network, prepared.training_data, normalise, recipe, shares), None
    features = started.source.extract(cut, started.engine, prepared.dataset, np.arange(count))
    by_parameter = {id(one): shares[key] for key, one in started.network.named_parameters() if key in shares}
    own = {key: by_parameter[id(one)] for key, one in cut.head.named_parameters() if id(one) in by_parameter}
    data = prepared.training_data_of(features.values)
    return TrainingStage(name, cut.head, lambda: data, as_it_is, recipe, own), (cut, features)


def _with_views(prepared: Prepared, started: Started, recipe: Recipe) -> TrainingData:
    """Return what the head learns from: the features, or, with augmentation, those of a few views of each image."""
    plain = started.features.values
    if not recipe.augmentation.changes_images:
        return prepared.training_data_of(plain)
    views, count = recipe.feature_views, len(plain)
    rows = prepared.split.indices("train")
    together = np.zeros((views + 1, *plain.shape), np.float32)
    together[0] = plain
    for view in range(1, views + 1):
        features = started.source.extract(started.cut, started.engine, prepared.dataset, rows, view)
        together[view][rows] = features.values
    data = prepared.training_data_of(together.reshape((views + 1) * count, *plain.shape[1:]))
    return replace(data, views=views + 1)


def _bytes(cut: Cut, preprocess: Preprocess) -> int:
    """Return how many bytes the activations of one image take."""
    shape = (preprocess.channels, preprocess.height, preprocess.width)
    return TorchTrunk(cut.trunk, next(cut.trunk.parameters()).device)(np.zeros((1, *shape), np.float32)).nbytes


def raw_answers(network: Network, transferred: Transferred, rows: np.ndarray) -> Raw | None:
    """Return what `network`, made of what was `transferred`, says of the images at `rows`, by their features.

    None where its best stage learned from the images themselves.
    """
    if transferred.best_below is None:
        return None
    cut, features = transferred.best_below
    head = cut_before(network, cut.step).head
    device = next(network.parameters()).device
    values, entering = logits_and_features(head, as_it_is, features.values, rows=rows, device=device)
    return Raw(probabilities(values), values.numpy(), entering)


def features_facts(engine: str) -> dict[str, Any]:
    """Return what an evaluation records where the answers came from features that `engine` had computed."""
    return {"engine": engine, "engine_version": engine_version(engine), "from_features": True}
