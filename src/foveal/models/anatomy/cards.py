"""How an anatomy shows itself in a notebook: drawn, with its table beneath."""

from __future__ import annotations

from foveal.models.anatomy.anatomy import Anatomy
from foveal.models.anatomy.summary import lines
from foveal.models.drawing.diagram import drawing
from foveal.web import card

WIDTH = 110  # columns of the table


def anatomy_card(anatomy: Anatomy) -> str:
    """Return the card of `anatomy`."""
    return card(
        "foveal.models.anatomy",
        "anatomy.html.jinja",
        drawing=drawing(anatomy),
        lines=lines(anatomy, width=WIDTH),
        layers=len(anatomy.layers),
    )
