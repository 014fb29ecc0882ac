"""How often a caller may ask, and how often an address may be wrong about a key."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from foveal.serving.door.asgi import UNSAFE, App, Message, Receive, Scope, Send, count, credential, header, refuse
from foveal.serving.metrics import Metrics

WITHOUT_RATE = ("/health/", "/static/", "/metrics")
WRONG_KEYS_PER_MINUTE = 30
MOST_KNOWN = 10_000


class Buckets:
    """Token buckets: each of `who` may act `per_minute` times a minute, as many of them at once."""

    def __init__(self, per_minute: int, *, most: int = MOST_KNOWN, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep the `most` that acted last."""
        self._size, self._per_second, self._most, self._clock = per_minute, per_minute / 60, most, clock
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # who → (left, when)

    def take(self, who: bytes) -> float:
        """Take one and return 0, or return in how many seconds there is one."""
        left, now = self._now(who)
        self._left.pop(who, None)
        self._left[who] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return max(0.0, 1 - left) / self._per_second

    def look(self, who: bytes) -> float:
        """Return in how many seconds there is one, and take none."""
        return max(0.0, 1 - self._now(who)[0]) / self._per_second

    def _now(self, who: bytes) -> tuple[float, float]:
        now = self._clock()
        left, when = self._left.get(who, (float(self._size), now))
        return min(self._size, left + (now - when) * self._per_second), now


class Rates:
    """Refuses a caller that asks too often, and an address that tries one wrong key after the other."""

    def __init__(self, app: App, per_minute: int, metrics: Metrics | None = None) -> None:
        """Wrap `app`; 0 a minute: any number, wrong keys apart."""
        self._app, self._metrics = app, metrics
        self._callers = Buckets(per_minute) if per_minute else None
        self._wrong = Buckets(WRONG_KEYS_PER_MINUTE)
        self._right: OrderedDict[bytes, None] = OrderedDict()  # credentials that were good a moment ago

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        if scope["type"] != "http" or scope["path"].startswith(WITHOUT_RATE):
            await self._app(scope, receive, send)
            return
        address = (scope["client"] or ("",))[0].encode()
        shown = credential(scope) or header(scope, b"cookie")
        who = hashlib.sha256(shown).digest() if shown else address
        is_known = who in self._right
        may_guess = not is_known and (bool(shown) or scope["method"] in UNSAFE)
        wait = self._wrong.look(address) if may_guess else 0.0
        if not wait and self._callers is not None:
            wait = self._callers.take(who if is_known else address)
        if wait:
            count(self._metrics, "rate_limit")
            retry = (b"retry-after", str(max(1, round(wait + 0.5))).encode())
            message = "Too many requests; wait as many seconds as Retry-After says."
            await refuse(scope, send, 429, "rate_limit", message, [retry])
            return

        async def send_and_learn(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._learn(scope, who, address, message["status"])
            await send(message)

        await self._app(scope, receive, send_and_learn)

    def _learn(self, scope: Scope, who: bytes, address: bytes, status: int) -> None:
        """Count a wrong key; remember a right one, which is one that the service found an account for."""
        actor = getattr(scope.get("state", {}).get("caller"), "actor", "")
        if status == 401:
            self._right.pop(who, None)
            self._wrong.take(address)
        elif who != address and actor.startswith(("key:", "user:")):
            self._right.pop(who, None)
            self._right[who] = None
            if len(self._right) > MOST_KNOWN:
                self._right.popitem(last=False)
