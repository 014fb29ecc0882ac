"""Reading a network: one of the catalog, a module from Python, or that of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foveal.classifier import Classifier
from foveal.errors import UsageError
from foveal.models.anatomy import Anatomy, inspect_network
from foveal.models.anatomy.without_values import without_values
from foveal.models.catalog import CATALOG, create_model, find
from foveal.models.foreign.entry import is_foreign
from foveal.run import Run

if TYPE_CHECKING:
    from torch import nn

MOST_CLASSES = 12  # named
SMALL = 100_000  # parameters up to which weights are drawn as always
LARGEST = 8192  # channels, or pixels a side


def inspect(
    network: str | Path | Run | Classifier | nn.Module,
    *,
    input: tuple[int, ...] | None = None,
    classes: int | None = None,
    options: Mapping[str, Any] | None = None,
    trust: str | None = None,
) -> Anatomy:
    """Return the anatomy of a network: its layers and stages, what they cost, and what they see of the image.

    A network of the catalog is built without weights, so that the largest takes no memory.

    Args:
        network: a name of `foveal models`, ``timm:NAME``, a torch.nn.Module, a `Classifier`, or the path of one or
            of a run.
        input: (channels, height, width) of the image, or (height, width); what is not given is that of the
            architecture or the classifier.
        classes: number of classes, of a name only.
        options: the architecture's own options, of a name only.
        trust: the builder that the classifier's file may run, see `Classifier.load`.

    Raises:
        UsageError: for an unknown name, an input that it cannot take (with the smallest that it can), or an option
            that does not go with what was given.
        ClassifierError: when the path is of no classifier.
    """
    if isinstance(network, str) and names_an_architecture(network):
        return _of_name(network, input, classes, options)
    if classes is not None or options:
        raise UsageError("Classes and model options are for a network that is built by its name; this one is as it is.")
    if isinstance(network, torch.nn.Module):
        return inspect_network(network, *_checked(input, _usual(network)))
    if not isinstance(network, Classifier):
        where = network.path if isinstance(network, Run) else Path(network)
        network = Classifier.load(where, device="cpu", trust=trust)
    return _of_classifier(network, input)


def names_an_architecture(text: str) -> bool:
    """Whether `text` is the name of a network that can be built, not the path of a classifier."""
    return is_foreign(text) or not _is_path(text)


def _is_path(text: str) -> bool:
    if text.lower().replace("-", "_") in CATALOG:
        return False
    return "/" in text or "\\" in text or text.startswith((".", "~")) or Path(text).exists()


def _of_name(
    name: str, input: tuple[int, ...] | None, classes: int | None, options: Mapping[str, Any] | None
) -> Anatomy:
    entry = find(name)
    channels, height, width = _checked(input, entry.native_input)

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return create_model(name, classes=classes, channels=channels, size=(height, width), options=options)

    foreign = is_foreign(name)
    try:
        with nullcontext() if foreign or entry.parameters < SMALL else without_values():
            network = build()
    except (RuntimeError, TypeError, ValueError):  # it draws first weights in a way that needs numbers
        network = build()
    title = name if foreign else f"{entry.title} ({entry.name}, {entry.year})"
    return inspect_network(network, channels, height, width, title=title)


def _of_classifier(classifier: Classifier, input: tuple[int, ...] | None) -> Anatomy:
    seen = classifier.preprocess
    own = (seen.channels, seen.height, seen.width)
    size = _checked(input, own)
    entry = find(classifier.architecture)
    try:
        anatomy = inspect_network(classifier.network, *size, title=f"{entry.title} ({entry.name}), a classifier")
    except UsageError as error:
        if size == own or size[0] != own[0]:
            raise
        asked, takes = ("×".join(map(str, one)) for one in (size, own))
        raise UsageError(f"The classifier was trained on images of {takes} and cannot take any of {asked}.") from error
    names = classifier.classes[:MOST_CLASSES]
    rest = len(classifier.classes) - len(names)
    inside, frame = f"{seen.content_height}×{seen.content_width}", f"{seen.height}×{seen.width}"
    numbers = (" ".join(f"{one:.4g}" for one in values) for values in (seen.mean, seen.std))
    facts = (
        ("classes", f"{len(classifier.classes):,}: {', '.join(names)}{f', and {rest:,} more' if rest else ''}"),
        (
            "image",
            f"{'grey' if seen.channels == 1 else 'colour'}, {inside}"
            f"{f' in a frame of {frame}' if frame != inside else ''}, fit {seen.fit}"
            f"{f' after a short side of {seen.short_side}' if seen.short_side else ''}, {seen.interpolation}",
        ),
        ("normalised by", "mean {}, deviation {}".format(*numbers)),
        ("hash", classifier.hash[:12] or "not saved yet"),
    )
    return replace(anatomy, facts=facts)


def _usual(network: nn.Module) -> tuple[int, int, int]:
    """Return the input of a module that says nothing of it: 224×224 pixels of what its first convolution takes."""
    convolutions = (one.in_channels for one in network.modules() if isinstance(one, torch.nn.Conv2d))
    return next(convolutions, 3), 224, 224


def _checked(input: tuple[int, ...] | None, usual: tuple[int, int, int]) -> tuple[int, int, int]:
    sizes = usual if input is None else tuple(input)
    if len(sizes) not in (2, 3) or not all(type(one) is int and 0 < one <= LARGEST for one in sizes):
        raise UsageError(
            f"The input is (channels, height, width) or (height, width), each from 1 to {LARGEST}, not {input!r}."
        )
    channels, height, width = sizes if len(sizes) == 3 else (usual[0], *sizes)
    return channels, height, width
