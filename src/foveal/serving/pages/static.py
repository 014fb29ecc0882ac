"""What pages load: a style sheet and a few scripts, each under a name with its own hash, kept by browsers for long."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from fastapi import APIRouter, Request, Response

from foveal.serving.refusal import Refusal
from foveal.web import asset

HERE = "foveal.serving.pages"
SCRIPTS = ("htmx.min", "page", "signing", "viewer", "worklist", "try")

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    content: bytes
    kind: str


@cache
def files() -> Mapping[str, File]:
    """Return the files by name, such as ``page.1f0c3a9b2d4e.js``."""
    style = asset("foveal.web", "style.css") + asset(HERE, "static/pages.css")
    found = {"pages.css": File(style.encode(), "text/css; charset=utf-8")}
    for name in SCRIPTS:
        content = asset(HERE, f"static/{name}.js").encode()
        found[f"{name}.js"] = File(content, "text/javascript; charset=utf-8")
    found["htmx.LICENSE.txt"] = File(asset(HERE, "static/htmx.LICENSE.txt").encode(), "text/plain; charset=utf-8")
    return {_named(name, file): file for name, file in found.items()}


@cache
def address(name: str) -> str:
    """Return the address of the file `name`, such as ``pages.css``."""
    stem, _, ending = name.rpartition(".")
    return next(f"/static/{one}" for one in files() if one.startswith(f"{stem}.") and one.endswith(f".{ending}"))


@router.get("/static/{name}")
def static(request: Request, name: str) -> Response:
    """Return a file; it never changes under its name."""
    del request
    file = files().get(name)
    if file is None:
        raise Refusal(404, "not_found", "There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(file.content, headers=headers, media_type=file.kind)


def _named(name: str, file: File) -> str:
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(file.content).hexdigest()[:12]}.{ending}"
