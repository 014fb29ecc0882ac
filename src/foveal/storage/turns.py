"""Turns: whoever asks first goes first.

SQLite lets one connection write and has the others ask again after a while; one that writes without a pause can
keep them all out. Within a process they therefore queue here before they ask SQLite.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.storage.faults import BusyError


class Turns:
    """A lock that is handed on in the order of asking."""

    def __init__(self, timeout_s: float) -> None:
        """Let nobody wait longer than `timeout_s`."""
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock in the block; BusyError where its turn does not come in time."""
        self._take()
        try:
            yield
        finally:
            self._hand_on()

    def _take(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(self._timeout_s):
            return
        with self._lock:
            if mine.is_set():  # it came at the last moment
                return
            self._waiting.remove(mine)
        raise BusyError("The database is kept busy by this service. Try again.")

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
