"""Which classifier answers now, and how one takes over from another without an error in between.

A request holds on to the classifier with which it began. One that was replaced ends when its last request has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from foveal.serving.batching import Batcher
from foveal.serving.served import Served


class Use:
    """A served classifier with what hands out to it, counted by those who use it."""

    def __init__(self, served: Served, batcher: Batcher) -> None:
        self.served, self.batcher = served, batcher
        self.users = 0
        self.retired = False


class Current:
    """The classifier in use, which was started before. All of it happens in one event loop."""

    def __init__(self, served: Served, *, batch: int, wait_s: float) -> None:
        self._batch, self._wait_s = batch, wait_s
        self._use = self._begin(served)

    @property
    def served(self) -> Served:
        """What answers the next request."""
        return self._use.served

    @contextmanager
    def held(self) -> Iterator[Use]:
        """Yield what answers now, and keep it until the end of the block."""
        use = self._use
        use.users += 1
        try:
            yield use
        finally:
            use.users -= 1
            if use.retired and not use.users:
                use.batcher.close()

    def exchange(self, served: Served) -> Served:
        """Let `served` answer from now on; return what answered before."""
        old, self._use = self._use, self._begin(served)
        old.retired = True
        if not old.users:
            old.batcher.close()
        return old.served

    async def close(self, timeout_s: float) -> None:
        """Answer what is waiting, and end what answers."""
        self._use.batcher.close()
        await self._use.batcher.join(timeout_s)

    def _begin(self, served: Served) -> Use:
        return Use(served, Batcher(served, batch=self._batch, wait_s=self._wait_s))
