"""How a child process is started: by which command, and with which variables of its environment."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

START_S = 60.0  # within which a child must be ready, on a machine that has much else to do
MEMORY = {  # of glibc: what was freed is kept for the next image, which else pays for new pages
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_TOP_PAD_": str(4 << 20),
}
ALLOWED_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR", "TZ")


def command(module: str, socket_there: socket.socket, arguments: Sequence[str]) -> list[str]:
    """Return ``python -m module SOCKET PARENT arguments…``; the child is to inherit `socket_there`."""
    return [sys.executable, "-P", "-m", module, str(socket_there.fileno()), str(os.getpid()), *arguments]


def environment() -> dict[str, str]:
    """Return the variables of a child: what it needs to find its libraries, and none of the service's secrets."""
    kept = {name: os.environ[name] for name in ALLOWED_VARIABLES if name in os.environ}
    paths = [str(Path(one).absolute()) for one in sys.path if one]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **one_thread, **own, **MEMORY}
