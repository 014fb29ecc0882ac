"""The one live display of long work: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

PLAIN_EVERY_S = 15.0


class Progress:
    """Shows stages of work one after the other, and lines of text above them.

    Used as a context manager. On a terminal each stage is a bar with its ETA; elsewhere (a log file,
    a pipe) a plain line every 15 seconds. ``Progress(silent=True)`` shows nothing.
    """

    def __init__(self, *, stream: TextIO | None = None, silent: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._silent = silent
        self._bars: RichProgress | None = None

    def __enter__(self) -> Progress:
        if not self._silent and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bars = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.fields[info]}", markup=False),
                console=Console(file=self._stream),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def line(self, text: str) -> None:
        """Print one line that stays."""
        if self._silent:
            return
        try:
            if self._bars is not None:
                self._bars.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self._stream, flush=True)
        except (
            OSError
        ):  # nobody reads any more, or the disk of the log is full: the work is worth more than its display
            self._silent = True

    @contextmanager
    def stage(self, name: str, total: int, *, done: int = 0) -> Iterator[Stage]:
        """Show `name` with `done` of `total` steps; the stage's `advance` moves it."""
        stage = Stage(self, name, total, done)
        bars = self._bars
        if bars is not None:
            task = bars.add_task(name, total=total, completed=done, info="")
            stage.show = lambda: bars.update(task, completed=stage.done, info=stage.info)
            try:
                yield stage
            finally:
                bars.remove_task(task)
        else:
            yield stage


class Stage:
    """One piece of long work: how much of it is done, and what is worth saying about it now."""

    def __init__(self, progress: Progress, name: str, total: int, done: int) -> None:
        self.progress, self.name, self.total, self.done = progress, name, total, done
        self.info = ""
        self.show = self._plain
        self._first, self._started = done, time.monotonic()
        self._spoke = self._started

    def advance(self, steps: int = 1, info: str | None = None) -> None:
        """Count `steps` more; `info` replaces the text beside the bar."""
        self.done += steps
        if info is not None:
            self.info = info
        self.show()

    def _plain(self) -> None:
        now = time.monotonic()
        if now - self._spoke < PLAIN_EVERY_S or self.done <= self._first:
            return
        self._spoke = now
        left_s = (now - self._started) / (self.done - self._first) * (self.total - self.done)
        self.progress.line(f"{self.name}  {self.done:,}/{self.total:,}  {self.info}  {duration(left_s)} left")


def duration(seconds: float) -> str:
    """Return 8.4 → '8.4 s', 83 → '1 min 23 s', 7260 → '2 h 1 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
