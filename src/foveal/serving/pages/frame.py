"""The frame around every page, and how a page is answered: rendered, sent elsewhere, or refused in words."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from foveal.errors import FovealError, UsageError
from foveal.serving.answer import DISCLAIMER
from foveal.serving.http.identity import Caller, Identity
from foveal.serving.http.problems import refusal_of_error
from foveal.serving.logs import get_log
from foveal.serving.pages import words
from foveal.serving.pages.static import address
from foveal.serving.refusal import Refusal
from foveal.web import templates

HERE = "foveal.serving.pages"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser's forms would come from the origin "null"
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def environment() -> Environment:
    """Return the templates of the pages, compiled once."""
    made = templates(HERE)
    made.globals.update(static=address, words=words, disclaimer=DISCLAIMER)
    made.filters.update(percent=words.percent, moment=words.moment, ago=words.ago, iso=words.iso, plural=words.plural)
    return made


def fragment(template: str, **values: Any) -> Markup:
    """Return a part of a page."""
    return Markup(environment().get_template(template).render(**values))


def show(
    request: Request,
    template: str,
    caller: Caller | None,
    *,
    title: str,
    status: int = 200,
    scripts: tuple[str, ...] = (),
    **values: Any,
) -> Response:
    """Return the page that `template` makes, in the frame, with the token of this browser's forms."""
    identity = Identity.of(request)
    binding = identity.binding(request)
    made = None if binding else secrets.token_urlsafe(24)
    settings = identity.settings
    body = (
        environment()
        .get_template(template)
        .render(
            title=title,
            caller=caller,
            csrf=identity.tokens.make(binding or made or ""),
            here=request.url.path,
            back=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            scripts=scripts,
            guests=settings.guests,
            idle_s=settings.session_idle_minutes * 60 if caller is not None and caller.session is not None else 0,
            **values,
        )
    )
    response = HTMLResponse(body, status, headers=HEADERS)
    if made is not None:
        response.set_cookie(
            identity.visitor_cookie, made, httponly=True, samesite="strict", secure=identity.is_secure, path="/"
        )
    return response


def elsewhere(path: str) -> Response:
    """Return the answer that sends a browser on after a form was taken."""
    return RedirectResponse(path, 303)


class PageRoute(APIRoute):
    """A route whose errors are pages: words for people, or the way to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with the errors caught."""
        handle = super().get_route_handler()

        async def handle_in_words(request: Request) -> Response:
            try:
                return await handle(request)
            except Refusal as error:
                return refused(request, error)
            except UsageError as error:
                return refused(request, Refusal(422, "refused", str(error)))
            except FovealError as error:
                return refused(request, refusal_of_error(error))
            except RequestValidationError:
                return refused(request, Refusal(400, "bad_request", "The address or the form is not as it should be."))
            except HTTPException as error:
                return refused(request, Refusal(error.status_code, "refused", str(error.detail)))
            except ClientDisconnect:
                raise
            except Exception as error:  # noqa: BLE001  # told in the log, as problems.handle_errors does
                get_log().error("bug", request_id=str(getattr(request.state, "request_id", "")), exc_info=error)
                return refused(request, Refusal(500, "failed", "The service failed; its log says why."))

        return handle_in_words


def refused(request: Request, refusal: Refusal) -> Response:
    """Return the page of a refusal; scripts get JSON, and who is not signed in is asked to be."""
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    if "application/json" in request.headers.get("accept", ""):
        error = {"code": refusal.code, "message": refusal.message}
        return JSONResponse({"error": error}, refusal.status, headers=headers)
    if refusal.status == 401:
        page = f"{request.url.path}?{request.url.query}".rstrip("?")
        where = f"/login?next={quote(page, safe='/')}" if request.method == "GET" else "/login"
        if "hx-request" in request.headers:
            return Response(status_code=204, headers={"HX-Redirect": "/login"})
        return elsewhere(where)
    if "hx-request" in request.headers:
        return Response(status_code=204)  # a page that asks by itself goes on with what it shows
    response = show(
        request, "refused.html.jinja", None, title="That did not work", status=refusal.status, refusal=refusal
    )
    response.headers.update(headers)
    return response
