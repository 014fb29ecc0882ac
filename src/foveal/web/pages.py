"""The page: one HTML document with the shared style sheet inside."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

from foveal.web.assets import asset, templates


def page(
    title: str,
    body: Markup | str,
    *,
    head: Markup | str = "",
    style: str = "",
    script: str = "",
    closed: bool = False,
) -> str:
    """Return a whole HTML document.

    `title`, and `body` and `head` where they are plain strings, are escaped; `Markup` goes in as it
    is. `style` and `script` are texts of our own files, never input. A `closed` page carries a content
    security policy under which it can load nothing at all and run no script but `script`.
    """
    return (
        templates("foveal.web")
        .get_template("shell.html.jinja")
        .render(
            title=title,
            body=body,
            head=head,
            style=Markup(asset("foveal.web", "style.css") + style),
            script=Markup(script),
            policy=closed_policy(script) if closed else "",
        )
    )


def closed_policy(script: str) -> str:
    """Return the content security policy of a page that needs nothing from outside: data pictures and `script` only."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
