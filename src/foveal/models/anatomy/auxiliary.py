"""The auxiliary heads of a network: modules that serve training only, and where they hang."""

from __future__ import annotations

from collections.abc import Sequence
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


def auxiliary_heads(network: nn.Module, traced: Trace) -> tuple[AuxiliaryHead, ...]:
    """Return the heads in the order of the modules.

    They are those that the network names; of one that names neither these nor stages, the outermost modules none of
    whose parameters the pass used.
    """
    named: Sequence[str] = getattr(network, "auxiliary", ())
    told = bool(named) or hasattr(network, "stages")
    found: list[AuxiliaryHead] = []
    after = 0
    for name, module in network.named_modules():
        parameters = {f"{name}.{key}" if name else key: one.numel() for key, one in module.named_parameters()}
        unused = bool(parameters) and not parameters.keys() & traced.used
        if name in named if told else unused and not any(name.startswith(f"{one.name}.") for one in found):
            found.append(AuxiliaryHead(name, type(module).__name__, sum(parameters.values()), after))
        elif not module._modules:
            after = traced.ends.get(name, after)
    return tuple(found)
