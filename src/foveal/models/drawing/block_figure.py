"""The figure of one kind of block: branches side by side, shortcuts around, or every layer fed by all before it."""

from __future__ import annotations

import re

from markupsafe import Markup

from foveal.models.anatomy.anatomy import Anatomy
from foveal.models.drawing.layout import LETTER, Box, Layout, laid_out
from foveal.models.drawing.strokes import arrow, badge, path, polygon, text
from foveal.models.drawing.wiring import INPUT, Dense, Kind, Unit
from foveal.web.svg import element, written

SHOWN_LAYERS, ARCS = 4, 5  # layers of a dense block that are drawn; colours of the lines between them
CAPTION = 94.0  # height of what stands above the wiring


def block_figure(kind: Kind, anatomy: Anatomy) -> tuple[float, float, list[Markup]]:
    """Return width, height and elements of the figure of one kind of block."""
    if isinstance(kind.wiring, Dense):
        across, down, drawn = _dense(kind.wiring)
    else:
        layout = laid_out(kind.wiring)
        across, down, drawn = layout.width, layout.height, _drawn(layout)
    uses, blocks = len(kind.calls), len([call for call in anatomy.trace.calls if call.type == kind.type])
    where = f"{uses} of {blocks}" if blocks > uses else f"{uses}" if uses > 1 else ""
    if kind.sizes:
        where = f"{' + '.join(map(str, kind.sizes))} layers"
    elif where:
        where += " alike"
    lines = [
        _title(kind, anatomy),
        f"{kind.entering} → {kind.leaving}",
        " · ".join(filter(None, (kind.drawn.name, where))),
    ]
    width = max(across + 40, 62 + 8.6 * len(lines[0]), 36 + max(LETTER * len(line) for line in lines))
    parts = [element("rect", class_="panel", width=width, height=down + CAPTION, rx=10), *badge(16, 25, kind.letter)]
    parts += [text(42, 29, lines[0], class_="name"), text(16, 49, lines[1], class_="small quiet")]
    parts.append(text(16, 64, lines[2], class_="small quiet"))
    parts.append(element("g", *drawn, transform=f"translate({written((width - across) / 2)} 78)"))
    return width, down + CAPTION, parts


def _title(kind: Kind, anatomy: Anatomy) -> str:
    """Return the class of a block, after what the stages that are such a block are called: inception · Branches."""
    starts = {call.start for call in kind.calls}
    stages = [stage.name for stage in anatomy.stages if len(starts & set(stage.nodes)) == 1]
    words = {re.split(r"[\W\d_]", stage)[0] for stage in stages}
    if len(stages) < len(kind.calls) or len(words) > 1 or words & {"stage", "block", "layer", "conv"}:
        return kind.type
    word = words.pop()
    return kind.type if word.lower() in kind.type.lower() else f"{word} · {kind.type}"


def _drawn(layout: Layout) -> list[Markup]:
    return [
        *(arrow(line.points, head=line.arrow) for line in layout.lines),
        *(part for box in layout.boxes.values() for part in _box(box)),
    ]


def _box(box: Box) -> list[Markup]:
    unit, left, top = box.unit, box.x - box.width / 2, box.y - box.height / 2
    if unit.kind == "join" and len(unit.title) == 1:
        shape = element("circle", class_="join", cx=box.x, cy=box.y, r=box.height / 2 - 1)
        return [shape, text(box.x, box.y + 5.5, unit.title, class_="name", anchor="middle")]
    radius = box.height / 2 if unit.kind in ("join", "input") else 5
    parts = [element("rect", class_=unit.kind, x=left, y=top, width=box.width, height=box.height, rx=radius)]
    first = box.y + (4 if not unit.note else -2.5)
    parts.append(text(box.x, first, unit.title, anchor="middle"))
    if unit.note:
        parts.append(text(box.x, first + 14, unit.note, class_="small quiet", anchor="middle"))
    return parts


def _dense(block: Dense) -> tuple[float, float, list[Markup]]:
    """Return the figure of a dense block: its first layers with all that feeds each, and beside them one's inside."""
    count_all = len(block.layers)
    few = count_all <= SHOWN_LAYERS + 1
    shown = list(range(count_all if few else SHOWN_LAYERS))
    places: dict[int, Box] = {}
    width, step = max(LETTER * max(len(a), len(b)) for a, b in block.layers) + 26, 60.0
    parts: list[Markup] = []
    for row, at in enumerate([INPUT, *shown]):
        unit = Unit("input", "input") if at == INPUT else Unit("conv", *block.layers[at])
        places[at] = Box(unit, width / 2, 14 + row * step, width if at != INPUT else 74, 26 if at == INPUT else 38)
    y = 14 + (len(shown) + 1) * step
    if not few:
        parts.append(text(width / 2, y - 8, f"⋮  {count_all - len(shown)} more", class_="small quiet", anchor="middle"))
        y += 24
    places[count_all] = Box(Unit("join", "concat"), width / 2, y, 66, 24)
    order = [INPUT, *shown, count_all]
    reach = width + 16
    for position, target in enumerate(order[1:], 1):
        sources = [one for one in block.sources[target] if one in places]
        for number, source in enumerate(sources):
            span = position - order.index(source)
            x = width + 8 + 15 * span
            reach = max(reach, x + 8)
            parts.append(_arc(places[source], places[target], x, number, len(sources)))
    for box in places.values():
        parts += _box(box)
    inside = laid_out(block.inside)
    left = reach + 44
    parts.append(text(0, y + 36, "Each layer is fed by all before it.", class_="small quiet"))
    parts.append(text(left, 4, f"inside {block.layers[-1][0]}", class_="small quiet"))
    parts.append(element("g", *_drawn(inside), transform=f"translate({written(left)} 14)"))
    return left + inside.width, max(y + 40, inside.height + 14), parts


def _arc(source: Box, target: Box, x: float, number: int, among: int) -> Markup:
    """Return the arrow from a box to a later one around the right side of those between; each source has a colour."""
    start, end = source.x + source.width / 2, target.x + target.width / 2
    top = source.y + 3
    low = target.y + (number - (among - 1) / 2) * min(7.0, (target.height - 10) / max(among - 1, 1))
    bend = min(22.0, (low - top) / 2)
    line = path(
        f"wire arc{number % ARCS}", "M", start, top, "C", x + 6, top, x, top + 4, x, top + bend, "V", low - bend,
        "C", x, low - 4, x + 6, low, end + 5, low,
    )  # fmt: skip
    return line + polygon(f"tip arc{number % ARCS}", ((end + 7, low - 3.5), (end + 7, low + 3.5), (end, low)))
