"""Who asks, and what they may do.

A program shows a key (``Authorization: Bearer fv_…`` or ``X-API-Key``), a person a session's cookie; whoever sits at
the machine itself is a guest, where guests are let in. A wrong key is refused and never taken for a guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request

from foveal.errors import StorageError
from foveal.serving.http.forms import Tokens
from foveal.serving.http.throttle import Throttle
from foveal.serving.refusal import Refusal
from foveal.serving.settings import Settings, is_loopback
from foveal.storage import accounts, keys
from foveal.storage.accounts import Session
from foveal.storage.database import Database

GUEST = "guest"
GUEST_SCOPES = frozenset({"predict", "explain", "read", "review"})
KEY_COUNTS_S = 30.0  # how long a verified key counts without being looked up; a revoked one is noticed within it
MOST_KEYS = 1024
HASHES_AT_ONCE = 2  # each takes a core and 64 MiB
TOUCH_S = 30.0
SAFE = ("GET", "HEAD", "OPTIONS")
POLL = "x-foveal-poll"  # a request that a page makes by itself; it is no sign of life of a person


@dataclass(frozen=True)
class Caller:
    """Who asks: how the trail calls them, what they may do, and how a page calls them."""

    actor: str
    scopes: frozenset[str]
    name: str
    session: Session | None = None
    by_key: bool = False

    def may(self, scope: str) -> bool:
        """Say whether the caller may do what `scope` names; an admin may do everything."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def is_guest(self) -> bool:
        """Whether nobody is signed in."""
        return self.actor == GUEST


class Identity:
    """What is needed to say who asks; one a service."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Bind to the service's `settings` and `database`."""
        self.settings, self.database = settings, database
        self.tokens = Tokens(settings)
        self.sign_ins = Throttle(free=5)
        self.addresses = Throttle(free=20)
        self.keys = Throttle(free=20)
        self.hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()  # until when, and whose key it is
        self._verifying: dict[str, asyncio.Task[Caller | None]] = {}

    @classmethod
    def of(cls, request: Request) -> Identity:
        """Return the identity of the service that `request` came to."""
        state = request.app.state
        made: Identity | None = getattr(state, "identity", None)
        if made is None or made.database is not state.service.database:
            made = state.identity = cls(state.service.settings, state.service.database)
        return made

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach the service by TLS."""
        return bool(self.settings.tls.certificate) or self.settings.behind_proxy

    @property
    def cookie(self) -> str:
        """The name of a session's cookie; cookies are shared by the ports of a host, so the port is in it."""
        return f"{'__Host-' if self.is_secure else ''}foveal-{self.settings.port}"

    @property
    def visitor_cookie(self) -> str:
        """The name of the cookie that binds the forms of a browser in which nobody is signed in."""
        return f"{self.cookie}-visitor"

    async def caller(self, request: Request) -> Caller | None:
        """Return who asks; None for nobody. Raises Refusal for a key that does not count.

        The request's state tells it to the log and to the limits of rates.
        """
        found = await self._caller(request)
        request.state.caller = found
        return found

    async def _caller(self, request: Request) -> Caller | None:
        token = _token(request)
        if token is not None:
            return await self._of_key(token, address_of(request))
        secret = request.cookies.get(self.cookie)
        if secret:
            session = await asyncio.to_thread(self._session, secret)
            if session is not None:
                await self._touched(session, request)
                user = session.user
                return Caller(user.actor, user.scopes, user.name, session)
        if self.settings.guests and _is_here(request):
            return Caller(GUEST, GUEST_SCOPES, "guest")
        return None

    def _session(self, secret: str) -> Session | None:
        with self.database.read() as connection:
            return accounts.session_of(
                connection,
                secret,
                idle_s=self.settings.session_idle_minutes * 60,
                longest_s=self.settings.session_hours * 3600,
            )

    async def _touched(self, session: Session, request: Request) -> None:
        if POLL in request.headers or time.time() - session.seen_at / 1e6 < TOUCH_S:
            return
        with contextlib.suppress(StorageError):  # a busy store signs nobody out before their time
            await asyncio.to_thread(accounts.touch, self.database, session)

    async def _of_key(self, token: str, address: str) -> Caller:
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        until, caller = self._known.get(digest, (0.0, None))
        if until < time.monotonic():
            verifying = self._verifying.get(digest)
            if verifying is None:  # else one of many requests that come at once does it for all of them
                verifying = self._verifying[digest] = asyncio.create_task(self._verified(token, digest, address))
                verifying.add_done_callback(lambda _: self._verifying.pop(digest, None))
            caller = await asyncio.shield(verifying)
        if caller is None:
            raise Refusal(401, "bad_key", "The key is wrong, expired or revoked.")
        return caller

    async def _verified(self, token: str, digest: str, address: str) -> Caller | None:
        """Return whose key it is, and remember that for a while."""
        guessed = f"{token[:30]} {address}"  # one key's id; who guesses elsewhere locks nobody out
        self.keys.begin(guessed)
        async with self.hashing:
            key = await asyncio.to_thread(keys.verify_key, self.database, token)
        caller = None if key is None else Caller(key.actor, key.scopes, f"key {key.name}", by_key=True)
        if caller is not None:
            self.keys.succeeded(guessed)
        self._known[digest] = time.monotonic() + KEY_COUNTS_S, caller
        while len(self._known) > MOST_KEYS:
            self._known.popitem(last=False)
        return caller

    def binding(self, request: Request) -> str | None:
        """Return the cookie that the tokens of forms are bound to: the session's, or the visitor's."""
        return request.cookies.get(self.cookie) or request.cookies.get(self.visitor_cookie)


def require(scope: str) -> Callable[[Request], Awaitable[Caller]]:
    """Return the dependency of a route for programs and pages' scripts: who asks, if they may do `scope`.

    With a session's cookie, what changes something also carries the page's token in ``X-CSRF-Token``; what a page of
    elsewhere sends was refused before (`origins.Origins`).
    """

    async def caller_who_may(request: Request) -> Caller:
        identity = Identity.of(request)
        caller = await identity.caller(request)
        if caller is None:
            raise Refusal(401, "unauthorized", "Show a key (Authorization: Bearer fv_…) or sign in.")
        if request.method not in SAFE and caller.session is not None:
            identity.tokens.check(identity.binding(request), request.headers.get("x-csrf-token"))
        return allowed(caller, scope)

    return caller_who_may


def allowed(caller: Caller, scope: str) -> Caller:
    """Return the caller; Refusal where they may not do `scope`."""
    if not caller.may(scope):
        who = "The key" if caller.by_key else f"As {caller.name} you" if not caller.is_guest else "A guest"
        raise Refusal(403, "forbidden", f'{who} may not do this; it needs the scope "{scope}".')
    return caller


def address_of(request: Request) -> str:
    """Return the address that the request came from."""
    return request.client.host if request.client is not None else "unknown"


def _is_here(request: Request) -> bool:
    """Say whether the request comes from this machine, and not by way of a proxy on it."""
    if any(header in request.headers for header in ("forwarded", "x-forwarded-for", "x-real-ip", "via")):
        return False
    return request.client is None or is_loopback(request.client.host)


def _token(request: Request) -> str | None:
    """Return the key that a request shows; None where it shows none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer":
            raise Refusal(401, "bad_key", "Show the key as Authorization: Bearer fv_….")
        return token.strip()
    return request.headers.get("x-api-key")
