"""The card: a piece of HTML by which a thing shows itself in a notebook."""

from __future__ import annotations

from markupsafe import Markup

from foveal.web.assets import asset, templates
from foveal.web.svg import element


def card(package: str, template: str, **values: object) -> str:
    """Return the card that `template` of `package` draws of `values`.

    It carries its own style, which takes the text's colour from where it stands and has no background,
    so that it is readable in the light and the dark theme of every front end without asking which one it is.
    """
    body = Markup(templates(package).get_template(template).render(**values))
    style = Markup(asset("foveal.web", "card.css"))
    return str(Markup("{}\n{}").format(element("style", style), element("div", body, class_="foveal-card")))
