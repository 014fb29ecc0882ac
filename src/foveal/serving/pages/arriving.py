"""Who comes to a page, and what their form says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from foveal.serving.http.identity import Caller, Identity, allowed
from foveal.serving.refusal import Refusal

MOST_FIELDS = 64
LONGEST_FIELD = 1 << 20
LARGEST_FORM = 1 << 20


@dataclass(frozen=True)
class Posted:
    """A form that came from one of our pages, and who sent it."""

    caller: Caller
    fields: Mapping[str, str]
    scopes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        """Return a field; an absent one is empty."""
        return self.fields.get(name, "")


def viewer(scope: str = "read") -> Callable[[Request], Awaitable[Caller]]:
    """Return the dependency of a page: who looks, if they may do `scope`; others are sent to sign in."""

    async def caller_who_may(request: Request) -> Caller:
        caller = await Identity.of(request).caller(request)
        if caller is None:
            raise Refusal(401, "unauthorized", "Sign in first.")
        return allowed(caller, scope)

    return caller_who_may


def posted(scope: str) -> Callable[[Request], Awaitable[Posted]]:
    """Return the dependency of a page that takes a form: the form and its sender, if they may do `scope`."""
    who = viewer(scope)

    async def form_of(request: Request) -> Posted:
        caller = await who(request)
        fields, scopes = await checked_fields(request, by_key=caller.by_key)
        return Posted(caller, fields, scopes)

    return form_of


async def checked_fields(request: Request, *, by_key: bool = False) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the fields of a form that one of our pages sent, and its `scope` boxes; Refusal for any other form."""
    form = await _read(request)
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    scopes = tuple(value for value in form.getlist("scope") if isinstance(value, str))
    if not by_key:
        check_token(request, fields.get("csrf"))
    return fields, scopes


def check_token(request: Request, of_form: str | None) -> None:
    """Raise Refusal unless the form, or a script's header, carries this browser's token."""
    identity = Identity.of(request)
    identity.tokens.check(identity.binding(request), request.headers.get("x-csrf-token") or of_form)


async def _read(request: Request) -> FormData:
    if int(request.headers.get("content-length") or 0) > LARGEST_FORM:
        raise Refusal(413, "form_too_large", "The form is too large.")
    try:
        return await request.form(max_files=0, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD)
    except (MultiPartException, HTTPException, ValueError, UnicodeDecodeError):
        raise Refusal(400, "malformed_form", "The form cannot be read.") from None
