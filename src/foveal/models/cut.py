"""A network cut in two: a trunk that stays as it is, and a head that learns on the trunk's activations.

Whatever the architecture, ``head(trunk(x)) == network(x)`` in eval mode, and both are made of the network's own
layers: what the head learns, the network knows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from foveal.errors import UsageError
from foveal.models.blocks.inception import Trunk
from foveal.models.network import Network

Steps = list[tuple[str, nn.Module]]


@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two parts. `head_names` are the names that the head's parameters have in the network."""

    step: int  # of `steps`, with which the head begins
    place: str  # name of that module
    trunk: nn.Module  # images (B, C, H, W) → activations (B, …)
    head: nn.Module  # activations (B, …) → logits (B, classes)
    head_names: frozenset[str]


def steps(network: nn.Module) -> Steps:
    """Return the modules that run one after another from images to logits, each with its name in `network`.

    Plain sequences are opened; auxiliary heads, which serve training only, are left out. A module that is no
    sequence is one step.
    """
    found: Steps = []

    def open_(name: str, module: nn.Module) -> None:
        if type(module).forward not in (nn.Sequential.forward, Trunk.forward):
            found.append((name, module))
            return
        hidden = module.auxiliary if isinstance(module, Network) else ()
        for child, inner in module.named_children():
            if child not in hidden:
                open_(f"{name}.{child}" if name else child, inner)

    open_("", network)
    return found


def cut_before_head(network: Network, fresh: Collection[str] = ()) -> Cut:
    """Return `network` cut behind its last layer whose weights are kept, and the pooling and flattening after it.

    `fresh` names the parameters that are new; without any, those of the last layer are. A dropout before the new
    layers belongs to the head, so that it drops. Raises UsageError for a network that is no sequence of layers.
    """
    found = steps(network)
    if len(found) == 1:
        raise UsageError("This network is one whole and cannot be cut before its head; train it with --transfer full.")
    owned = [_own_names(step) for step in found]
    weighted = [at for at, names in enumerate(owned) if names]
    first = next((at for at in weighted if owned[at] & set(fresh)), weighted[-1])
    kept = max((at for at in weighted if at < first), default=-1)
    undropped = [at for at in range(kept + 1, first) if not isinstance(found[at][1], nn.modules.dropout._DropoutNd)]
    return cut_before(network, (undropped[-1] if undropped else kept) + 1)


def cut_below(network: Network, learning: Collection[str]) -> Cut:
    """Return `network` cut before the first step that has a parameter among those called `learning`."""
    return cut_before(network, next(at for at, step in enumerate(steps(network)) if _own_names(step) & set(learning)))


def cut_before(network: Network, step: int) -> Cut:
    """Return `network` cut before `step` of its `steps`; everything from there on is the head."""
    found = steps(network)
    trunk, head = (nn.Sequential(*(module for _, module in part)) for part in (found[:step], found[step:]))
    names = frozenset(name for one in found[step:] for name in _own_names(one))
    return Cut(step, found[step][0], trunk, head, names)


def _own_names(step: tuple[str, nn.Module]) -> set[str]:
    name, module = step
    return {f"{name}.{inner}" for inner, _ in module.named_parameters()}


def answering_layer(network: nn.Module) -> nn.Module:
    """Return the layer that makes the logits: the last dense or convolutional one, or the last with parameters.

    What enters it are the features by which the network tells the classes apart.
    """
    weighted = [module for _, module in steps(network) if next(module.parameters(), None) is not None]
    if not weighted:
        return network
    inner = [module for module in weighted[-1].modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return inner[-1] if inner else weighted[-1]
