"""How the blocks of a network are wired: which kinds there are, and what feeds what in one of each.

A block is a module in which paths meet again: where maps are added, put side by side, or multiplied. Blocks of one
class with the same layers in the same order are of one kind, whatever their channels, windows and strides; the
windows and strides that occur are all named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foveal.models.anatomy.anatomy import Anatomy
from foveal.models.anatomy.summary import PLAIN, pair
from foveal.models.anatomy.trace import Call, Node

JOINS = {"add": "+", "concat": "concat", "multiply": "×", "subtract": "−", "maximum": "max", "stack": "stack"}
SHORT = {
    "BatchNorm": "BN", "LayerNorm": "LN", "ChannelNorm": "LN", "GroupNorm": "GN", "LocalResponseNorm": "LRN",
    "batch_norm": "BN", "layer_norm": "LN", "relu": "ReLU", "silu": "SiLU", "gelu": "GELU", "tanh": "Tanh",
    "hardswish": "Hardswish", "sigmoid": "Sigmoid",
}  # fmt: skip
INPUT = -1  # the unit that stands for what enters a block
FEW = 2  # sources of a layer from which on more make its block a dense one
WINDOWED = re.compile(r"(\D+)(\d+×\d+)(?: /([^\s,]+))?(.*)")  # the parts of a convolution's or pool's title


@dataclass(frozen=True)
class Unit:
    """One box of a wiring: a convolution or pool with the norm and activation that follow, or a join."""

    kind: str  # conv, pool, dense, norm, join, input
    title: str
    note: str = ""


@dataclass(frozen=True)
class Wiring:
    """The units of one block in order; `edges` are (from, to), where `INPUT` is what enters it."""

    units: Mapping[int, Unit]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Dense:
    """A block in which every layer sees all before it: (title, note) of each layer, and what each sees.

    `sources` holds for each layer, and last for the output, the layers that feed it; `INPUT` is what enters.
    """

    layers: tuple[tuple[str, str], ...]
    sources: tuple[tuple[int, ...], ...]
    inside: Wiring  # of its last layer


@dataclass(frozen=True)
class Kind:
    """One kind of block: its letter, its class, where it occurs, and how one of it is wired."""

    letter: str
    type: str
    calls: tuple[Call, ...]
    sizes: tuple[int, ...]  # of dense blocks: how many layers each has
    drawn: Call
    wiring: Wiring | Dense
    entering: str
    leaving: str


def kinds(anatomy: Anatomy) -> list[Kind]:
    """Return the kinds of blocks in the order in which they first occur."""
    nodes = anatomy.trace.nodes
    groups: dict[tuple[object, ...], list[tuple[Call, Wiring | Dense]]] = {}
    for call in _blocks(anatomy):
        wiring = _dense(call, anatomy) or wire(range(call.start, call.stop), nodes)
        groups.setdefault(_signature(call, wiring), []).append((call, wiring))
    found = []
    for number, members in enumerate(groups.values()):
        calls, wirings = zip(*members, strict=True)
        drawn = calls[0]
        sizes = tuple(len(one.layers) for one in wirings if isinstance(one, Dense))
        plain = [one for one in wirings if isinstance(one, Wiring)]
        last = nodes[drawn.stop - 1]
        first = _entering(drawn, nodes)
        letter = chr(ord("A") + number) if number < 26 else str(number + 1)
        wiring = _in_one(plain) if plain else wirings[0]
        found.append(Kind(letter, drawn.type, calls, sizes, drawn, wiring, first, _shape(last)))
    return found


def wire(span: range, nodes: Sequence[Node]) -> Wiring:
    """Return the wiring of the nodes in `span`, convolutions merged with the norms and activations around them."""
    kept = _reaching_end(span, nodes)
    feeds = {at: tuple(dict.fromkeys(one if one in kept else INPUT for one in nodes[at].inputs)) for at in kept}
    followers: dict[int, int] = {}
    for sources in feeds.values():
        for one in sources:
            followers[one] = followers.get(one, 0) + 1
    units: dict[int, Unit] = {}
    home: dict[int, int] = {INPUT: INPUT}
    edges: list[tuple[int, int]] = []
    for at in sorted(kept):
        unit = unit_of(nodes[at])
        sources = feeds[at]
        before = home[sources[0]] if sources else INPUT
        chained = len(sources) == 1 and before != INPUT and followers[sources[0]] == 1
        if is_passage(nodes[at]) and len(sources) == 1:
            home[at], followers[at] = before, followers[sources[0]] - 1 + followers.get(at, 0)
            continue
        if chained and (both := merged(units[before], unit)):
            units[before] = both
            home[at] = before
            continue
        home[at] = at
        units[at] = unit
        edges += [(home[one], at) for one in sources]
    return Wiring({INPUT: Unit("input", "input"), **units}, tuple(dict.fromkeys(edges)))


def unit_of(node: Node) -> Unit:
    """Return the box of a single node."""
    window, channels = node.window, node.shape[0] if node.shape else 0
    if len(set(node.inputs)) > 1 and node.type in JOINS:
        return Unit("join", JOINS[node.type])
    if node.macs and window and node.macs >= math.prod(window.kernel) * math.prod(node.shape):
        across = "×".join(map(str, window.kernel))
        strided = f" /{pair(window.stride)}" if window.stride != (1, 1) else ""
        if window.groups > 1 and window.groups == channels:
            return Unit("conv", f"depthwise {across}{strided}", f"{channels}")
        groups = f", {window.groups} groups" if window.groups > 1 else ""
        return Unit("conv", f"conv {across}{strided}{groups}", f"{channels}")
    if node.macs and not window:
        return Unit("dense", "dense", f"{node.shape[-1]}")
    name = node.type
    if window:
        kind = "max" if "ax" in name.removeprefix("avg") else "average"
        kind = name.lower() if node.macs else kind  # with a weight for all that it has summed
        strided = f" /{pair(window.stride)}" if window.stride != (1, 1) else ""
        return Unit("pool", f"{kind} {'×'.join(map(str, window.kernel))}{strided}")
    if re.search("adaptive|global|mean", name, re.IGNORECASE) and len(node.shape) > 0:
        return Unit("pool", "global average" if set(node.shape[1:]) <= {1} else "adaptive average")
    if not node.is_module and node.parameters:
        return Unit("norm", node.name.rpartition(".")[2].replace("_", " "))
    short = next((text for long, text in SHORT.items() if name.startswith(long)), name)
    return Unit("norm", short)


def merged(before: Unit, after: Unit) -> Unit | None:
    """Return one box for two in a row, None where they stay apart."""
    if after.kind == "norm" and before.kind in ("conv", "dense", "norm"):
        if before.kind == "norm":
            return Unit("norm", f"{before.title}, {after.title}")
        return Unit(before.kind, before.title, f"{before.note}, {after.title}")
    if before.kind == "norm" and after.kind in ("conv", "dense"):
        return Unit(after.kind, after.title, f"{before.title} → {after.note}")
    return None


def is_passage(node: Node) -> bool:
    """Whether a node passes its numbers on as they are: dropout in evaluation, or another order of dimensions."""
    return (
        re.search("dropout|stochasticdepth|droppath|identity|flatten|channels(last|first)|permute", node.type.lower())
        is not None
    )


def _blocks(anatomy: Anatomy) -> list[Call]:
    """Return the outermost calls in which paths meet, with those of the same class in which none happen to."""
    trace = anatomy.trace
    meeting = {node.owner for node in trace.nodes if len(set(node.inputs)) > 1 and node.type in JOINS}
    calls = [call for call in trace.calls if call.name and call.stop > call.start]
    classes = {call.type for call in calls if call.name in meeting and call.type not in PLAIN}
    chosen = [call for call in calls if call.name in meeting or call.type in classes]
    outer = [
        call
        for call in chosen
        if not any(one is not call and one.start <= call.start and call.stop <= one.stop and
                   call.name.startswith(f"{one.name}.") for one in chosen)
    ]  # fmt: skip
    return sorted(outer, key=lambda call: call.start)


def _signature(call: Call, wiring: Wiring | Dense) -> tuple[object, ...]:
    """Return what makes two blocks one kind: layers and joins in order, without channels, kernels and strides."""
    if isinstance(wiring, Dense):
        return (call.type, "dense")  # how many layers it has makes no other kind of it
    order = {key: number for number, key in enumerate(wiring.units)}
    titles = tuple(re.sub(r" /\S+", "", re.sub(r"\d+×\d+", _square, unit.title)) for unit in wiring.units.values())
    return (call.type, titles, tuple((order[a], order[b]) for a, b in wiring.edges))


def _in_one(wirings: Sequence[Wiring]) -> Wiring:
    """Return the first of wirings of one kind, each unit titled with the windows and strides that it has in any."""
    first = wirings[0]
    alike = zip(*(one.units.values() for one in wirings), strict=True)
    units = {
        key: replace(
            members[0], title=_title_of([one.title for one in members]), note=_note_of([one.note for one in members])
        )
        for key, members in zip(first.units, alike, strict=True)
    }
    return replace(first, units=units)


def _title_of(titles: Sequence[str]) -> str:
    """Return ``conv 3×3 or 5×5 /1 or 2`` for ``conv 3×3`` and ``conv 5×5 /2``."""
    found = [WINDOWED.fullmatch(one) for one in dict.fromkeys(titles)]
    parts = [one.groups() for one in found if one]
    if len(parts) < 2:
        return titles[0]
    windows = dict.fromkeys(one[1] for one in parts)
    strides = dict.fromkeys(one[2] or "1" for one in parts)
    strided = "" if [*strides] == ["1"] else f" /{' or '.join(strides)}"
    return f"{parts[0][0]}{' or '.join(windows)}{strided}{parts[0][3]}"


def _note_of(notes: Sequence[str]) -> str:
    """Return ``16, BN, ReLU or Hardswish`` for ``16, BN, ReLU`` and ``80, BN, Hardswish``: channels are the first's."""
    words = [one.split(", ") for one in notes]
    if len({len(one) for one in words}) > 1:
        return notes[0]
    return ", ".join(
        " or ".join(dict.fromkeys(one)) if all(map(str.isalpha, one)) else one[0] for one in zip(*words, strict=True)
    )


