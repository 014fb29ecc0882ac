"""Published weights put into a network: for other classes, and for grey images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from foveal.errors import ClassifierError, UsageError
from foveal.models.catalog import checked_options, create_model, find
from foveal.models.heads import PREFIX
from foveal.models.network import Network
from foveal.models.weights import cache
from foveal.models.weights.fetching import fetch
from foveal.models.weights.published import pretrained
from foveal.models.weights.record import PretrainedWeights
from foveal.progress import Progress

COLOURS = 3
MAY_DIFFER = ("auxiliary",)  # an option of the network that its weights do not depend on


@dataclass(frozen=True)
class Adapted:
    """What of a network did not come out of the file, but is new."""

    fresh: tuple[str, ...]  # parameters
    grey: bool  # whether the first convolution is the sum over the colours


def options_for(weights: PretrainedWeights, channels: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` of a network for images of `channels` together with what `weights` need.

    Networks that undo ImageNet's normalisation (`transform_input`) do so for three colours; for grey images the
    preprocessing gives what they then see, which is the same. UsageError where `options` contradict the weights.
    """
    needed = dict(weights.options)
    if channels != COLOURS and needed.pop("transform_input", False):
        needed["transform_input"] = False
    for name, value in options.items():
        if needed.get(name, value) != value and name not in MAY_DIFFER:
            raise UsageError(f"The weights {weights.name} need {name}={needed[name]}, not {value}; leave it out.")
    return {**needed, **options}


def load_into(network: Network, weights: PretrainedWeights, *, classes: int, channels: int) -> Adapted:
    """Load `weights` into `network`, which was built by `options_for`; say what stays as it was initialised.

    * Another number of classes: the layer that answers with classes is new, its weights N(0, 0.01²), its biases zero,
      whatever the architecture does: large answers at random would first of all spoil what was learned below.
      For 1000 classes it is the file's. A head by name (`heads`) is new as a whole, and stays as it was drawn.
    * Grey images: the kernels of the first convolution are summed over red, green and blue. On a grey image this is
      exactly what the colour network computes when all three channels are that image (with one mean and deviation).
    * Auxiliary heads that the network has not are left out; a file that lacks them where it has some is refused.

    Raises UsageError for other channels than 1 and 3, ClassifierError for weights that do not fit.
    """
    if channels not in (1, COLOURS):
        raise UsageError(f"Pretrained weights are for colour (3) or grey (1) images, not for {channels} channels.")
    tensors = cache.load(weights)
    heads = tuple(f"{name}." for name in network.auxiliary)
    state, fresh, grey = {}, [], False
    for name, own in network.state_dict().items():
        theirs = tensors.get(name)
        if name.startswith(PREFIX) and theirs is None:
            fresh.append(name)
            continue
        if theirs is None:
            if name.startswith(heads):
                raise UsageError(f"The weights {weights.name} have no auxiliary heads; leave the option auxiliary out.")
            raise ClassifierError(f"The weights {weights.name} do not fit {weights.model}: they lack {name}.")
        if _is_head(own, theirs, classes) or not (weights.head or name.startswith("features.")):
            fresh.append(name)
            continue
        if channels == 1 and theirs.ndim == 4 and theirs.shape[1] == COLOURS and own.shape[1] == 1:
            theirs, grey = in_grey(theirs), True
        if theirs.shape != own.shape:
            shapes = f"{tuple(theirs.shape)}, not {tuple(own.shape)}"
            raise ClassifierError(f"The weights {weights.name} do not fit this network: {name} is {shapes}.")
        state[name] = theirs
    network.load_state_dict(state, strict=False)
    if weights.head:
        for name, parameter in network.named_parameters():
            if name in fresh and not name.startswith(PREFIX):
                nn.init.normal_(parameter, std=0.01) if parameter.ndim > 1 else nn.init.zeros_(parameter)
    return Adapted(tuple(fresh), grey)


def _is_head(own: Tensor, theirs: Tensor, classes: int) -> bool:
    """Whether a tensor answers with classes, and with another number of them."""
    return own.shape[:1] == (classes,) and own.shape[:1] != theirs.shape[:1] and own.shape[1:] == theirs.shape[1:]


def in_grey(kernels: Tensor) -> Tensor:
    """Return kernels (outputs, 3, H, W) for one grey channel: (outputs, 1, H, W), their sum over the colours."""
    return kernels.sum(dim=1, keepdim=True)


def create_pretrained(
    name: str,
    tag: str | None,
    *,
    classes: int | None,
    channels: int | None,
    size: tuple[int, int] | None,
    options: Mapping[str, Any],
) -> Network:
    """Return what `create_model` returns for a name with published weights; by default of their size."""
    weights = pretrained(name, tag)
    fetch(weights, Progress())
    entry = find(name)
    classes = entry.native_classes if classes is None else classes
    channels = COLOURS if channels is None else channels
    chosen = options_for(weights, channels, checked_options(entry, options))
    network = create_model(
        name, classes=classes, channels=channels, size=size or (weights.size, weights.size), options=chosen
    )
    load_into(network, weights, classes=classes, channels=channels)
    return network
