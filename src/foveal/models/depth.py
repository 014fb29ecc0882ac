"""The depth of a network's parameters: in which stage each lies, and which are the last ones."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from foveal.errors import UsageError
from foveal.models.network import Network


def by_stage(network: Network) -> list[tuple[str, tuple[str, ...]]]:
    """Return the stages of `network` from images to logits, each with the names of its parameters.

    A parameter belongs to the first stage that ends at it or after it. Parameters of auxiliary heads, which hang
    beside the stages, are left out; stages without parameters too.
    """
    modules = [name for name, _ in network.named_modules()]
    ends = {
        stage: max(at for at, name in enumerate(modules) if name == place or name.startswith(f"{place}."))
        for stage, place in network.stages.items()
    }
    hidden = tuple(f"{name}." for name in network.auxiliary)
    groups: dict[str, list[str]] = {stage: [] for stage in sorted(ends, key=lambda one: ends[one])}
    if not groups:
        groups = {"all": []}
    last = next(reversed(groups))
    for name, _ in network.named_parameters():
        if hidden and name.startswith(hidden):
            continue
        owner = modules.index(name.rpartition(".")[0])
        groups[next((stage for stage in groups if ends.get(stage, owner) >= owner), last)].append(name)
    return [(stage, tuple(names)) for stage, names in groups.items() if names]


def last_block(network: Network, head: Collection[str]) -> tuple[str, frozenset[str]]:
    """Return the last stage that convolves over more than single pixels, and its parameters and all after them.

    `head` names the parameters that are new: they belong to it in any case.
    """
    stages = by_stage(network)
    wide = {
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
    }
    fitting = [at for at, (_, names) in enumerate(stages) if wide & (set(names) - set(head))]
    if not fitting:
        raise UsageError("This network has no block of convolutions below its head that could be unfrozen.")
    names = frozenset(name for _, group in stages[fitting[-1] :] for name in group)
    return stages[fitting[-1]][0], names | frozenset(head)


def last_layers(network: Network, count: int, head: Collection[str]) -> frozenset[str]:
    """Return the names of the parameters of the last `count` layers below the head, and those of the `head`.

    A layer is a convolution or a dense layer, with the normalisation that follows it.
    """
    layers: list[list[str]] = []
    hidden = tuple(f"{name}." for name in network.auxiliary)
    for name, parameter in network.named_parameters():
        if name in head or (hidden and name.startswith(hidden)):
            continue
        if parameter.ndim > 1 or not layers:
            layers.append([])
        layers[-1].append(name)
    if count > len(layers):
        raise UsageError(f"This network has {len(layers)} layers below its head; {count} cannot be unfrozen.")
    return frozenset(head).union(*layers[len(layers) - count :])


def decaying_shares(network: Network, names: Collection[str], decay: float) -> dict[str, float]:
    """Return for each parameter of `names` its share of the learning rate: 1 in the last stage, `decay` times the
    share of the stage above in each one below it.
    """
    shares: dict[str, float] = {}
    share = 1.0
    for _, group in reversed(by_stage(network)):
        learning = [name for name in group if name in names]
        shares |= dict.fromkeys(learning, share)
        if learning:
            share *= decay
    return {name: shares.get(name, 1.0) for name in names}
