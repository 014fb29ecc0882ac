"""Pretrained weights: which there are, where they come from, what they expect, and how they enter a network."""

from foveal.models.weights.published import pretrained
from foveal.models.weights.record import PretrainedWeights

__all__ = ["PretrainedWeights", "pretrained"]
