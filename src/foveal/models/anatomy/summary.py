"""An anatomy as lines of text: a tree of stages, blocks and layers with what each costs and sees, and the totals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from foveal.models.anatomy.anatomy import Anatomy, Stage, is_layer
from foveal.models.anatomy.auxiliary import AuxiliaryHead
from foveal.models.anatomy.trace import Node

USUAL_DEPTH = 1  # stages, and what they are made of
HEAD = ("", "type", "output", "parameters", "connections", "MACs", "activations", "field", "stride")
OPTIONAL = (4, 6, 8, 7)  # columns that a narrow terminal goes without, the first one first
TYPE, LEAST = 1, 12  # the column whose words are cut short where that is not enough, and how many letters stay
SUMMED = ("parameters", "connections", "macs", "activation_bytes")
EXACT = 10**7  # connections below which all digits are written
LEFT = (0, 1, 2)  # columns that stand flush left
PLAIN = ("", "Sequential")  # modules whose type says nothing
MOST_WINDOWS = 3  # named of a chain


@dataclass(frozen=True)
class Row:
    """One line of the tree: a stage, a block (`count` alike in a row, one after the other), or a layer."""

    depth: int
    name: str
    type: str
    nodes: tuple[Node, ...]
    path: tuple[str, ...] = ()  # the module's, from the outermost
    count: int = 1

    @property
    def last(self) -> Node:
        """The node whose output is the row's."""
        return self.nodes[-1]


def rows(anatomy: Anatomy, depth: int = USUAL_DEPTH) -> list[Row]:
    """Return the rows down to `depth`: 0 are the stages, each further one what the one before is made of.

    Blocks alike in a row are one row where they are not unfolded. A stage of one layer is one row.
    """
    return [row for _, inside in _by_stage(anatomy, depth) for row in inside]


def lines(anatomy: Anatomy, *, depth: int = USUAL_DEPTH, width: int = 100) -> list[str]:
    """Return the lines of the table and of the totals, at most `width` wide where that can be."""
    cells: list[tuple[str, ...]] = [HEAD]
    for stage, inside in _by_stage(anatomy, depth):
        cells += map(_cells, inside)
        cells += map(_cells_of_head, anatomy.hanging_on(stage))
    title = f"{anatomy.title}, input {'×'.join(map(str, anatomy.input))}"
    return [title, "", *table(cells, width), "", *(f"{what:<16}{said}" for what, said in totals(anatomy))]


def totals(anatomy: Anatomy) -> list[tuple[str, str]]:
    """Return what is said of the whole network: (what, words)."""
    auxiliary, frozen = anatomy.auxiliary_parameters, anatomy.parameters - anatomy.trainable
    notes = [
        f"{frozen:,} of them frozen" if frozen else "all trainable",
        f"{anatomy.parameters - auxiliary:,} without auxiliary heads, which serve training only" if auxiliary else "",
    ]
    (rows_seen, columns_seen), (down, across) = anatomy.receptive_field, anatomy.stride
    seen = (
        f"{rows_seen}×{columns_seen} pixels, a cell every {pair((down, across))}, on the last map of {anatomy.last_map}"
    )
    return [
        ("parameters", f"{anatomy.parameters:,} ({'; '.join(filter(None, notes))})"),
        ("multiply-adds", f"{anatomy.macs:,}"),
        ("connections", f"{anatomy.connections:,}"),
        ("weights", size(anatomy.weight_bytes)),
        ("activations", f"{size(anatomy.activation_bytes)} written for one image"),
        ("receptive field", seen if rows_seen else "none: there is no map"),
        *anatomy.facts,
    ]


def table(cells: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the lines of a table with a head; while it is too wide columns are left out, then types cut short."""
    shown = list(range(len(cells[0])))
    for column in OPTIONAL:
        if _width(cells, shown) > width:
            shown.remove(column)
    room = max(LEAST, max(len(row[TYPE]) for row in cells) - max(0, _width(cells, shown) - width))
    cells = [[_cut(word, room) if at == TYPE else word for at, word in enumerate(row)] for row in cells]
    widths = {column: max(len(row[column]) for row in cells) for column in shown}
    written = []
    for row in cells:
        parts = [f"{row[one]:{'<' if one in LEFT else '>'}{widths[one]}}" for one in shown]
        written.append("  ".join(parts).rstrip())
    return [written[0], "─" * max(map(len, written)), *written[1:]]


def described(node: Node) -> str:
    """Return a node's type with its window: ``Conv2d 3×3 /2`` halves the map."""
    window = node.window
    if window is None:
        return node.type
    words = [node.type, "×".join(map(str, window.kernel))]
    if window.stride != (1, 1):
        words.append(f"/{pair(window.stride)}")
    if window.groups > 1:
        words.append("depthwise" if window.groups == node.shape[0] else f"{window.groups} groups")
    return " ".join(words)


def pair(sides: tuple[int, int]) -> str:
    """Return ``7`` for (7, 7), ``7×1`` for (7, 1)."""
    return str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}×{sides[1]}"


