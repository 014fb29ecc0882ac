"""The catalog of published weights, and how one is found in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from foveal.errors import UsageError, nearest
from foveal.models.catalog import find
from foveal.models.weights.package_files import PACKAGES
from foveal.models.weights.record import PretrainedWeights
from foveal.models.weights.timm_files import TIMM
from foveal.models.weights.torchvision_files import TORCHVISION

DEFAULT = "default"


def _unique(entries: tuple[PretrainedWeights, ...]) -> Mapping[str, PretrainedWeights]:
    names = [one.name for one in entries]
    if len(set(names)) != len(names):
        raise ValueError(f"two weight files share a name: {sorted({one for one in names if names.count(one) > 1})}")
    return {one.name: one for one in entries}


PUBLISHED = _unique((*TORCHVISION, *PACKAGES, *TIMM))


def published_for(model: str) -> tuple[PretrainedWeights, ...]:
    """Return the published files of one architecture, the default first."""
    return tuple(sorted((one for one in PUBLISHED.values() if one.model == model), key=lambda one: not one.default))


def pretrained(name: str, tag: str | None = None) -> PretrainedWeights:
    """Return the facts of published weights, or of weights that were added by hand.

    Args:
        name: an architecture of `foveal models`, or ``resnet50.imagenet1k_v2`` as `foveal weights list` prints it.
        tag: which weights of that architecture; None or "default": torchvision's best.

    Raises:
        UsageError: for an unknown architecture, one without weights, or an unknown tag, with the tags there are.
    """
    model, _, after = name.partition(".")
    entry = find(model or name)
    tag = tag or after or DEFAULT
    known = published_for(entry.name)
    if tag == DEFAULT and known:
        return known[0]
    wanted = tag.lower().replace("-", "_")
    for one in known:
        if one.tag == wanted:
            return one
    from foveal.models.weights.cache import added_by_hand, all_by_hand

    if tag != DEFAULT and (own := added_by_hand(entry.name, wanted)):
        return own
    if not known:
        raise UsageError(
            f"There are no published weights for {entry.name}; `foveal weights list` shows which there are."
        )
    tags = [one.tag for one in known] + [one.tag for one in all_by_hand() if one.model == entry.name]
    raise UsageError(
        f'There are no weights "{tag}" for {entry.name}.{nearest(wanted, tags)} There are: {", ".join(tags)}.'
    )


def known_by(sha256: str) -> PretrainedWeights | None:
    """Return the weights whose file has this SHA-256, as far as that was published; None for an unlisted file."""
    for one in PUBLISHED.values():
        if one.sha256 and sha256.startswith(one.sha256):
            return one
    return None


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet-1k's 1000 classes in the order of their synsets, 0 tench to 999 toilet tissue.

    torchvision's names, which set apart the bird and the machine called crane, and the two maillots; the dog is
    called "Cardigan Welsh corgi" here, so that no two names differ in their capitals alone.
    """
    return tuple((files("foveal.models.weights") / "imagenet1k.txt").read_text("utf-8").split("\n")[:1000])
