"""Several answers to one image: dropout left on, augmented views of it, or the folds of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from foveal.classifier.classifier import Classifier
from foveal.classifier.ensemble import Ensemble
from foveal.data.augment.batch import augment_batch
from foveal.data.augment.draws import image_seeds
from foveal.data.augment.policy import Augment
from foveal.errors import UsageError

Kind = Literal["dropout", "augment", "folds"]
KINDS: tuple[Kind, ...] = ("dropout", "augment", "folds")
PASSES = 20
VIEWS = "rotation_deg=5,translation=0.05,brightness=0.1,contrast=0.1"  # of an image that still shows the same


def member_probabilities(
    classifier: Classifier,
    pixels: np.ndarray,
    kind: Kind,
    *,
    passes: int = PASSES,
    seed: int = 0,
    answered: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Return the calibrated probabilities (M, N, C) of `passes` answers to each of uint8 `pixels` (N, H, W, C).

    - dropout: the network with its dropout left on (Gal, Ghahramani 2016), batch norms as in prediction;
    - augment: slightly turned, moved, brightened views of each image, the image itself first;
    - folds: one answer of each member of an ensemble; `passes` is then without effect.

    `answered` is called after each. Raises UsageError where the classifier has no dropout, no members, or answers by
    another engine than torch.
    """
    if kind == "folds":
        if not isinstance(classifier, Ensemble):
            raise UsageError(
                "Only a training by folds has members that can be asked one by one; take dropout or augment."
            )
        return np.stack([_then(member.probabilities(pixels), answered) for member in classifier.members])
    if passes < 2:
        raise UsageError(f"Several answers are two or more, not {passes}.")
    if kind == "augment":
        policy, rows = Augment.parse(VIEWS), torch.arange(len(pixels))
        views = [
            augment_batch(torch.as_tensor(pixels), policy, image_seeds(seed, view, rows)) for view in range(1, passes)
        ]
        shown = (pixels, *(one.numpy() for one in views))
        return np.stack([_then(classifier.probabilities(view), answered) for view in shown])
    if classifier.runner is not None or isinstance(classifier, Ensemble):
        raise UsageError("Dropout is left on in one network by torch alone: take --engine torch, or ask for folds.")
    with torch.random.fork_rng(devices=[]), _dropping(classifier.network):
        torch.manual_seed(seed)
        return np.stack([_then(classifier.probabilities(pixels), answered) for _ in range(passes)])


def _then(probabilities: np.ndarray, answered: Callable[[], object]) -> np.ndarray:
    answered()
    return probabilities


@contextmanager
def _dropping(network: nn.Module) -> Iterator[None]:
    """Let every dropout of `network` drop for as long as the block runs, whatever mode the network is put into."""
    layers = [one for one in network.modules() if isinstance(one, nn.modules.dropout._DropoutNd) and one.p > 0]
    if not layers:
        raise UsageError("This network has no dropout to leave on; take augmented views (augment), or folds.")

    def on(layer: nn.Module, _: object) -> None:
        layer.training = True

    def off(layer: nn.Module, _: object, __: object) -> None:
        layer.training = False

    hooks = [one.register_forward_pre_hook(on) for one in layers] + [one.register_forward_hook(off) for one in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