def count(number: int, *, digits: int = 0) -> str:
    """Return a large number with K, M, G or T and two decimals, or rounded to so many digits in all."""
    for unit, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            share = number / unit
            return f"{share:.{max(0, digits - len(str(int(share))))}f} {letter}" if digits else f"{share:.2f} {letter}"
    return str(number)


def size(number: int) -> str:
    """Return a number of bytes in B, KB, MB or GB, of a thousand each."""
    for unit, letters in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if number >= unit:
            return f"{number / unit:.1f} {letters}"
    return f"{number} B"


def _cut(word: str, room: int) -> str:
    return word if len(word) <= room else f"{word[: room - 1]}…"


def _width(cells: Sequence[Sequence[str]], shown: Sequence[int]) -> int:
    return sum(max(len(row[one]) for row in cells) for one in shown) + 2 * (len(shown) - 1)


def _cells(row: Row) -> tuple[str, ...]:
    last = row.last
    parameters, links, macs, written = (sum(getattr(node, what) for node in row.nodes) for what in SUMMED)
    sight = last.sight
    return (
        "  " * row.depth + row.name,
        f"{row.count} × {row.type}" if row.count > 1 else row.type,
        "×".join(map(str, last.shape)),
        f"{parameters:,}" if parameters else "–",
        "–" if not links else f"{links:,}" if links < EXACT else count(links),
        count(macs) if macs else "–",
        size(written) if written else "–",
        pair(sight.field) if sight else "–",
        pair(sight.stride) if sight else "–",
    )


def _cells_of_head(head: AuxiliaryHead) -> tuple[str, ...]:
    return (head.name, f"{head.type}, in training only", "–", f"{head.parameters:,}", *("–",) * (len(HEAD) - 4))


def _by_stage(anatomy: Anatomy, depth: int) -> Iterator[tuple[Stage, Iterator[Row]]]:
    types = {call.name: call.type for call in anatomy.trace.calls}
    for stage in anatomy.stages:
        yield stage, _of_stage(anatomy, stage, depth, types)


def _of_stage(anatomy: Anatomy, stage: Stage, depth: int, types: Mapping[str, str]) -> Iterator[Row]:
    nodes = tuple(anatomy.trace.nodes[at] for at in stage.nodes)
    if len(nodes) == 1:
        yield Row(0, stage.name, described(nodes[0]), nodes)
        return
    own = tuple(stage.module.split("."))
    inside = all(_place(node)[: len(own)] == own for node in nodes)
    prefix = own if inside else _common([_place(node) for node in nodes])
    kind = types.get(stage.module, "") if inside else ""
    yield Row(0, _named(stage.name, own) if inside else stage.name, "" if kind in PLAIN else kind, nodes)
    if depth > 0:
        yield from _below(nodes, prefix, 1, depth, types)


def _below(
    nodes: Sequence[Node], prefix: tuple[str, ...], level: int, depth: int, types: Mapping[str, str]
) -> Iterator[Row]:
    """Yield the rows of `nodes`, which lie below the module `prefix`."""
    parts = list(_unwrapped(_parts(nodes, prefix, level, types), prefix, types))
    if level == depth:
        yield from _folded(parts)
        return
    for row in parts:
        yield row
        if len(row.nodes) > 1:
            yield from _below(row.nodes, row.path, level + 1, depth, types)


