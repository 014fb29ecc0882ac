"""Where the boxes of a wiring stand: chains go down, branches stand side by side, shortcuts run beside them.

The graph is taken apart at the units through which every path goes; what lies between two of them falls into
branches, which are taken apart in turn. What cannot be taken apart so stands in a column, with arcs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from foveal.models.drawing.wiring import INPUT, Unit, Wiring

DOWN, ACROSS, MARGIN = 20.0, 18.0, 8.0  # pixels between boxes; above and below branches
JOIN = 24.0  # diameter of a join
LINE, LETTER = 14.0, 6.1  # of the text
LEAST, SHORTCUT = 74.0, 26.0  # width of a box; of a line that runs beside others


@dataclass(frozen=True)
class Box:
    """A unit with the place of its middle and its size."""

    unit: Unit
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """A line through `points`, with an arrow's head where it ends at a box."""

    points: tuple[tuple[float, float], ...]
    arrow: bool = False


@dataclass
class Layout:
    """Boxes and lines in a rectangle; lines come in from above at `tops` and go on below at `bottoms`."""

    width: float
    height: float
    axis: float  # on which it stands under what is above
    tops: list[float]
    bottoms: list[float]
    boxes: dict[int, Box] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def take(self, other: Layout, x: float, y: float) -> None:
        """Put another layout into this one, moved."""
        for key, box in other.boxes.items():
            self.boxes[key] = Box(box.unit, box.x + x, box.y + y, box.width, box.height)
        self.lines += [Line(tuple((a + x, b + y) for a, b in one.points), one.arrow) for one in other.lines]


def size_of(unit: Unit) -> tuple[float, float]:
    """Return the width and height of a unit's box."""
    if unit.kind == "join":
        return (JOIN if len(unit.title) == 1 else LETTER * len(unit.title) + 22), JOIN
    longest = max(len(unit.title) * LETTER * 1.06, len(unit.note) * LETTER)
    return max(LEAST, longest + 18), (LINE * 2 + 9 if unit.note else LINE + 11)


def laid_out(wiring: Wiring) -> Layout:
    """Return the layout of a wiring, what enters on top."""
    after: dict[int, list[int]] = {key: [] for key in wiring.units}
    before: dict[int, list[int]] = {key: [] for key in wiring.units}
    for source, target in wiring.edges:
        after[source].append(target)
        before[target].append(source)
    last = max(wiring.units)
    inner = {key for key in wiring.units if key not in (INPUT, last)}
    graph = _Graph(wiring.units, after, before)
    return graph.series(INPUT, last, inner, ends=True) if last != INPUT else graph.box(INPUT)


