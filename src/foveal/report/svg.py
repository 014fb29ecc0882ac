"""A drawing as a file of its own."""

from __future__ import annotations

from markupsafe import Markup

from foveal.web.svg import element, written

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


def standalone(width: float, height: float, label: str, *children: Markup, style: str = "") -> str:
    """Return a whole SVG file on white, with its own colours."""
    drawing = element(
        "svg",
        element("title", label),
        element("style", Markup(STANDALONE_STYLE + style)),
        element("rect", width=width, height=height, fill="#ffffff"),
        *children,
        xmlns=NAMESPACE,
        viewBox=f"0 0 {written(width)} {written(height)}",
        width=width,
        height=height,
        role="img",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing}\n'
