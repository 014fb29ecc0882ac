"""Every error that Foveal raises on purpose, and the exit code each one has on the command line.

::

    FovealError                     1   something else that Foveal refuses, said in one sentence
    ├── UsageError                  2   an option, a name or a recipe is wrong
    ├── DataError                   3   the images, labels or the table that names them are wrong
    ├── AuditError                  4   the data hide something that would make the numbers lie
    ├── ClassifierError             5   a stored classifier or run is incomplete, damaged or of another kind
    ├── OutputError                 6   the result cannot be written (it exists, no permission, disk full)
    ├── ResourceError               7   memory or a device does not suffice
    ├── TrainingError               8   training diverged
    ├── MissingPartError            9   an optional part is not installed
    ├── StorageError               10   a service's database, files or trail cannot be used, or were altered
    └── Interrupted               130   stopped by Ctrl-C or a signal; what was done is kept

The command line prints the message and exits with the code; Python callers catch the class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FovealError(Exception):
    """Base of every error that Foveal raises on purpose. The message is one clear sentence."""

    exit_code = 1
    meaning = "something else that Foveal refuses, said in one sentence"


class UsageError(FovealError):
    exit_code = 2
    meaning = "an option, a name or a recipe is wrong"


class DataError(FovealError):
    exit_code = 3
    meaning = "the images, the labels or the table that names them are wrong"


class AuditError(FovealError):
    exit_code = 4
    meaning = "the data hide something that would make the numbers lie"


class ClassifierError(FovealError):
    exit_code = 5
    meaning = "a stored classifier or run is incomplete, damaged or of another kind"


class OutputError(FovealError):
    exit_code = 6
    meaning = "the result cannot be written (it exists, no permission, disk full)"


class ResourceError(FovealError):
    exit_code = 7
    meaning = "memory or a device does not suffice"


class TrainingError(FovealError):
    exit_code = 8
    meaning = "training diverged"


class MissingPartError(FovealError):
    exit_code = 9
    meaning = "an optional part is not installed"


class StorageError(FovealError):
    exit_code = 10
    meaning = "a service's database, files or trail cannot be used, or were altered"


class Interrupted(FovealError):
    exit_code = 130
    meaning = "stopped by Ctrl-C or a signal; what was done is kept"


def exit_codes() -> list[tuple[int, str]]:
    """Return (exit code, meaning) for success and for every class above, in order."""
    classes: list[type[FovealError]] = [FovealError, *FovealError.__subclasses__()]
    return [(0, "done"), *((cls.exit_code, cls.meaning) for cls in classes)]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'`` for the known name nearest to `name`, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def listed(items: Iterable[str], limit: int = 20) -> str:
    """Return `items` one a line, indented, cut after `limit` with the number left out."""
    items = list(items)
    lines = [f"  {item}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  … and {len(items) - limit} more")
    return "\n".join(lines)
