"""Guessing is slowed down: after a few vain attempts each further one waits twice as long as the one before."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from foveal.serving.refusal import Refusal

LONGEST_S = 900.0
MOST = 10_000


class Throttle:
    """Counts attempts by key, such as a name and an address."""

    def __init__(self, *, free: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Let `free` attempts through without a wait."""
        self._free, self._clock = free, clock
        self._vain: OrderedDict[str, tuple[int, float]] = OrderedDict()  # attempts, and when the next may be made
        self._lock = threading.Lock()

    def begin(self, key: str) -> None:
        """Count an attempt, which is vain until it has succeeded; Refusal where it comes too soon."""
        with self._lock:
            now = self._clock()
            vain, may_at = self._vain.get(key, (0, 0.0))
            if now < may_at:
                wait = math.ceil(may_at - now)
                raise Refusal(
                    429, "too_many_attempts", f"Too many attempts; try again in {wait} s.", retry_after_s=wait
                )
            if now > may_at + LONGEST_S:
                vain = 0
            vain += 1
            wait_s = min(LONGEST_S, 2.0 ** (vain - self._free)) if vain >= self._free else 0.0
            self._vain[key] = (vain, now + wait_s)
            self._vain.move_to_end(key)
            while len(self._vain) > MOST:
                self._vain.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the vain attempts of `key`."""
        with self._lock:
            self._vain.pop(key, None)
