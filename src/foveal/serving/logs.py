"""Structured logs: one JSON object a line to standard error, from which no patient and no file can be known.

Two walls stand between what is confidential and the log. Only the fields of `FIELDS` are written, whatever a caller
passes; and of an exception its class and places are written, never its message, which may quote what came in. What
libraries log is written without their words, for the same reason.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog

# fmt: off
FIELDS = frozenset((
    "time", "level", "event", "request_id", "method", "route", "status", "ms", "caller", "case", "job", "kind",
    "state", "attempts", "worker", "classifier", "engine", "code", "count", "size", "seq", "version", "verdict",
    "role", "key", "user", "batch", "waiting", "decoder", "signal", "address", "exception", "at", "logger",
    "message", "dropped", "fault", "tables", "seconds", "days", "scopes", "stage", "images", "target",
))
# fmt: on
WEIGHTS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}  # others weigh as errors
MOST_LETTERS = 300
MOST_PLACES = 12
SPOKEN = ("uvicorn.error",)  # whose own words are fixed texts

Log = structlog.typing.FilteringBoundLogger
ErrorTriple = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class _Sink:
    """Where lines go, and from which weight on: nowhere before `configure_logs`."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.level = logging.INFO
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        """Write one line, whole."""
        if self.stream is not None:
            with self._lock:
                self.stream.write(line + "\n")
                self.stream.flush()

    log = debug = info = warning = error = critical = exception = msg


_SINK = _Sink()


def configure_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Bring every log of this process into one JSON stream; for the process of a service, not for a library."""
    number = logging.getLevelNamesMapping()[level.upper()]
    _SINK.stream, _SINK.level = sys.stderr if stream is None else stream, number
    root = logging.getLogger()
    for handler in [*root.handlers]:
        root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(max(number, logging.WARNING))
    for name in SPOKEN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(number)
    logging.getLogger("uvicorn").handlers.clear()
    logging.getLogger("uvicorn").propagate = True
    logging.getLogger("uvicorn.access").handlers.clear()
    logging.getLogger("uvicorn.access").propagate = False  # its line holds the path; ours holds the route
    logging.captureWarnings(True)
    threading.excepthook = _of_thread
    sys.excepthook = _of_process


def get_log() -> Log:
    """Return the log. It writes nothing before the logs are configured, so that tests and libraries stay silent."""
    log: Log = structlog.wrap_logger(
        _SINK,
        processors=[
            _weighed,
            _begun,
            _without_messages,
            only_known_fields,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return log


def _weighed(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop what is lighter than the level, and everything before there is a stream."""
    if _SINK.stream is None or WEIGHTS.get(method, logging.ERROR) < _SINK.level:
        raise structlog.DropEvent
    return event


def only_known_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the fields of the allow-list, cut long texts, and say what was left out."""
    unknown = sorted(name for name in event if name not in FIELDS)
    for name in unknown:
        del event[name]
    if unknown:
        event["dropped"] = unknown
    for name, value in event.items():
        if isinstance(value, str) and len(value) > MOST_LETTERS:
            event[name] = f"{value[:MOST_LETTERS]}…"
    return event


def _begun(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    level = {"exception": "error", "warn": "warning"}.get(method, method)
    return {"time": at, "level": level, "event": event.pop("event", ""), **event}


def _without_messages(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn `exc_info` into the exception's class and where it came from."""
    said = event.pop("exc_info", None)
    if said is True:
        said = sys.exc_info()
    elif isinstance(said, BaseException):
        said = (type(said), said, said.__traceback__)
    if isinstance(said, tuple) and said[0] is not None:
        event.update(_described(said))
    return event


def _described(error: ErrorTriple) -> dict[str, Any]:
    kind, value, trace = error
    names, seen = [] if kind is None else [kind.__name__], value
    while seen is not None and (seen := seen.__cause__ or seen.__context__) is not None and len(names) < 5:
        names.append(type(seen).__name__)
    places = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in traceback.extract_tb(trace)]
    return {"exception": " from ".join(names), "at": places[-MOST_PLACES:]}


class _Bridge(logging.Handler):
    """Writes what libraries log into ours: who and where; their words only where these are fixed."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name, "at": [f"{record.module}:{record.lineno} {record.funcName}"]}
        if record.name in SPOKEN:
            fields |= _spoken(record.getMessage())
        if record.exc_info:
            fields |= _described(record.exc_info)
        level = record.levelno if record.levelno >= logging.DEBUG else logging.DEBUG
        get_log().log(level, "library", **fields)


def _spoken(words: str) -> dict[str, Any]:
    """Return the first line of what was said; of a trace that was said as text, what `_described` tells of one."""
    first, *rest = words.strip().splitlines() or [""]
    if not first.startswith("Traceback"):
        return {"message": first}
    found = re.findall(r'File "(.*?)", line (\d+), in (\S+)', words)
    places = [f"{Path(file).name}:{line} {name}" for file, line, name in found]
    return {"exception": rest[-1].partition(":")[0] if rest else first, "at": places[-MOST_PLACES:]}


def _of_thread(args: threading.ExceptHookArgs) -> None:
    get_log().error("thread died", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))


def _of_process(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    get_log().error("process died", exc_info=(kind, value, trace))
