"""Which classifier answers now, and how one takes over from another without an error in between.

A request holds on to the classifier with which it began. One that was replaced ends when its last request has.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.serving.batching import Batcher
from foveal.serving.served import Served


class Use:
    """A served classifier with its threads, counted by those who use it."""

    def __init__(self, served: Served, batcher: Batcher) -> None:
        self.served, self.batcher = served, batcher
        self.users = 0
        self.retired = False


class Current:
    """The classifier in use."""

    def __init__(self, served: Served, *, batch: int, wait_s: float) -> None:
        self._batch, self._wait_s = batch, wait_s
        self._lock = threading.Lock()
        self._use = self._begin(served)

    @property
    def served(self) -> Served:
        """What answers the next request."""
        return self._use.served

    @contextmanager
    def held(self) -> Iterator[Use]:
        """Yield what answers now, and keep it until the end of the block."""
        with self._lock:
            use = self._use
            use.users += 1
        try:
            yield use
        finally:
            with self._lock:
                use.users -= 1
                over = use.retired and not use.users
            if over:
                use.batcher.close()

    def exchange(self, served: Served) -> Served:
        """Let `served` answer from now on; return what answered before."""
        fresh = self._begin(served)
        with self._lock:
            old, self._use = self._use, fresh
            old.retired = True
            over = not old.users
        if over:
            old.batcher.close()
        return old.served

    def close(self, timeout_s: float) -> None:
        """Answer what is waiting and end the threads."""
        self._use.batcher.close()
        self._use.batcher.join(timeout_s)

    def _begin(self, served: Served) -> Use:
        return Use(served, Batcher(served, batch=self._batch, wait_s=self._wait_s))
