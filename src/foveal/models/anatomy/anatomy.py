"""What a network is made of: layers, named stages, and what they cost and see; `trace` follows one image through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy.auxiliary import AuxiliaryHead, auxiliary_heads, auxiliary_parameters, is_below
from foveal.models.anatomy.counting import SelfCounting
from foveal.models.anatomy.receptive_field import Sight, Window
from foveal.models.anatomy.trace import CANNOT_COPY, Node, Trace, refusal, trace

__all__ = ["Anatomy", "Layer", "SelfCounting", "Stage", "inspect_network", "layer_table"]

LARGEST_TRIED = 1024  # side in pixels up to which the smallest input that works is sought


@dataclass(frozen=True)
class Layer:
    """One layer that computes something, for one image.

    `macs` counts the multiply-adds of convolutions and dense layers, `connections` the links into the layer's
    units as LeCun et al. 1998 count them: one an input that a unit sees, and one for its bias. A layer of a kind
    that counts itself (`SelfCounting`) says both. Norms and activations are no units and count none.

    `parameters` are counted where they are first used. `activation_bytes` is what the layer writes anew: nothing
    where it works in place. `receptive_field` and `stride` (rows, columns) are those of a cell of its output, in
    pixels, and `start` is the first pixel that its first cell sees, negative where that lies in the padding; None
    behind a global pool, in a squeeze-excitation gate, and in dense layers.
    """

    name: str
    type: str
    output: str  # without the batch: "6×28×28"
    parameters: int
    macs: int
    connections: int
    activation_bytes: int = 0
    receptive_field: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    start: tuple[int, int] | None = None
    window: Window | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of classifier.json."""
        return {
            "name": self.name,
            "type": self.type,
            "output": self.output,
            "parameters": self.parameters,
            "macs": self.macs,
            "connections": self.connections,
        }


@dataclass(frozen=True)
class Stage:
    """A stretch of the network that its paper gives a name, up to the module whose output it is.

    `nodes` are its nodes in the trace. The other fields are sums over these, and `output`, `receptive_field`,
    `stride` and `start` those of the last one.
    """

    name: str
    module: str
    output: str
    parameters: int
    macs: int
    activation_bytes: int
    receptive_field: tuple[int, int] | None
    stride: tuple[int, int] | None
    start: tuple[int, int] | None
    nodes: range = field(repr=False)


