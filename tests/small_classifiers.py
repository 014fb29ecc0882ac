"""Classifiers small enough to make in a moment."""

from __future__ import annotations

import torch

from foveal.classifier import Classifier
from foveal.models.catalog import create_model
from foveal.preprocess import Preprocess


def make_classifier(channels: int = 1, model: str = "simple_cnn", seed: int = 0) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model(model, classes=3, channels=channels, size=(20, 18))
        for _ in range(3):
            network(torch.randn(8, channels, 20, 18))  # batch normalisation's running figures
    network.eval()
    mean, std = (0.4, 0.5, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels]
    preprocess = Preprocess(channels, 20, 18, 16, 16, "letterbox", mean, std)
    return Classifier(network, model, {}, ("apple", "lime", "plum"), preprocess, {"dataset": "fruit"})
