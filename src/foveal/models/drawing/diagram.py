"""A network drawn: its stages from top to bottom, and beside them how one block of each kind is wired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from foveal.models.anatomy.anatomy import Anatomy, Stage
from foveal.models.anatomy.auxiliary import AuxiliaryHead
from foveal.models.anatomy.summary import count, pair
from foveal.models.drawing.block_figure import block_figure
from foveal.models.drawing.layout import LETTER
from foveal.models.drawing.strokes import arrow, badge, path, polygon, text
from foveal.models.drawing.wiring import Kind, is_passage, kinds, unit_of
from foveal.web.assets import asset
from foveal.web.svg import element, written

NAMESPACE = "http://www.w3.org/2000/svg"
OVERVIEW, ALONE, PANEL = 430.0, 740.0, 860.0  # widths of the stages beside blocks and alone; of blocks
ROW, AUXILIARY_ROW = 66.0, 40.0  # heights of a stage and of an auxiliary head
EDGE, HEAD = 28.0, 96.0  # margin, height of the title
MOST_KINDS = 9
SMALL = 5.8  # width of a small letter
LEAST = 740.0  # width of the facts and the legend


def diagram(anatomy: Anatomy) -> str:
    """Return the drawing of `anatomy` as the text of an SVG file, for light and dark surroundings."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing(anatomy)}\n'


def drawing(anatomy: Anatomy) -> Markup:
    """Return the drawing as an element that a page can hold."""
    found = kinds(anatomy)
    shown = found[:MOST_KINDS]
    figures, used, deep = _flowed([block_figure(kind, anatomy) for kind in shown])
    column = OVERVIEW if shown else ALONE
    stages = ROW * len(anatomy.stages) + AUXILIARY_ROW * len(anatomy.auxiliary) + 14
    tall = max(stages, deep) + HEAD + 62
    wide = EDGE * 2 + max(column + (used + 34 if shown else 0), len(anatomy.title) * 12.4, LEAST)
    left_out = len(found) - len(shown)
    sight = f"a cell of the last map sees {pair(anatomy.receptive_field)} pixels" if anatomy.receptive_field[0] else ""
    auxiliary = anatomy.auxiliary_parameters
    facts = [
        f"{anatomy.parameters:,} parameters{f', {auxiliary:,} of them in auxiliary heads' if auxiliary else ''}",
        f"{count(anatomy.macs)} multiply-adds",
        *([f"{sight}, every {pair(anatomy.stride)}"] if sight else []),
    ]
    children = [
        element("title", anatomy.title),
        element("desc", _told(anatomy, found)),
        element("style", Markup(asset("foveal.models.drawing", "diagram.css"))),
        element("rect", class_="page", width=wide, height=tall),
        text(EDGE, 46, anatomy.title, class_="title"),
        text(EDGE, 70, " · ".join(facts), class_="quiet"),
        element("g", *_stages(anatomy, found, column), transform=f"translate({written(EDGE)} {written(HEAD)})"),
        element("g", *figures, transform=f"translate({written(EDGE + column + 34)} {written(HEAD)})"),
        _legend(tall - 26, f" · {left_out} more kinds of blocks are not drawn" if left_out else ""),
    ]
    return element(
        "svg", *children, xmlns=NAMESPACE, class_="fa", viewBox=f"0 0 {written(wide)} {written(tall)}",
        width=wide, height=tall, role="img",
    )  # fmt: skip


# --- the stages ---


def _stages(anatomy: Anatomy, found: Sequence[Kind], width: float) -> list[Markup]:
    """Return the column of the stages, with the map that leaves each one."""
    parts = [text(0, 4, f"input {'×'.join(map(str, anatomy.input))}", class_="quiet")]
    y = 16.0
    for number, stage in enumerate(anatomy.stages):
        parts.append(arrow(((38, y - 6 if number else y - 4), (38, y + 8)), head=True))
        parts.append(element("rect", class_="panel", x=0, y=y + 9, width=width, height=ROW - 16, rx=8))
        parts += _map(anatomy, stage, 38, y + ROW / 2 + 1)
        parts.append(text(88, y + 28, stage.name, class_="name"))
        parts.append(text(width - 14, y + 28, stage.output, class_="quiet", anchor="end"))
        seen = f"sees {pair(stage.receptive_field)}" if stage.receptive_field else ""
        costs = " · ".join(
            filter(None, (f"{count(stage.parameters, digits=3)} param." if stage.parameters else "", seen))
        )
        parts.append(text(width - 14, y + 47, costs, class_="small quiet", anchor="end"))
        made, room = _made_of(anatomy, stage, found, brief=False), width - 116 - SMALL * len(costs)
        if sum((34 if letter else 12) + SMALL * len(words) for letter, words in made) > room + 12:
            made = _made_of(anatomy, stage, found, brief=True)
        x = 88.0
        for letter, words in made:
            said = words if letter else _cut(words, int((88 + room - x) / SMALL))
            parts += badge(x, y + 43, letter) if letter else []
            parts.append(text(x + (22 if letter else 0), y + 47, said, class_="small" if letter else "small quiet"))
            x += (34 if letter else 12) + SMALL * len(said)
        y += ROW
        for head in anatomy.hanging_on(stage):
            parts += _auxiliary(head, y, width, ends=stage is anatomy.stages[-1])
            y += AUXILIARY_ROW
    return parts