@dataclass(frozen=True)
class Anatomy:
    """A network read layer by layer. `print` shows it as a table, a notebook as a drawing and a table.

    `parameters` are all; `auxiliary_parameters` those of them that serve training only: of a network that names no
    auxiliary modules, those that the pass did not use. `auxiliary` are the modules that hold no others.
    `weight_bytes` are the others with their buffers. `receptive_field` and `stride` (rows, columns) are those of a
    cell of the last map, which enters the head, in pixels, and `start` is the first pixel that its first cell sees;
    (0, 0) where there is no map. `activation_bytes` is all that one image writes.
    """

    title: str
    input: tuple[int, int, int]  # (C, H, W)
    output: str
    layers: tuple[Layer, ...] = field(repr=False)
    stages: tuple[Stage, ...] = field(repr=False)
    auxiliary: tuple[AuxiliaryHead, ...]
    parameters: int
    trainable: int
    auxiliary_parameters: int
    macs: int
    connections: int
    receptive_field: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]
    last_map: str
    weight_bytes: int
    activation_bytes: int
    facts: tuple[tuple[str, str], ...] = ()  # what else is to be said of it, e.g. a classifier's classes
    trace: Trace = field(repr=False, kw_only=True)

    def __str__(self) -> str:
        from foveal.models.anatomy.summary import lines

        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        from foveal.models.anatomy.cards import anatomy_card

        return anatomy_card(self)

    def hanging_on(self, stage: Stage) -> list[AuxiliaryHead]:
        """Return the auxiliary heads that hang on a stage's output, or on a layer inside it."""

        def place(head: AuxiliaryHead) -> Stage:
            return next((one for one in self.stages if head.after <= one.nodes.stop), self.stages[-1])

        return [one for one in self.auxiliary if place(one) is stage]

    def svg(self) -> str:
        """Return the drawing as the text of an SVG file."""
        from foveal.models.drawing.diagram import diagram

        return diagram(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the graph, ready for JSON."""
        return {
            "title": self.title,
            "input": list(self.input),
            "output": self.output,
            "parameters": self.parameters,
            "trainable_parameters": self.trainable,
            "auxiliary_parameters": self.auxiliary_parameters,
            "macs": self.macs,
            "connections": self.connections,
            "receptive_field": list(self.receptive_field),
            "receptive_field_start": list(self.start),
            "stride": list(self.stride),
            "last_map": self.last_map,
            "weight_bytes": self.weight_bytes,
            "activation_bytes": self.activation_bytes,
            "facts": dict(self.facts),
            "stages": [{"name": one.name, "module": one.module, **_numbers(one)} for one in self.stages],
            "auxiliary_heads": [{"name": one.name, "parameters": one.parameters} for one in self.auxiliary],
            "layers": [{**one.to_dict(), **_numbers(one)} for one in self.layers],
        }


def inspect_network(network: nn.Module, channels: int, height: int, width: int, *, title: str = "") -> Anatomy:
    """Return the anatomy of `network` for images (channels, height, width). The network is left as it was found.

    Any network of torch that takes images (B, C, H, W). Stages are those of `Network.stages`, of any other network
    its outermost modules. UsageError when it cannot take such an image, with the smallest that it can where the
    size is at fault.
    """
    try:
        traced = trace(network, channels, height, width)
    except CANNOT_COPY as error:
        raise UsageError(_why(network, channels, height, width, error, title)) from error
    auxiliary = auxiliary_parameters(network, traced)
    kept = [(name, one) for name, one in network.named_parameters() if name not in auxiliary]
    buffers = [one for name, one in network.named_buffers() if not is_below(name, getattr(network, "auxiliary", ()))]
    nodes, sight = traced.nodes, traced.last_map
    return Anatomy(
        title=title or type(network).__name__,
        input=(channels, height, width),
        output=_shape(traced.output),
        layers=tuple(_layer(node) for node in nodes if is_layer(node)),
        stages=_stages(network, traced),
        auxiliary=auxiliary_heads(network, auxiliary, traced),
        parameters=sum(one.numel() for one in network.parameters()),
        trainable=sum(one.numel() for one in network.parameters() if one.requires_grad),
        auxiliary_parameters=sum(one.numel() for name, one in network.named_parameters() if name in auxiliary),
        macs=sum(node.macs for node in nodes),
        connections=sum(node.connections for node in nodes),
        receptive_field=sight.field if sight else (0, 0),
        stride=sight.stride if sight else (0, 0),
        start=sight.start if sight else (0, 0),
        last_map=_shape(traced.last_shape),
        weight_bytes=sum(one.numel() * one.element_size() for one in (*(one for _, one in kept), *buffers)),
        activation_bytes=sum(node.activation_bytes for node in nodes),
        trace=traced,
    )


def layer_table(network: nn.Module, channels: int, height: int, width: int) -> list[Layer]:
    """Return the layers in the order in which one black image passes them. The network is left as it was found."""
    return [_layer(node) for node in trace(network, channels, height, width).nodes if is_layer(node)]


def is_layer(node: Node) -> bool:
    """Whether a node is a layer: a module, or a function with parameters or multiply-adds."""
    return node.is_module or node.parameters > 0 or node.macs > 0


def _layer(node: Node) -> Layer:
    return Layer(
        node.name,
        node.type,
        _shape(node.shape),
        node.parameters,
        node.macs,
        node.connections,
        node.activation_bytes,
        node.sight.field if node.sight else None,
        node.sight.stride if node.sight else None,
        node.sight.start if node.sight else None,
        node.window,
    )


def _stages(network: nn.Module, traced: Trace) -> tuple[Stage, ...]:
    named = getattr(network, "stages", None)
    ends = dict(named) if isinstance(named, dict) else {name: name for name in _outermost(network, traced)}
    order = sorted((traced.ends[module], name, module) for name, module in ends.items() if module in traced.ends)
    stages, start = [], 0
    for stop, name, module in order:
        if stop > start:
            stages.append(_stage(name, module, traced, range(start, stop)))
            start = stop
    if start < len(traced.nodes):
        stages.append(_stage("output" if stages else "network", "", traced, range(start, len(traced.nodes))))
    return tuple(stages)


def _stage(name: str, module: str, traced: Trace, place: range) -> Stage:
    nodes = [traced.nodes[at] for at in place]
    last: Node = nodes[-1]
    sight: Sight | None = last.sight
    return Stage(
        name,
        module,
        _shape(last.shape),
        sum(node.parameters for node in nodes),
        sum(node.macs for node in nodes),
        sum(node.activation_bytes for node in nodes),
        sight.field if sight else None,
        sight.stride if sight else None,
        sight.start if sight else None,
        place,
    )


def _outermost(network: nn.Module, traced: Trace) -> list[str]:
    """Return the outermost modules that were called; a container of containers gives way to what it holds."""
    names: list[str] = []
    for name, module in network.named_children():
        inner = [(key, child) for key, child in module.named_children() if f"{name}.{key}" in traced.ends]
        if isinstance(module, nn.Sequential | nn.ModuleList) and any(child._modules for _, child in inner):
            names += [f"{name}.{key}" for key, _ in inner]
        elif name in traced.ends:
            names.append(name)
    return names


def _why(network: nn.Module, channels: int, height: int, width: int, error: Exception, title: str) -> str:
    """Return the sentence that says why the network cannot take such images."""
    name, asked = title or type(network).__name__, f"{channels}×{height}×{width}"
    first = next((one.in_channels for one in network.modules() if isinstance(one, nn.Conv2d)), channels)
    if first != channels:
        return f"{name} takes images of {first} channel{'s' if first > 1 else ''}, not {channels}."
    side = min(height, width)
    if side < LARGEST_TRIED and refusal(network, channels, LARGEST_TRIED, LARGEST_TRIED) is None:
        low, high = side, LARGEST_TRIED  # too small, large enough
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if refusal(network, channels, middle, middle) is None else (middle, high)
        return f"{name} needs at least {high}×{high} pixels, not {height}×{width}."
    said = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{name} cannot take an image of {asked}: {said or type(error).__name__}."


def _shape(sizes: Sequence[int]) -> str:
    return "×".join(str(size) for size in sizes)


def _numbers(one: Layer | Stage) -> dict[str, Any]:
    return {
        "output": one.output,
        "parameters": one.parameters,
        "macs": one.macs,
        "activation_bytes": one.activation_bytes,
        "receptive_field": list(one.receptive_field) if one.receptive_field else None,
        "receptive_field_start": list(one.start) if one.start else None,
        "stride": list(one.stride) if one.stride else None,
    }
