"""An error of a child process, told over its socket and raised again by the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal import errors
from foveal.errors import FovealError, ResourceError


def told(error: Exception, what: str) -> dict[str, Any]:
    """Return `error` as a child tells it; `what` failed begins the sentence, of an error that brings none itself."""
    words = f"{what} failed ({type(error).__name__})."  # its own words may hold anything
    if isinstance(error, MemoryError):
        return {"error": "ResourceError", "words": f"{what} takes more memory than is allowed."}
    return {"error": type(error).__name__, "words": str(error) if isinstance(error, FovealError) else words}


def raise_told(facts: Mapping[str, Any]) -> None:
    """Raise the error that `facts` tell of, where they do: a FovealError, whatever it was over there."""
    if "error" in facts:
        kind = getattr(errors, str(facts["error"]), ResourceError)
        known = isinstance(kind, type) and issubclass(kind, FovealError)
        raise (kind if known else ResourceError)(str(facts.get("words")))
