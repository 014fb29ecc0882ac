"""The confusion matrix: how dark a cell is, which images lie in it, and the figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from markupsafe import Markup

from foveal.report.results import Answer, Scores
from foveal.report.svg import standalone
from foveal.web.svg import element, printable

MOST_CLASSES = 30  # above that the matrix is too large to read and the pairs are listed
MOST_PAIRS = 30
LEVELS = (0.02, 0.05, 0.15, 0.40, 0.70)  # upper bounds of the row share of shading 1 to 5; above the last it is 6

Cell = tuple[int, int]  # (true, predicted), as positions in the list of classes

_STYLE = "\n".join(
    (
        ".empty { fill: #f6f7f8; } .count { font-size: 12px; } text.light { fill: #ffffff; }",
        *(
            f".{kind}.s{level} {{ fill: {colour}; }}"
            for kind, colours in (
                ("right", ("#e3effa", "#c3ddf3", "#93c1e8", "#5a9fd8", "#2171b5", "#0b4f8a")),
                ("wrong", ("#fdeedd", "#fbd9b4", "#f6b878", "#ec9340", "#b4540a", "#8a3b00")),
            )
            for level, colour in enumerate(colours, start=1)
        ),
    )
)


def shading(number: int, row_total: int) -> int:
    """Return how dark a cell is, 0 (no image) to 6, by the share of its row."""
    if not number or not row_total:
        return 0
    return 1 + sum(number / row_total > bound for bound in LEVELS)


def confused_pairs(scores: Scores) -> list[Cell]:
    """Return every off-diagonal cell that holds an image, most images first, then the largest share of its row."""
    totals = [sum(row) for row in scores.confusion]
    cells = [
        (true, predicted)
        for true, row in enumerate(scores.confusion)
        for predicted, number in enumerate(row)
        if number and true != predicted
    ]
    return sorted(cells, key=lambda cell: (-scores.confusion[cell[0]][cell[1]], totals[cell[0]], cell))


def images_by_cell(scores: Scores, answers: Sequence[Answer]) -> dict[Cell, list[Answer]]:
    """Return the images of every cell: the most confident mistakes first, on the diagonal the least confident first."""
    position = {name: index for index, name in enumerate(scores.classes)}
    cells: defaultdict[Cell, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.label in position and answer.predicted in position:
            cells[position[answer.label], position[answer.predicted]].append(answer)
    for (true, predicted), images in cells.items():
        images.sort(key=lambda answer: (answer.probability, answer.record_id), reverse=true != predicted)
    return dict(cells)


def contradicted(scores: Scores, cells: dict[Cell, list[Answer]]) -> bool:
    """Whether the stored predictions and the stored matrix disagree on any cell."""
    return any(
        number != len(cells.get((true, predicted), ()))
        for true, row in enumerate(scores.confusion)
        for predicted, number in enumerate(row)
    )


def worst_mistakes(answers: Sequence[Answer], limit: int) -> list[Answer]:
    """Return the wrong answers given with the highest probability."""
    wrong = [answer for answer in answers if answer.label != answer.predicted]
    return sorted(wrong, key=lambda answer: (-answer.probability, answer.record_id))[:limit]


def confusion_figure(scores: Scores) -> str:
    """Return the matrix as an SVG file: numbers up to 30 classes, shades alone above."""
    n = len(scores.classes)
    numbered = n <= MOST_CLASSES
    side = 38.0 if numbered else max(900 / n, 1.0)
    labels = [_short(name) for name in scores.classes] if n <= 60 else []
    margin = 34.0 + 7.2 * max((len(label) for label in labels), default=0)
    size = margin + side * n + 16
    parts: list[Markup] = []
    for true, row in enumerate(scores.confusion):
        total = sum(row)
        for predicted, number in enumerate(row):
            if number or numbered:
                parts += _cell(number, shading(number, total), (true, predicted), side, margin)
    font = min(12.0, side * 0.9)
    for index, label in enumerate(labels):
        middle = margin + side * (index + 0.5)
        parts.append(
            element("text", label, x=margin - 8, y=middle + 4, text_anchor="end", style=f"font-size: {font}px")
        )
        turned = f"rotate(-90 {middle + 4:.1f} {margin - 8:.1f})"
        parts.append(element("text", label, x=middle + 4, y=margin - 8, transform=turned, style=f"font-size: {font}px"))
    centre = margin + side * n / 2
    parts.append(element("text", "predicted", class_="axis-title", x=centre, y=16, text_anchor="middle"))
    turned = f"rotate(-90 16 {centre:.1f})"
    parts.append(element("text", "true", class_="axis-title", x=16, y=centre, text_anchor="middle", transform=turned))
    parts.append(element("rect", x=margin, y=margin, width=side * n, height=side * n, fill="none", stroke="#858d97"))
    return standalone(size, size, f"Confusion matrix of {scores.n} test images", *parts, style=_STYLE)


def _cell(number: int, level: int, cell: Cell, side: float, margin: float) -> list[Markup]:
    x, y = margin + side * cell[1], margin + side * cell[0]
    kind = f"{'right' if cell[0] == cell[1] else 'wrong'} s{level}" if level else "empty"
    numbered = side > 20
    gap = 1.0 if numbered else 0.0
    drawn = [element("rect", class_=kind, x=x + gap, y=y + gap, width=side - 2 * gap, height=side - 2 * gap)]
    if numbered and number:
        tone = "count light" if level >= 5 else "count"
        drawn.append(
            element("text", str(number), class_=tone, x=x + side / 2, y=y + side / 2 + 4, text_anchor="middle")
        )
    return drawn


def _short(name: str, length: int = 18) -> str:
    shown = printable(name)
    return shown if len(shown) <= length else shown[: length - 1] + "…"