def _square(found: re.Match[str]) -> str:
    """Return a window with its size left out, but for the shapes that tell blocks apart: 1×1, square, long."""
    height, _, width = found[0].partition("×")
    return "1×1" if height == width == "1" else "n×n" if height == width else "1×n" if height == "1" else "n×1"


def _dense(call: Call, anatomy: Anatomy) -> Dense | None:
    """Return the wiring of a block between whose layers all maps are passed on, None of another."""
    nodes = anatomy.trace.nodes
    span = range(call.start, call.stop)
    depth = len(call.name.split("."))
    layers: list[str] = []
    seen: dict[int, tuple[int, ...]] = {}  # node → the layers that its output is made of, as far as it is passed on
    sources: list[dict[int, None]] = []
    members: list[list[int]] = []
    for at in span:
        node = nodes[at]
        place = (node.name if node.is_module else node.owner).split(".")
        made = [layer for one in node.inputs for layer in (seen[one] if one in span else (INPUT,))]
        key = place[depth] if len(place) > depth else ""
        if not key:
            if node.type != "concat":
                return None
            seen[at] = tuple(dict.fromkeys(made))
            continue
        if not layers or layers[-1] != key:
            layers.append(key)
            sources.append({})
            members.append([])
        here = len(layers) - 1
        if node.type == "concat" and not members[here]:
            seen[at] = tuple(dict.fromkeys(made))
            sources[here].update(dict.fromkeys(made))
            continue
        sources[here].update({one: None for one in made if one != here})
        members[here].append(at)
        seen[at] = (here,)
    if len(layers) <= FEW or len(sources[-1]) <= FEW:
        return None
    each = [_said([nodes[at] for at in inside], key) for inside, key in zip(members, layers, strict=True)]
    last = range(members[-1][0], members[-1][-1] + 1)
    final = seen[call.stop - 1]
    return Dense(tuple(each), (*(tuple(one) for one in sources), final), wire(last, nodes))


