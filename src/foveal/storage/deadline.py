"""A connection to PostgreSQL that does not wait for ever: a stopped server answers nothing, and says nothing either.

The server's own time limits do not help where the server itself is frozen, nor do TCP's, whose peer, the kernel, is
well. So each exchange with the server has a deadline here; past it the connection is closed and given up.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, TypeVar

import psycopg

Answer = TypeVar("Answer")


class ServerSilent(psycopg.OperationalError):
    """The server did not answer within the deadline; the connection is closed."""


class _Bounded(psycopg.Connection[Any]):
    patience_s: float = 7.0

    def wait(self, gen: Any, *given: Any, **named: Any) -> Any:
        """Wait for one exchange with the server, at most `patience_s`."""
        return super().wait(self._until(gen, monotonic() + self.patience_s), *given, **named)

    def _until(self, gen: Generator[Any, Any, Answer], deadline: float) -> Generator[Any, Any, Answer]:
        """Yield what `gen` yields; psycopg comes back at least every tenth of a second, ready or not."""
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and monotonic() > deadline:
                    self.pgconn.finish()
                    raise ServerSilent("the server does not answer")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def connect(patience_s: float, **options: Any) -> psycopg.Connection[Any]:
    """Connect to a server, each exchange with which ends after `patience_s`."""
    connection = _Bounded.connect(**options)
    connection.patience_s = patience_s
    return connection
