"""Drawing: one SVG element at a time, everything escaped."""

from __future__ import annotations

import math
import unicodedata

from markupsafe import Markup, escape

NAMESPACE = "http://www.w3.org/2000/svg"

STANDALONE_STYLE = """
text { font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; font-size: 13px; fill: #171b21; }
.tick, .axis-title { fill: #545c67; font-size: 12px; } .title { font-weight: 600; font-size: 14px; }
.grid { stroke: #d9dce0; stroke-width: 1; } .best { stroke: #545c67; stroke-width: 1; stroke-dasharray: 2 3; }
.train { stroke: #b04e00; } .validation { stroke: #0b62a8; } text.train { fill: #b04e00; stroke: none; }
text.validation { fill: #0b62a8; stroke: none; } .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.curve.train { stroke-dasharray: 6 4; } .point.train { fill: #ffffff; stroke-width: 1.5; }
.point.validation { fill: #0b62a8; stroke: #ffffff; } .best-label { fill: #545c67; font-size: 12px; }
.cursor { display: none; }
"""


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Return ``<name attribute="…">children</name>``; plain strings are escaped, Markup is not.

    A trailing underscore of an attribute's name is dropped (``class_``), others become hyphens.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _written(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(printable(child)) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def standalone(width: float, height: float, label: str, *children: Markup, style: str = "") -> str:
    """Return a whole SVG file on white, with its own colours."""
    drawing = element(
        "svg",
        element("title", label),
        element("style", Markup(STANDALONE_STYLE + style)),
        element("rect", width=width, height=height, fill="#ffffff"),
        *children,
        xmlns=NAMESPACE,
        viewBox=f"0 0 {_written(width)} {_written(height)}",
        width=width,
        height=height,
        role="img",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing}\n'


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers that enclose `low` to `high`, about `wanted` of them."""
    span = high - low
    if not span > 0:
        span = abs(high) or 1.0
        high = low + span
    rough = span / max(wanted - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def printable(text: str) -> str:
    """Return `text` with control characters, which XML forbids or which turn the reading order, made visible."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _OVERRIDES
        else character
        for character in text
    )


_OVERRIDES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return printable(str(value))
