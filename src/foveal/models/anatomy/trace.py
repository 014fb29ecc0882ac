"""What happens in one forward pass: every layer and function in order, and which feeds which.

The pass runs in evaluation mode on a copy without data (torch's ``meta`` device), which costs no arithmetic and
leaves the network as it was found. Tensors are followed by identity through every operation that torch dispatches,
so functions (``F.relu``, ``torch.cat``, ``+``) are seen as modules are. A network that cannot run without data,
since it asks values of its tensors, runs one black image on its own device instead.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from foveal.models.anatomy.counting import SelfCounting, counted
from foveal.models.anatomy.receptive_field import Sight, Window, followed, widest, window_of
from foveal.models.anatomy.shapes import Quickly, answered

NAMES = {"cat": "concat", "mul": "multiply", "div": "divide", "sub": "subtract", "constant_pad_nd": "pad"}
# What moves or renames numbers without computing: it is no node of the graph.
TRANSPARENT = frozenset((
    "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "permute", "transpose", "t",
    "swapaxes", "movedim", "slice", "select", "split", "split_with_sizes", "chunk", "unbind", "unsqueeze", "squeeze",
    "expand", "expand_as", "contiguous", "clone", "detach", "alias", "to", "_to_copy", "lift_fresh", "dropout",
    "native_dropout", "alpha_dropout", "feature_dropout",
))  # fmt: skip
CANNOT_COPY = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError, AssertionError)


@dataclass(frozen=True)
class Node:
    """One layer, or one function called beside the layers, in the order of the pass."""

    index: int  # its place in the order
    name: str  # of the module; of a function, its module's name and what it does, or its parameter's name
    type: str  # Conv2d, add, concat, …
    owner: str  # the module in whose forward it was called; "" is the network itself
    is_module: bool
    inputs: tuple[int, ...]  # the nodes that feed it; -1 is the image
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int
    macs: int
    connections: int
    activation_bytes: int  # newly written for one image; none where it works in place or only looks anew
    sight: Sight | None
    window: Window | None


@dataclass(frozen=True)
class Call:
    """One call of a module that holds others: its nodes are those from `start` up to `stop`."""

    name: str
    type: str
    start: int
    stop: int


@dataclass(frozen=True)
class Trace:
    """One forward pass."""

    nodes: tuple[Node, ...]
    calls: tuple[Call, ...]
    ends: Mapping[str, int]  # module → number of nodes when its last call had returned
    used: frozenset[str]  # the parameters that took part
    last_map: Sight | None  # of the map that enters the head
    last_shape: tuple[int, ...]  # of that map, without the batch
    output: tuple[int, ...]


def trace(network: nn.Module, channels: int, height: int, width: int) -> Trace:
    """Return what one image of zeros (1, channels, height, width) passes. The network is left as it was found."""
    shape = (1, channels, height, width)
    try:
        return _run(_without_data(network), _zeros(network, shape, torch.device("meta")))
    except CANNOT_COPY:
        first = next(network.parameters(), None)
        if first is not None and first.is_meta:
            raise
        return _run(network, _zeros(network, shape, torch.device("cpu") if first is None else first.device))


def values(network: nn.Module, x: Tensor, nodes: Iterable[Node]) -> dict[int, Tensor]:
    """Return what `nodes` of the trace of `network` give for one image `x` (1, C, H, W), by their index.

    Layers and functions alike; a copy is kept of each at once, before an in-place layer writes over it. The network
    is left as `trace` leaves it. ValueError where it takes another way for this image than it took in the trace.
    """
    wanted = {one.index: one for one in nodes}
    kept: dict[int, Tensor] = {}
    passed = _run(network, x, kept, frozenset(wanted)).nodes
    for index, node in wanted.items():
        if index not in kept or (passed[index].name, passed[index].type) != (node.name, node.type):
            raise ValueError(f"{node.name} is not where the trace found it")
    return kept


def refusal(network: nn.Module, channels: int, height: int, width: int) -> str | None:
    """Return what torch says against an image of this shape, None where the network takes it. Nothing is computed."""
    try:
        with torch.inference_mode(), Quickly():  # type: ignore[no-untyped-call]
            _without_data(network).eval()(torch.zeros(1, channels, height, width, device="meta"))
    except CANNOT_COPY as error:
        return str(error)
    return None


def _without_data(network: nn.Module) -> nn.Module:
    """Return a copy of the structure, its parameters and buffers on ``meta``, without its observers' hooks."""
    memo: dict[int, Any] = {}
    for module in network.modules():
        tensors = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
        for one in tensors:
            if isinstance(one, Tensor) and id(one) not in memo:
                memo[id(one)] = _emptied(one)
    clone: nn.Module = copy.deepcopy(network, memo)
    for module in clone.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in [*hooks.items()]:
                if isinstance(hook, FunctionType | MethodType):  # objects compute weights: weight norm, pruning
                    del hooks[key]
    return clone


