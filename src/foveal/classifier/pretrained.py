"""A classifier made of published weights: 1000 classes of ImageNet, and the preprocessing that goes with them."""

from __future__ import annotations

from typing import Any

import torch

from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.network import Network
from foveal.models.weights.adapting import COLOURS, load_into, options_for
from foveal.models.weights.fetching import fetch
from foveal.models.weights.published import imagenet_classes, pretrained
from foveal.models.weights.record import PretrainedWeights
from foveal.preprocess import Preprocess
from foveal.progress import Progress


def published_parts(
    name: str, tag: str | None, progress: Progress
) -> tuple[PretrainedWeights, Network, dict[str, Any], Preprocess, dict[str, Any]]:
    """Return the facts, the loaded network, its options, its preprocessing and its provenance."""
    weights = pretrained(name, tag)
    if not weights.head:
        raise UsageError(f"{weights.name} has no layers that answer with classes; use it to train from.")
    kept = fetch(weights, progress)
    classes, options, seen = len(imagenet_classes()), options_for(weights, COLOURS, {}), weights.preprocess()
    with torch.random.fork_rng(devices=[]):
        network = create_model(
            weights.model, classes=classes, channels=COLOURS, size=(seen.height, seen.width), options=options
        )
    load_into(network, weights, classes=classes, channels=COLOURS)
    provenance = {
        "weights": weights.name,
        "file": kept.file,
        "file_sha256": kept.file_sha256,
        "sha256": kept.sha256,  # of the weights as converted and loaded
        "source": kept.source,
        "origin": kept.origin,
        "caveat": kept.caveat,
        "published_at": list(weights.urls),
        "licence": weights.licence,
        "published_accuracy": {"top1": weights.top1, "top5": weights.top5, "protocol": weights.protocol},
        "note": weights.note,
    }
    return weights, network, options, seen, provenance
