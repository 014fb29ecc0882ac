"""The page shell and the style sheet that every page of Foveal shares.

A room that shows pages keeps its templates and style beside its code, renders its body with
`templates("foveal.room")`, and hands the body to `page`. Nothing here reaches the network, and every
text that goes into a template is escaped.
"""

from foveal.web.assets import asset, templates
from foveal.web.cards import card
from foveal.web.pages import page

__all__ = ["asset", "card", "page", "templates"]
