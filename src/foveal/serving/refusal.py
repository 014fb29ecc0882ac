"""What the service refuses, and how it says so: a status, a stable code, one sentence."""

from __future__ import annotations


class Refusal(Exception):
    """A request that is not answered; never a traceback, a path or a name of a patient."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


def overloaded(message: str, retry_after_s: int = 1) -> Refusal:
    """Return the refusal of a service that has more to do than it may keep waiting."""
    return Refusal(503, "overloaded", message, retry_after_s=retry_after_s)
