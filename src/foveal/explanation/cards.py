"""How explanations show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.explanation.explanation import Explanation, percent
from foveal.explanation.sheets import as_rgb, fitted
from foveal.web import card
from foveal.web.thumbnails import picture_address

MOST_SHOWN = 24
SIDE = 192  # of a picture, in pixels


def explanations_card(explanations: Sequence[Explanation]) -> str:
    """Return the card of `explanations`: the picture and the overlay of each, what it is, and what is against it."""
    shown = [
        {
            "one": one,
            "share": percent(one.probability),
            "pictures": [picture_address(fitted(picture, SIDE)) for picture in (as_rgb(one.picture), one.drawn())],
        }
        for one in explanations[:MOST_SHOWN]
    ]
    left_out = max(0, len(explanations) - MOST_SHOWN)
    return card("foveal.explanation", "explanations.html.jinja", shown=shown, left_out=left_out, side=SIDE)
