"""From a classifier's images to maps: one network's own, or the mean over those that answer together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from foveal.classifier import Classifier
from foveal.classifier.ensemble import Ensemble
from foveal.errors import ClassifierError
from foveal.explanation.methods import Found, Method, Question, Settings, Subject, enlarged
from foveal.explanation.subject import answering, device_of, subjects_of
from foveal.explanation.target import Target

Told = Callable[[int], None]  # the number of images that a network was just asked about


@dataclass(frozen=True)
class Wanted:
    """What is to be explained of every image, and how."""

    methods: tuple[Method, ...]
    classes: tuple[int | None, ...] = (None,)  # None: the class that is answered
    against: int | None = None
    settings: Settings = field(default_factory=Settings)
    judged: bool = True  # whether each map is measured, see `judging.py`

    def target(self, classes: Sequence[int]) -> Target:
        """Return what is explained of images whose classes are these."""
        against = None if self.against is None else torch.full((len(classes),), self.against)
        return Target(torch.tensor(classes), against)


@dataclass(frozen=True, eq=False)
class Mapped:
    """What a method gave for a batch, and its maps (B, H, W) float32 at the size of the images."""

    found: Found
    maps: np.ndarray


def normalised(classifier: Classifier, pixels: np.ndarray) -> Tensor:
    """Return uint8 `pixels` (B, H, W, C) as the network takes them (B, C, H, W), where it is."""
    return classifier.preprocess.normalise(torch.as_tensor(pixels).to(device_of(classifier)))


def maps_of(
    classifier: Classifier,
    pixels: np.ndarray,
    classes: Sequence[int],
    wanted: Wanted,
    method: Method,
    *,
    told: Told = lambda _: None,
) -> Mapped:
    """Return what `method` finds in uint8 `pixels` (B, H, W, C) for their `classes`.

    Of an ensemble whose inside is asked: the mean of its members' maps, each divided by its largest magnitude.
    Raises UsageError where the method does not suit the network, ClassifierError for maps that are no numbers.
    """
    target = wanted.target(classes)
    if method.needs == "answers" or not isinstance(classifier, Ensemble):
        found = _found(answering(classifier), classifier, pixels, target, wanted.settings, method, told)
    else:
        each = [
            _found(subject, member, pixels, target, wanted.settings, method, told)
            for subject, member in zip(subjects_of(classifier), classifier.members, strict=True)
        ]
        mean = torch.stack([_scaled(one.maps) for one in each]).mean(dim=0)
        found = Found(mean, each[0].place, {**each[0].parameters, "members": len(each)})
    height, width = pixels.shape[1:3]
    whole: np.ndarray = enlarged(found.maps, height, width).numpy()
    if not np.isfinite(whole).all():
        raise ClassifierError(f"{method.title} gives values that are no numbers; the weights are out of range.")
    return Mapped(found, whole)


def _found(
    subject: Subject,
    classifier: Classifier,
    pixels: np.ndarray,
    target: Target,
    settings: Settings,
    method: Method,
    told: Told,
) -> Found:
    found = method.run(Question(subject, normalised(classifier, pixels), target, settings, told))
    return Found(found.maps.detach().float().cpu(), found.place, found.parameters)


def _scaled(maps: Tensor) -> Tensor:
    largest = maps.abs().amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest.clamp(min=torch.finfo(maps.dtype).tiny), 0.0)
