"""Ctrl-C and SIGTERM ask training to stop; the loop does so after the batch at hand."""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType

from foveal.errors import Interrupted
from foveal.models.foreign.entry import OBJECT, runs_code


def interrupted(path: Path, model: str, verb: str = "train") -> Interrupted:
    """Return the error that ends what was asked to stop, with what to type to go on with the network `model`."""
    go_on = f"foveal train --resume {shlex.quote(str(path))}"
    if runs_code(model):
        go_on += f" --trust {model}"
    if model.startswith(OBJECT):
        go_on = f"foveal.{verb}(resume={str(path)!r}, model=network)"
    return Interrupted(f"Stopped; nothing is lost. Go on with: {go_on}")


class StopRequest:
    """True once somebody asked to stop. A second request is obeyed at once, by a KeyboardInterrupt.

    Used as a context manager around training; outside the main thread it never fires.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self.asked

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:  # a background job, not meant by this Ctrl-C
                    continue
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            if handler is not None:  # None: set by C code of the embedding program, which Python cannot set again
                signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
