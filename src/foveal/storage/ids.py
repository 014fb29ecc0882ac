"""Ids and times: what sorts by the time it was made and cannot be guessed."""

from __future__ import annotations

import os
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, so that none is read wrongly over the telephone
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # of ten bits
RANDOM_BYTES = 10
PATTERN = "^[0-9a-z]{26}$"  # of what may be an id, for whoever takes one from outside
_STOCK_IDS = 256  # random bytes for so many are fetched at once: each call of the system costs more than all the rest

_lock = threading.Lock()
_stock = b""


def new_id() -> str:
    """Return 26 letters and digits: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(_random())
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def now_us() -> int:
    """Return microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


def _random() -> bytes:
    global _stock  # noqa: PLW0603  # the one stock of the process
    with _lock:
        if not _stock:
            _stock = os.urandom(RANDOM_BYTES * _STOCK_IDS)
        taken, _stock = _stock[:RANDOM_BYTES], _stock[RANDOM_BYTES:]
        return taken


def _forget_stock() -> None:
    """Let a forked process draw for itself: two must never make the same ids."""
    global _stock, _lock
    _stock, _lock = b"", threading.Lock()


os.register_at_fork(after_in_child=_forget_stock)