def _unwrapped(parts: Sequence[Row], prefix: tuple[str, ...], types: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows; the blocks in a plain container, or in the only one beside layers, stand in its place."""

    def plain(row: Row) -> bool:
        return types.get(".".join(row.path), "") in PLAIN

    found: dict[int, list[Row]] = {}
    blocks = [row for row in parts if len(row.nodes) > 1]
    for row in blocks:
        shown_from = prefix if plain(row) else row.path
        inside = _parts(row.nodes, row.path, row.depth, types, shown_from)
        alone = len(parts) == 1
        kept = [one for one in inside if len(one.nodes) > 1 and (alone or not plain(row) or not plain(one))]
        if kept and (plain(row) or (len(blocks) == 1 and not alone)):
            found[id(row)] = inside
    for row in parts:
        yield from found[id(row)] if id(row) in found and len(found) == 1 else (row,)


def _parts(
    nodes: Sequence[Node],
    prefix: tuple[str, ...],
    level: int,
    types: Mapping[str, str],
    shown_from: tuple[str, ...] | None = None,
) -> list[Row]:
    """Return a row for each module called in `prefix`, in order; names are given from `shown_from` on."""
    parts: list[Row] = []
    skipped = len(prefix if shown_from is None else shown_from)
    for key, group in groupby(nodes, lambda node: _step(node, len(prefix))):
        inside = tuple(group)
        path = (*prefix, key)
        if not key:  # functions called in the module itself
            parts += [
                Row(level, node.name.split(".")[-1], described(node), (node,)) for node in inside if is_layer(node)
            ]
        elif len(inside) == 1 and inside[0].is_module:
            path = _place(inside[0])
            parts.append(Row(level, ".".join(path[skipped:]), described(inside[0]), inside, path))
        elif any(is_layer(node) for node in inside):
            parts.append(
                Row(level, ".".join(path[skipped:]), _kind(types.get(".".join(path), ""), inside), inside, path)
            )
    return parts


def _named(stage: str, prefix: tuple[str, ...]) -> str:
    """Return a stage's name, with that of its module where it is another."""
    module = ".".join(prefix) if prefix[-1].isdecimal() else prefix[-1]
    same = module.replace("_", "").lower() == stage.replace("_", "").replace(" ", "").lower()
    return stage if same else f"{stage} ({module})"


def _kind(kind: str, nodes: Sequence[Node]) -> str:
    """Return what a block is: its class, of one that says nothing its windows (``Conv2d 1×1, 3×3``), of one both."""
    counted = [node for node in nodes if node.macs]
    if kind not in PLAIN:
        alone = len(counted) == 1 and counted[0].window
        return f"{kind} {described(counted[0]).partition(' ')[2]}" if alone else kind
    main = [node for node in nodes if node.window] or counted
    if not main or not counted or len(main) > MOST_WINDOWS:
        return "Sequential"
    said = [described(main[0])]
    for before, node in pairwise(main):
        said.append(described(node).removeprefix(f"{node.type} " if node.type == before.type else ""))
    return ", ".join(said)


def _folded(parts: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows, of numbered blocks alike that follow one another only one."""
    alike: list[Row] = []
    for row in parts:
        if alike and not _follows(alike[-1], row):
            yield _as_one(alike)
            alike = []
        alike.append(row)
    if alike:
        yield _as_one(alike)


def _as_one(alike: Sequence[Row]) -> Row:
    first, last = alike[0], alike[-1]
    if len(alike) == 1:
        return first
    nodes = tuple(node for row in alike for node in row.nodes)
    return Row(first.depth, f"{first.name} … {last.name[len(_head(first)) :]}", first.type, nodes, count=len(alike))


def _follows(before: Row, row: Row) -> bool:
    """Whether a block goes on as the one before did: of its kind, numbered after it, and not fed by the same."""
    kinds = [[(node.type, node.window and node.window.kernel) for node in one.nodes] for one in (before, row)]
    numbered = _head(before) == _head(row) and "" not in (
        before.name[len(_head(before)) :],
        row.name[len(_head(row)) :],
    )
    return len(row.nodes) > 1 and numbered and kinds[0] == kinds[1] and _fed_by(before) != _fed_by(row)


def _head(row: Row) -> str:
    return row.name.rstrip("0123456789")


def _fed_by(row: Row) -> set[int]:
    return {one for node in row.nodes for one in node.inputs} - {node.index for node in row.nodes}


def _place(node: Node) -> tuple[str, ...]:
    """Return the modules around a node, from the outermost; a layer is the last of its own."""
    where = node.name if node.is_module else node.owner
    return tuple(where.split(".")) if where else ()


def _step(node: Node, depth: int) -> str:
    place = _place(node)
    return place[depth] if len(place) > depth else ""


def _common(places: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the modules that all `places` begin with; of a single layer, those around it."""
    first, last = min(places), max(places)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return first[:shared] if len(set(places)) > 1 else first[:-1]
