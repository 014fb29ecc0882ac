"""A convolution and the non-linearity behind it, found in the network's trace."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from foveal.errors import UsageError
from foveal.explanation.filters import convolutions, listed_briefly
from foveal.explanation.stages import module_of
from foveal.models.anatomy import inspect_network
from foveal.models.anatomy.receptive_field import CONVOLUTIONS
from foveal.models.anatomy.trace import Node, Trace

ACTIVATIONS = frozenset((
    "relu", "relu6", "leakyrelu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "swish", "mish", "softplus",
    "tanh", "sigmoid", "hardtanh", "hardsigmoid", "hardswish", "softsign", "softshrink", "hardshrink", "tanhshrink",
    "logsigmoid", "threshold", "squash",
))  # fmt: skip
# What may lie between a convolution and its non-linearity, beside norms and pools.
BETWEEN = frozenset(("add", "identity", "dropout", "dropout2d", "stochasticdepth"))


@dataclass(frozen=True)
class Rectified:
    """A convolution and what its maps pass up to the non-linearity that follows.

    Where none follows, `after` is None and `next_layer` says what does: ``Conv2d``, ``concat``, or the output.
    """

    convolution: Node
    between: tuple[Node, ...]  # norms, a sum with a shortcut, a pool
    after: Node | None
    next_layer: str = ""

    @property
    def before(self) -> Node:
        """The layer whose maps enter the non-linearity."""
        return (self.convolution, *self.between)[-1]

    @property
    def activation(self) -> str:
        """The non-linearity's name in small letters: ``relu``."""
        return "" if self.after is None else self.after.type.lower()


def find_rectified(network: nn.Module, stage: str | None, image: tuple[int, int, int]) -> Rectified:
    """Return the convolution of `stage`, for images (C, H, W), and the non-linearity that follows it.

    `stage` is a stage's name of the paper, or a module's. The convolution is the module itself, the last one inside
    the module, or the one whose norm or activation the module is. None is the first convolution.

    Raises:
        UsageError: for a stage or module that there is not, or that has no convolution, with those that have.
    """
    trace = inspect_network(network, *image).trace
    modules = convolutions(network)
    found = [_followed(trace, node) for node in trace.nodes if node.name in modules or _is_function(node)]
    if not found:
        raise UsageError(f"This network ({type(network).__name__}) has no convolution, so it has no maps to show.")
    if stage is None:
        return found[0]
    module = module_of(network, stage)
    inside = [one for one in found if _lies_in(one.convolution, module)]
    beside = [one for one in found if any(part and part.name == module for part in (*one.between, one.after))]
    if not inside and not beside:
        names = listed_briefly(one.convolution.name for one in found)
        raise UsageError(f'"{stage}" has no convolution; choose {names}.')
    return (inside or beside)[-1]


def _is_function(node: Node) -> bool:
    """Whether it is a convolution called as a function."""
    return not node.is_module and node.type in CONVOLUTIONS and node.window is not None


def _lies_in(node: Node, module: str) -> bool:
    return node.name == module or any(f"{one}.".startswith(f"{module}.") for one in (node.name, node.owner))


def _followed(trace: Trace, convolution: Node) -> Rectified:
    """Follow the maps of `convolution` for as long as nothing but norms, sums and pools is made of them."""
    between: list[Node] = []
    while True:
        at = (convolution, *between)[-1]
        users = [one for one in trace.nodes if at.index in one.inputs]
        kinds = {one.index: _kind(one) for one in users}
        # Where several layers take the map, as before a shortcut, the norm or activation alone is the way on.
        ways = users if len(users) == 1 else [one for one in users if kinds[one.index] in ("norm", "activation")]
        gated = len(users) > 1 and any(one.type == "multiply" for one in users)  # x · sigmoid(x) in two functions
        if len(ways) != 1 or gated or not kinds[ways[0].index] or not _keeps_maps(at, ways[0]):
            return Rectified(convolution, tuple(between), None, ", ".join(one.type for one in users) or "the output")
        if kinds[ways[0].index] == "activation":
            return Rectified(convolution, tuple(between), ways[0])
        between.append(ways[0])


def _kind(node: Node) -> str:
    kind = node.type.lower().replace("_", "")
    if kind in ACTIVATIONS:
        return "activation"
    if "norm" in kind:
        return "norm"
    return "between" if kind in BETWEEN or ("pool" in kind and node.window is not None) else ""


def _keeps_maps(before: Node, after: Node) -> bool:
    """Whether both give as many maps, of the same size or pooled."""
    return len(after.shape) == 3 and after.shape[0] == before.shape[0]
