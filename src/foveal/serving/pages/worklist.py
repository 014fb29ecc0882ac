"""The worklist: what waits for people, the most urgent first."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from foveal.serving.http.identity import Caller
from foveal.serving.pages.arriving import viewer
from foveal.serving.pages.frame import PageRoute, fragment, show
from foveal.storage import reviews
from foveal.storage.worklist import VIEWS, Wanted, classes_seen, page_of, shares_of, view_counts

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PER_PAGE = 50
TITLES = {
    "open": "To review",
    "reviewed": "Reviewed",
    "waiting": "Waiting for an answer",
    "quarantined": "Held back",
    "all": "All",
}
Text = Annotated[str, Query(max_length=200)]


def wanted_of(
    view: Text = "open", verdict: Text = "", leading: Text = "", abstained: Text = "", subject: Text = ""
) -> Wanted:
    """Return the filters in an address; what is not known there is left out."""
    return Wanted(
        view if view in VIEWS else "open",
        verdict if verdict in reviews.VERDICTS else None,
        leading or None,
        {"yes": True, "no": False}.get(abstained),
        subject.strip() or None,
    )


WantedHere = Annotated[Wanted, Depends(wanted_of)]
Looking = Annotated[Caller, Depends(viewer("read"))]


def query_of(wanted: Wanted, **more: str | None) -> str:
    """Return the part of an address that says what is wanted, with its question mark; nothing for the usual."""
    abstained = {True: "yes", False: "no"}.get(wanted.abstained) if wanted.abstained is not None else None
    said = {
        "view": None if wanted.view == "open" else wanted.view,
        "verdict": wanted.verdict,
        "leading": wanted.leading,
        "abstained": abstained,
        "subject": wanted.subject,
        **more,
    }
    text = urlencode({name: value for name, value in said.items() if value})
    return f"?{text}" if text else ""


@router.get("/worklist")
def worklist(request: Request, wanted: WantedHere, caller: Looking, after: Text = "") -> Response:
    """Show the list with its filters."""
    service = request.app.state.service
    with service.database.read() as connection:
        listed = _listed(connection, wanted, after, service.settings.urgent)
        classes = list(dict.fromkeys([*service.served.classes, *classes_seen(connection)]))
    return show(
        request,
        "worklist.html.jinja",
        caller,
        title="Worklist",
        scripts=("htmx.min", "worklist"),
        wanted=wanted,
        classes=classes,
        verdicts=reviews.VERDICTS,
        **listed,
    )


@router.get("/worklist/rows")
def rows(request: Request, wanted: WantedHere, _: Looking, after: Text = "", revision: Text = "") -> Response:
    """Return the list alone, for a page that keeps itself current; nothing where it is as it was."""
    service = request.app.state.service
    with service.database.read() as connection:
        listed = _listed(connection, wanted, after, service.settings.urgent)
    if listed["revision"] == revision:
        return Response(status_code=204)
    return HTMLResponse(fragment("worklist_rows.html.jinja", wanted=wanted, **listed))


def _listed(connection: Connection, wanted: Wanted, after: str, urgent: Collection[str]) -> dict[str, Any]:
    found = page_of(connection, wanted, after=after or None, limit=PER_PAGE + 1)
    shown, more = found[:PER_PAGE], len(found) > PER_PAGE
    counts = view_counts(connection)
    state = repr([(row["id"], row["version"], row["state"], row["review"]) for row in shown]) + repr(counts)
    return {
        "rows": shown,
        "urgent": urgent,
        "shares": shares_of(connection, shown, urgent) if wanted.view == "open" else {},
        "counts": counts,
        "titles": TITLES,
        "query": query_of(wanted),
        "query_of_view": lambda view: query_of(Wanted(view)),
        "next_page": query_of(wanted, after=shown[-1]["id"]) if more else None,
        "this_page": query_of(wanted, after=after or None),
        "revision": hashlib.sha256(state.encode()).hexdigest()[:16],
    }
