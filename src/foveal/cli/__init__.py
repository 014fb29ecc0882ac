"""The command line: one thin module a verb."""

from __future__ import annotations

import os
import signal
import sys

STOPPED = "Stopped."
GOES_ON = " What was trained so far, if anything, goes on with: foveal train --resume RUN"


def main() -> None:
    """Run the command line: print what a FovealError says and exit with its code; no traceback for a user's mistake."""
    from foveal.cli.process import settle_process
    from foveal.errors import FovealError, OutputError, ResourceError

    settle_process()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, with a sentence
    try:
        _call()
    except FovealError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is not None:  # of a file, which no standard stream has
            _say(f"{error.filename} cannot be used: {error.strerror}.")
            sys.exit(OutputError.exit_code)
        _say(f"The answer cannot be written to standard output: {error.strerror or error}.")
        _drop_standard_output()
        sys.exit(OutputError.exit_code)
    except MemoryError:
        _say("There is not enough memory.")
        sys.exit(ResourceError.exit_code)
    except SystemExit as stop:
        if stop.code == 130:  # typer's code for Ctrl-C, and so for SIGTERM
            _say(STOPPED + GOES_ON * (sys.argv[1:2] == ["train"]))
        raise


def run() -> None:
    """Be the command `foveal`: do what `main` does, and leave at once.

    Python would take torch apart first, module by module, for a third of a second. What waits for the end of the
    process (open files, temporary folders) is done all the same.
    """
    import atexit

    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _call() -> None:
    """Call the command and flush what it printed, so that a full disk is noticed here and not at Python's end."""
    from foveal.cli.app import app
    from foveal.cli.parsing import with_values

    try:
        app(args=with_values(sys.argv[1:]))
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"foveal: {text}", file=sys.stderr)  # noqa: T201


def _drop_standard_output() -> None:
    """Send what is still unwritten nowhere: Python would try, and complain, once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