def _emptied(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return tensor
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _zeros(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Tensor:
    floats = [one.dtype for one in network.parameters() if one.is_floating_point()]
    return torch.zeros(shape, device=device, dtype=floats[0] if floats else torch.float32)


def _run(
    network: nn.Module, image: Tensor, kept: dict[int, Tensor] | None = None, wanted: frozenset[int] = frozenset()
) -> Trace:
    tracer = _Tracer(network, image, {} if kept is None else kept, wanted)
    training = [module for module in network.modules() if module.training]
    handles = tracer.listen(network)
    try:
        for module in training:
            module.training = False
        with torch.inference_mode(), tracer:
            output = network(image)
    finally:
        for handle in handles:
            handle.remove()
        for module in training:
            module.training = True
    return tracer.finished(output)


@dataclass(eq=False)
class _Flow:
    """What is known of one tensor: the node that made it, what it sees, and what it was made of."""

    tensor: Tensor  # held, so that its identity is not given to another
    node: int | None  # None: not made of the image
    sight: Sight | None = None
    parents: tuple[_Flow, ...] = ()
    parameters: frozenset[str] = frozenset()


@dataclass
class _Open:
    """A layer that is being called, or one function."""

    name: str
    type: str
    owner: str
    module: nn.Module | None
    index: int
    inputs: dict[int, None] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    macs: int = 0
    connections: int = 0
    window: Window | None = None


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, network: nn.Module, image: Tensor, kept: dict[int, Tensor], wanted: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept, self.wanted = kept, wanted  # copies of what the wanted nodes gave
        self.names = {id(module): name for name, module in network.named_modules()}
        self.sizes = {name: one.numel() for name, one in network.named_parameters()}
        self.flows: dict[int, _Flow] = {
            id(one): _Flow(one, None, parameters=frozenset((name,))) for name, one in network.named_parameters()
        }
        self.image = _Flow(image, -1, Sight())
        self.flows[id(image)] = self.image
        self.storages = {image.untyped_storage()._cdata}
        self.nodes: list[Node | None] = []
        self.calls: list[Call] = []
        self.ends: dict[str, int] = {}
        self.stack: list[tuple[str, int]] = []  # (module, nodes before it)
        self.layer: _Open | None = None
        self.used: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave out torch's compiler, of which nothing is wanted here: to import it takes longer than the pass."""
        return False

    # --- modules ---

    def listen(self, network: nn.Module) -> list[Any]:
        """Have every module say when it is entered and left."""
        handles = []
        for module in network.modules():
            handles.append(module.register_forward_pre_hook(self.enter, prepend=True))
            handles.append(module.register_forward_hook(self.leave))
        return handles

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        name = self.names[id(module)]
        if self.layer is None and (isinstance(module, SelfCounting) or not module._modules):
            self.layer = _Open(name, type(module).__name__, self.owner, module, len(self.nodes))
            self.nodes.append(None)
            for one in _flows_in(inputs, self.flows):
                self.layer.inputs.update({one.node: None} if one.node is not None else {})
        self.stack.append((name, len(self.nodes)))

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG002
        name, start = self.stack.pop()
        if self.layer is not None and self.layer.module is module:
            layer, self.layer = self.layer, None
            own = frozenset(f"{name}.{key}" if name else key for key in module._parameters)
            layer.parameters |= own & self.sizes.keys()
            result = next(_tensors(output), None)
            if isinstance(module, SelfCounting) and result is not None:
                layer.macs, layer.connections = module.multiply_adds(result), module.connections(result)
            self.close(layer, result)
        elif self.layer is None:
            self.calls.append(Call(name, type(module).__name__, start, len(self.nodes)))
        self.ends[name] = len(self.nodes)

    @property
    def owner(self) -> str:
        return self.stack[-1][0] if self.stack else ""

    # --- operations ---

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments, output = answered(func, args, kwargs or {})
        self.note(func.overloadpacket.__name__, arguments, output)
        return output

    def note(self, name: str, arguments: Mapping[str, Any], output: Any) -> None:
        """Follow the tensors through one operation."""
        name = name.rstrip("_") if not name.startswith("__") else name.strip("_").removeprefix("i")
        taken = list(_flows_in(arguments, self.flows))
        made = list(_tensors(output))
        parameters = frozenset().union(*(one.parameters for one in taken if one.node is None))
        moving = [one for one in taken if one.node is not None]
        if not moving:
            for one in made:
                self.flows[id(one)] = _Flow(one, None, parameters=parameters)
            return
        place = self.layer
        if place is None and made and name not in TRANSPARENT:
            place = self.function(name, parameters)
        if place is not None and made:
            self.count(place, name, arguments, moving, made[0], parameters)
        node = place.index if place is not None else moving[0].node
        seen = [(one.tensor, one.sight) for one in moving]
        for one in made:
            sight = followed(name, arguments, seen, one)
            self.flows[id(one)] = _Flow(one, node, sight, tuple(moving))
        if place is not None and place is not self.layer:
            self.close(place, made[0])

    def function(self, name: str, parameters: frozenset[str]) -> _Open:
        """Begin the node of a function called in a module that holds others."""
        kind = NAMES.get(name, name)
        named = min(parameters, default="").removesuffix(".weight").removesuffix(".bias")
        place = _Open(named or ".".join(filter(None, (self.owner, kind))), kind, self.owner, None, len(self.nodes))
        self.nodes.append(None)
        return place

    def count(
        self,
        place: _Open,
        name: str,
        arguments: Mapping[str, Any],
        moving: Sequence[_Flow],
        output: Tensor,
        parameters: frozenset[str],
    ) -> None:
        """Add one operation to the node that it belongs to."""
        place.inputs.update({one.node: None for one in moving if one.node is not None and one.node != place.index})
        place.parameters |= parameters
        macs, connections = counted(name, arguments, output, by_weights=bool(parameters))
        place.macs += macs
        place.connections += connections
        place.window = window_of(name, arguments) or place.window

    def close(self, place: _Open, output: Tensor | None) -> None:
        """Make the node of what was called."""
        written, flow = 0, None
        if output is not None:
            flow = self.flows.get(id(output))
            storage = output.untyped_storage()._cdata
            if storage not in self.storages:
                self.storages.add(storage)
                written = output.numel() * output.element_size()
            if place.index in self.wanted:
                self.kept[place.index] = output.clone()
        fresh = place.parameters - self.used
        self.used |= place.parameters
        self.nodes[place.index] = Node(
            place.index,
            place.name,
            place.type,
            place.owner,
            place.module is not None,
            tuple(place.inputs),
            () if output is None else tuple(output.shape[1:]),
            sum(self.sizes[one] for one in fresh),
            place.macs,
            place.connections,
            written,
            flow.sight if flow else None,
            place.window,
        )

    def finished(self, output: Any) -> Trace:
        """Return the trace of a pass that answered `output`."""
        result = next(_tensors(output), None)
        maps = list(self.entering_head(self.flows.get(id(result)))) if result is not None else []
        sight = widest(one.sight for one in maps if one.sight)
        return Trace(
            tuple(one for one in self.nodes if one is not None),
            tuple(self.calls),
            self.ends,
            frozenset(self.used),
            sight,
            tuple(maps[0].tensor.shape[1:]) if maps else (),
            () if result is None else tuple(result.shape[1:]),
        )

    def entering_head(self, output: _Flow | None) -> Iterator[_Flow]:
        """Yield the maps behind which nothing is followed up to the output, but the image itself."""
        waiting, seen = [output] if output is not None else [], set()
        while waiting:
            one = waiting.pop()
            if id(one) in seen or one is self.image:
                continue
            seen.add(id(one))
            if one.sight is not None:
                yield one
            else:
                waiting.extend(one.parents)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in `value`, whatever tuples, lists and dictionaries it is made of."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _flows_in(value: Any, flows: Mapping[int, _Flow]) -> Iterator[_Flow]:
    for one in _tensors(value):
        if id(one) in flows:
            yield flows[id(one)]
