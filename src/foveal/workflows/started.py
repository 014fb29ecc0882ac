"""The start of a transfer: the pretrained network, cut before its new head, and the features of every image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foveal.audit.looks import LOOKS
from foveal.classifier import image_statistics
from foveal.classifier.device import choose_device
from foveal.data.augment.batch import augment_batch
from foveal.data.augment.draws import image_seeds
from foveal.data.dataset import Dataset
from foveal.engines.kinds import TORCH
from foveal.engines.trunk import (
    CPU_BATCH,
    GPU_BATCH,
    choose_trunk_engine,
    engine_version,
    lanes_of,
    open_trunk,
    refuse_deviation,
)
from foveal.errors import ClassifierError
from foveal.features import Extractor, Features, Trunk, extract
from foveal.models.cut import Cut, cut_before_head
from foveal.models.network import Network
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.training.recipe import Recipe
from foveal.training.seeding import own_random_state
from foveal.workflows.network import build, network_options
from foveal.workflows.start_weights import load_start, starting_options

COMPARED = 3  # images of which an engine and torch are asked: another number than the trace was made with
MOST_MEASURED = 8_000  # images up to which all are measured at once: of many the gate needs but a part


@dataclass(frozen=True, eq=False)
class Started:
    """A pretrained network before its training. Row i of the features is image i of what was asked for."""

    network: Network
    cut: Cut  # before what is new
    features: Features
    engine: str  # that computed the features
    source: FeatureSource

    @property
    def embedding(self) -> str:
        """A name for what the features are: the network, and the key that they are kept under."""
        return f"{self.source.recipe.model} {self.features.key[:16]}"

    def take(self, rows: np.ndarray) -> Started:
        """Return this with the features at `rows`, in that order."""
        if len(rows) == len(self.features.seen):
            return self
        own = self.features
        return replace(self, features=replace(own, values=own.values[rows], seen=own.seen[rows], failures={}))


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """What features are made from and by, whatever the cut."""

    preprocess: Preprocess
    recipe: Recipe
    device: torch.device
    scratch: Path
    progress: Progress

    def extract(
        self,
        cut: Cut,
        engine: str,
        dataset: Dataset,
        rows: np.ndarray,
        view: int = 0,
        *,
        beside: Sequence[Extractor] = (),
    ) -> Features:
        """Return the features at `cut` of the images of `dataset` at `rows`, from the cache or computed by `engine`.

        Of the images as they are, or, from `view` 1 on, of one augmented version of each. What has to be decoded for
        it is shown to those `beside`, too.
        """
        extractor = make_extractor(self.recipe, cut, self.preprocess, engine, self.device, view)
        return self._extracted(extractor, dataset, rows, beside)

    def measure(self, dataset: Dataset, rows: np.ndarray) -> Features:
        """Return the statistics (n, K) of the images of `dataset` at `rows`, kept like features."""
        return self._extracted(self.statistics, dataset, rows)

    @property
    def statistics(self) -> Extractor:
        """What measures images."""
        facts = {"statistics": image_statistics.VERSION}
        return Extractor(
            facts, self.preprocess, lambda _: image_statistics.measure, of_pixels=True, title="measuring images"
        )

    def _extracted(
        self, extractor: Extractor, dataset: Dataset, rows: np.ndarray, beside: Sequence[Extractor] = ()
    ) -> Features:
        return extract(
            extractor,
            dataset.images,
            rows,
            dataset.scan.digests[rows],
            self.progress,
            memory_gib=self.recipe.memory_gib,
            scratch=self.scratch,
            beside=beside,
        )


def has_features(recipe: Recipe) -> bool:
    """Whether a training by `recipe` begins with a new head on a frozen network."""
    return recipe.transfer in ("feature_extraction", "fine_tune", "full")


def start(
    dataset: Dataset,
    rows: np.ndarray,
    preprocess: Preprocess,
    recipe: Recipe,
    scratch: Path,
    progress: Progress,
    *,
    announce: bool = True,
    audited: bool = False,
) -> Started:
    """Return the network by `recipe` with its pretrained weights, and the features of the images at `rows`.

    `announce` says where the weights come from, and what of the network is new. `audited`: what the whole audit looks
    at is looked at in the same pass.
    """
    device = choose_device(recipe.device)
    channels, size = preprocess.channels, (preprocess.height, preprocess.width)
    recipe = recipe.changed({"device": str(device), "model_options": starting_options(recipe, channels)})
    with own_random_state(recipe):
        network = build(recipe, len(dataset.classes), channels, size)
        fresh = load_start(
            network, recipe, len(dataset.classes), channels, progress if announce else Progress(silent=True)
        )
        cut = cut_before_head(network, fresh)
        engine = choose_trunk_engine(recipe.features_engine, device)
        source = FeatureSource(preprocess, recipe, device, scratch, progress)
        beside = [source.statistics] if recipe.false_alarms and len(rows) <= MOST_MEASURED else []
        beside += [LOOKS] if audited else []
        try:
            features = source.extract(cut, engine, dataset, rows, beside=beside)
        except ClassifierError as error:
            if engine in (TORCH, recipe.features_engine):
                raise
            progress.line(f"note: features are computed by torch: {str(error).rstrip('.')}.")
            engine = TORCH
            features = source.extract(cut, engine, dataset, rows, beside=beside)
    return Started(network, cut, features, engine, source)


def make_extractor(
    recipe: Recipe, cut: Cut, preprocess: Preprocess, engine: str, device: torch.device, view: int = 0
) -> Extractor:
    """Return what computes the features of `cut` on `engine`; it is opened when an image is not in the cache.

    From `view` 1 on an image is augmented first, by a lot of (seed, view, its file's content).
    """
    shape = (preprocess.channels, preprocess.height, preprocess.width)

    def open_(x: np.ndarray) -> Trunk:
        if device.type != "cpu":
            cut.trunk.to(device)
        opened = open_trunk(cut.trunk, engine, shape, device)
        if engine != TORCH:
            refuse_deviation(opened, cut.trunk, x[:COMPARED])
        return opened.run

    facts = {
        "model": recipe.model,
        "options": network_options(recipe),
        "place": cut.place,
        "weights": weights_digest(cut.trunk),
        "engine": f"{engine} {engine_version(engine)}",
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    batch, lanes = CPU_BATCH if device.type == "cpu" else GPU_BATCH, lanes_of(engine)
    if not view:
        return Extractor(facts, preprocess, open_, batch=batch, lanes=lanes)
    policy = recipe.augmentation

    def vary(pixels: np.ndarray, digests: np.ndarray) -> np.ndarray:
        names = torch.tensor([int(digest[:15], 16) for digest in digests.tolist()])
        seeds = image_seeds(recipe.seed, view, names)
        changed: np.ndarray = augment_batch(torch.from_numpy(pixels), policy, seeds).numpy()
        return changed

    varied = {**facts, "augment": policy.to_dict(), "view": view, "seed": recipe.seed}
    return Extractor(varied, preprocess, open_, vary, batch, lanes=lanes)


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and statistics of `module`."""
    whole = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        whole.update(f"\0{name} {tuple(tensor.shape)}\0".encode())
        whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()