def _auxiliary(head: AuxiliaryHead, y: float, width: float, *, ends: bool) -> list[Markup]:
    """Return the row of an auxiliary head: beside the way from a stage to the next one, which goes on."""
    middle, room = y + AUXILIARY_ROW / 2 - 2, int((width - 88 - 14) / SMALL)
    costs = f"{count(head.parameters, digits=3)} param. · in training only"
    said = _cut(f"{head.name} · {head.type}", room - len(costs) - 3)
    return [
        path("wire", "M", 38, y - 6, "V", middle if ends else y + AUXILIARY_ROW - 6),
        path("wire", "M", 38, middle, "H", 72),
        element("rect", class_="input", x=72, y=middle - 14, width=width - 72, height=28, rx=8),
        text(88, middle + 4, said, class_="small"),
        text(width - 14, middle + 4, costs, class_="small quiet", anchor="end"),
    ]


def _made_of(anatomy: Anatomy, stage: Stage, found: Sequence[Kind], *, brief: bool) -> list[tuple[str, str]]:
    """Return what a stage is made of, in order: (letter of a kind of block, "× 3"), or ("", other layers in words).

    Where it is to be `brief`, norms and activations are named only where nothing stronger stands.
    """
    starts = {call.start: (kind.letter, call.stop) for kind in found for call in kind.calls}
    parts: list[tuple[str, list[int]]] = []
    at = stage.nodes.start
    while at < stage.nodes.stop:
        letter, stop = starts.get(at, ("", at + 1))
        if parts and parts[-1][0] == letter:
            parts[-1][1].append(at)
        else:
            parts.append((letter, [at]))
        at = stop
    said = []
    for letter, places in parts:
        titles = [(title, len(list(group))) for title, group in groupby(_chain(places, anatomy, brief=brief))]
        words = " · ".join(f"{times} × {title}" if times > 1 else title for title, times in titles)
        said.append((letter, f"× {len(places)}" if letter else words))
    return [(letter, words) for letter, words in said if words]


def _chain(places: Sequence[int], anatomy: Anatomy, *, brief: bool) -> list[str]:
    """Return the layers at `places` in words."""
    nodes = [anatomy.trace.nodes[at] for at in places]
    units = [unit_of(node) for node in nodes if not is_passage(node)]
    strong = [unit.title for unit in units if unit.kind in ("conv", "pool", "dense")]
    return strong if brief and strong else [unit.title for unit in units]


def _map(anatomy: Anatomy, stage: Stage, x: float, y: float) -> list[Markup]:
    """Return a block as high as the map is wide and as deep as it has channels, by logarithm; of a vector, a bar."""
    shape = anatomy.trace.nodes[stage.nodes[-1]].shape
    if len(shape) != 3 or shape[1] * shape[2] == 1:
        height = 6 + 2.6 * math.log2(max(shape[0] if shape else 1, 1))
        return [element("rect", class_="vector", x=x - 4, y=y - height / 2, width=8, height=height, rx=2)]
    side = 4 + 20 * math.log2(max(shape[1:]) + 1) / math.log2(max(*anatomy.input[1:], 2) + 1)
    depth = 2 + 2.2 * math.log2(shape[0] + 1)
    left, top, shift = x - (side + depth) / 2, y - (side - depth * 0.4) / 2, depth * 0.4
    right, back, up = left + side, left + side + depth, top - shift
    drawn = [
        polygon("top", ((left, top), (left + depth, up), (back, up), (right, top))),
        polygon("side", ((right, top), (back, up), (back, up + side), (right, top + side))),
    ]
    return [*drawn, element("rect", class_="front", x=left, y=top, width=side, height=side)]


def _flowed(figures: Sequence[tuple[float, float, list[Markup]]]) -> tuple[list[Markup], float, float]:
    """Return the figures in rows, with the width and height they take."""
    placed, x, y, row, used = [], 0.0, 0.0, 0.0, 0.0
    for width, height, parts in figures:
        if x and x + width > PANEL:
            x, y, row = 0.0, y + row + 18, 0.0
        placed.append(element("g", *parts, transform=f"translate({written(x)} {written(y)})"))
        used, row = max(used, x + width), max(row, height)
        x += width + 18
    return placed, used, y + row


# --- words ---


def _legend(y: float, more: str) -> Markup:
    parts, x = [], EDGE
    for kind, words in (
        ("conv", "convolution"),
        ("pool", "pooling"),
        ("dense", "dense"),
        ("norm", "norm, activation, other"),
    ):
        parts.append(element("rect", class_=kind, x=x, y=y - 10, width=14, height=12, rx=3))
        parts.append(text(x + 20, y, words, class_="small quiet"))
        x += 36 + LETTER * len(words)
    parts.append(text(x, y, f"a map's drawing: its side and its channels, by logarithm{more}", class_="small quiet"))
    return element("g", *parts)


def _told(anatomy: Anatomy, found: Sequence[Kind]) -> str:
    """Return the drawing in words."""
    stages = "; ".join(f"{stage.name} gives {stage.output}" for stage in anatomy.stages)
    blocks = "; ".join(f"kind {kind.letter} is {kind.type}, {len(kind.calls)} times" for kind in found)
    heads = "; ".join(
        f"{head.name} hangs on {stage.name}" for stage in anatomy.stages for head in anatomy.hanging_on(stage)
    )
    said = f"From top to bottom: {stages}.{f' Blocks: {blocks}.' if blocks else ''}"
    return f"{said}{f' In training only: {heads}.' if heads else ''}"


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: max(most - 1, 0)] + "…"
