"""The command line: one thin module a verb."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line: print what a FovealError says in one sentence and exit with its code."""
    from foveal.cli.app import app
    from foveal.errors import FovealError

    try:
        app()
    except FovealError as error:
        print(f"foveal: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("foveal: stopped", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