@dataclass
class _Graph:
    units: Mapping[int, Unit]
    after: Mapping[int, Sequence[int]]
    before: Mapping[int, Sequence[int]]

    def box(self, key: int) -> Layout:
        width, height = size_of(self.units[key])
        middle = width / 2
        box = Box(self.units[key], middle, height / 2, width, height)
        return Layout(width, height, middle, [middle], [middle], {key: box})

    def series(self, source: int, sink: int, inner: set[int], *, ends: bool) -> Layout:
        """Return what lies between `source` and `sink`, with these two where `ends` says so."""
        cuts = [key for key in sorted(inner) if not self.reaches(source, sink, inner - {key}, direct=ends)]
        if not cuts and not ends:
            return self.column(inner)
        parts = [self.box(source)] if ends else []
        for above, below in pairwise([source, *cuts, sink]):
            if between := self.between(above, below, inner - set(cuts)):
                parts.append(self.parallel(above, below, between))
            if below != sink or ends:
                parts.append(self.box(below))
        return _stacked(parts)

    def parallel(self, above: int, below: int, inner: set[int]) -> Layout:
        """Return the branches between two units side by side; a direct line between them is the last one."""
        groups, direct = self.components(inner), below in self.after[above]
        branches = [self.series(above, below, one, ends=False) for one in groups]
        height = max(one.height for one in branches) + 2 * MARGIN
        placed = Layout(0, height, 0, [], [])
        for one in branches:
            top = (height - one.height) / 2
            placed.take(one, placed.width, top)
            entered = {box.x - box.width / 2 for box in one.boxes.values() if box.y - box.height / 2 < 1}
            for x in one.tops:
                placed.lines.append(Line(((placed.width + x, 0), (placed.width + x, top)), arrow=bool(entered)))
            for x in one.bottoms:
                placed.lines.append(Line(((placed.width + x, height - top), (placed.width + x, height))))
            placed.tops += [placed.width + x for x in one.tops]
            placed.bottoms += [placed.width + x for x in one.bottoms]
            placed.width += one.width + ACROSS
        placed.axis = (placed.tops[0] + placed.tops[-1]) / 2
        if direct:
            placed.axis = placed.axis if len(branches) > 1 else placed.tops[0]
            x = placed.width + SHORTCUT / 2 - ACROSS / 2
            placed.lines.append(Line(((x, 0), (x, height))))
            placed.tops.append(x)
            placed.bottoms.append(x)
            placed.width += SHORTCUT
        placed.width -= ACROSS / 2 if direct else ACROSS
        return placed

    def column(self, inner: set[int]) -> Layout:
        """Return what cannot be taken apart: a column in order, with arcs beside it."""
        order = sorted(inner)
        placed = _stacked([self.box(key) for key in order], joined=False)
        right = placed.width
        for at, key in enumerate(order):
            for target in self.after[key]:
                if target in inner:
                    one, two = placed.boxes[key], placed.boxes[target]
                    x = right + 6 + 7 * (order.index(target) - at)
                    corners = ((one.x + one.width / 2, one.y), (x, one.y), (x, two.y), (two.x + two.width / 2, two.y))
                    placed.lines.append(Line(corners, arrow=True))
        placed.width = right + 12 + 7 * len(order)
        return placed

    def reaches(self, source: int, sink: int, allowed: set[int], *, direct: bool) -> bool:
        """Whether a path leads from `source` to `sink` through `allowed` units; a `direct` line counts if it is to."""
        through = _closure(source, self.after, allowed)
        return (direct and sink in self.after[source]) or any(sink in self.after[key] for key in through)

    def between(self, above: int, below: int, allowed: set[int]) -> set[int]:
        """Return the units on the paths between two."""
        return _closure(above, self.after, allowed) & _closure(below, self.before, allowed)

    def components(self, inner: set[int]) -> list[set[int]]:
        """Return the groups of units that are connected among themselves, in order."""
        left, found = set(inner), []
        while left:
            group = {min(left)}
            while grown := {n for one in group for n in (*self.after[one], *self.before[one]) if n in left} - group:
                group |= grown
            found.append(group)
            left -= group
        return found


def _closure(start: int, edges: Mapping[int, Sequence[int]], allowed: set[int]) -> set[int]:
    waiting, seen = [start], set[int]()
    while waiting:
        for one in edges[waiting.pop()]:
            if one in allowed and one not in seen:
                seen.add(one)
                waiting.append(one)
    return seen


def _stacked(parts: Sequence[Layout], *, joined: bool = True) -> Layout:
    """Return the parts under each other on one axis, each led to by lines from the one above."""
    axis = max(one.axis for one in parts)
    width = max(axis - one.axis + one.width for one in parts)
    placed = Layout(width, 0, axis, [], [])
    leaving: list[float] = []
    for one in parts:
        x = axis - one.axis
        entering = [x + top for top in one.tops]
        if placed.boxes:
            below = placed.height + DOWN
            if joined:
                box = len(one.boxes) == 1 and not one.lines
                placed.lines += [
                    Line(((start, placed.height), (end, below)), arrow=box) for start in leaving for end in entering
                ]
            placed.height = below
        else:
            placed.tops = entering
        placed.take(one, x, placed.height)
        placed.height += one.height
        leaving = [x + bottom for bottom in one.bottoms]
    placed.bottoms = leaving
    return placed
