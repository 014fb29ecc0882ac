"""The auxiliary heads of a network: modules that serve training only, and where they hang."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from torch import nn

from foveal.models.anatomy.trace import Trace


@dataclass(frozen=True)
class AuxiliaryHead:
    """A module that a pass outside training does not use.

    `after` is the number of nodes of the trace behind which it hangs, as far as the order of the modules tells.
    """

    name: str
    type: str
    parameters: int
    after: int


def auxiliary_parameters(network: nn.Module, traced: Trace) -> set[str]:
    """Return the names of the parameters that serve training only.

    They are those of the modules that the network names; of one that names neither these nor stages, those that the
    pass did not use.
    """
    modules: Sequence[str] = getattr(network, "auxiliary", ())
    if modules or hasattr(network, "stages"):
        return {name for name, _ in network.named_parameters() if is_below(name, modules)}
    return {name for name, _ in network.named_parameters() if name not in traced.used}


def auxiliary_heads(network: nn.Module, auxiliary: AbstractSet[str], traced: Trace) -> tuple[AuxiliaryHead, ...]:
    """Return the outermost modules whose parameters are all `auxiliary`, in the order of the modules."""
    found: list[AuxiliaryHead] = []
    after = 0
    for name, module in network.named_modules() if auxiliary else ():
        own = {f"{name}.{key}" if name else key: one.numel() for key, one in module.named_parameters()}
        if own and own.keys() <= auxiliary:
            if not is_below(name, [one.name for one in found]):
                found.append(AuxiliaryHead(name, type(module).__name__, sum(own.values()), after))
        elif not module._modules:
            after = traced.ends.get(name, after)
    return tuple(found)


def is_below(name: str, modules: Sequence[str]) -> bool:
    """Whether what is called `name` lies inside one of `modules`."""
    return any(name.startswith(f"{module}.") for module in modules)
