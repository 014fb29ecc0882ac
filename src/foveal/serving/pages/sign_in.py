"""Signing in and out, by hand or after a while without a sign of life."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from foveal.serving.http.identity import Identity, address_of
from foveal.serving.pages.arriving import checked_fields, viewer
from foveal.serving.pages.frame import PageRoute, elsewhere, show
from foveal.serving.refusal import Refusal
from foveal.storage import accounts

router = APIRouter(route_class=PageRoute, include_in_schema=False)

IDLE = "You were signed out because nothing happened for a while. What you wrote is kept in this browser."


@router.get("/login")
async def login_page(request: Request, next: str = "/", why: str = "") -> Response:
    """Show the form."""
    identity = Identity.of(request)
    caller = await identity.caller(request)
    if caller is not None and caller.session is not None:
        return elsewhere(local(next))
    note = IDLE if why == "idle" else ""
    return show(request, "sign_in.html.jinja", caller, title="Sign in", next=local(next), said="", note=note, name="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Let somebody in; guesses are slowed down by name and address."""
    identity = Identity.of(request)
    fields, _ = await checked_fields(request)
    name, password, after = fields.get("name", ""), fields.get("password", ""), local(fields.get("next", "/"))
    address = address_of(request)
    guessed = f"{name.casefold()[:80]} {address}"
    status, said, entered = 401, "The name or the password is wrong.", None
    try:
        identity.sign_ins.begin(guessed)
        identity.addresses.begin(address)
        async with identity.hashing:
            entered = await asyncio.to_thread(accounts.sign_in, identity.database, name[:200], password[:2000])
    except Refusal as refusal:
        if refusal.status != 429:
            raise
        status, said = 429, refusal.message
    if entered is None:
        return show(
            request,
            "sign_in.html.jinja",
            None,
            title="Sign in",
            status=status,
            next=after,
            said=said,
            note="",
            name=name,
        )
    identity.sign_ins.succeeded(guessed)
    identity.addresses.succeeded(address)
    _, secret = entered
    response = elsewhere(after)
    response.set_cookie(identity.cookie, secret, httponly=True, samesite="strict", secure=identity.is_secure, path="/")
    _forget(response, identity, identity.visitor_cookie)
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session of this browser."""
    identity = Identity.of(request)
    fields, _ = await checked_fields(request)
    caller = await identity.caller(request)
    idle = fields.get("idle") == "yes"
    session = caller.session if caller is not None else None
    if session is not None:
        await asyncio.to_thread(lambda: accounts.sign_out(identity.database, session, idle=idle))
    by_script = "application/json" in request.headers.get("accept", "")
    response = Response(status_code=204) if by_script else elsewhere("/login")
    _forget(response, identity, identity.cookie)
    return response


@router.post("/alive")
async def alive(request: Request, _: Annotated[object, Depends(viewer("read"))]) -> Response:
    """Take note that somebody is there: asked by the page while a mouse or a keyboard is used."""
    await checked_fields(request)
    return Response(status_code=204)


def _forget(response: Response, identity: Identity, cookie: str) -> None:
    """Have the browser forget a cookie; one called __Host-… it only does where that is said as it was set: secure."""
    response.delete_cookie(cookie, path="/", secure=identity.is_secure, httponly=True, samesite="strict")


def local(path: str) -> str:
    """Return `path` where it leads to a page of ours, else the front page."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe and not path.startswith(("/login", "/logout")) else "/"