def _said(members: Sequence[Node], key: str) -> tuple[str, str]:
    windows = ["×".join(map(str, node.window.kernel)) for node in members if node.macs and node.window]
    return re.sub(r"(\D)(\d+)$", r"\1 \2", key), f"{', '.join(windows)} → {members[-1].shape[0]}"


def _reaching_end(span: range, nodes: Sequence[Node]) -> set[int]:
    """Return the nodes from which a path leads to the last: what passes its input on unchanged has none."""
    fed = {one for at in span for one in nodes[at].inputs}
    last = max((at for at in span if nodes[at].inputs and (at in fed or at == span.stop - 1)), default=span.stop - 1)
    while is_passage(nodes[last]) and nodes[last].inputs and nodes[last].inputs[0] in span:
        last = nodes[last].inputs[0]
    kept, waiting = set(), [last]
    while waiting:
        at = waiting.pop()
        if at in span and at not in kept:
            kept.add(at)
            waiting.extend(nodes[at].inputs)
    return kept


def _entering(call: Call, nodes: Sequence[Node]) -> str:
    first = next((one for at in range(call.start, call.stop) for one in nodes[at].inputs if one < call.start), INPUT)
    return _shape(nodes[first]) if first >= 0 else ""


def _shape(node: Node) -> str:
    return "×".join(map(str, node.shape))
