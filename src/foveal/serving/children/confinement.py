"""Confinement: what a child process gives up before it looks at a byte that a stranger sent."""

from __future__ import annotations

import os
import resource
import signal
import sys

from foveal.serving.giving_way import give_way

MOST_FILES = 16  # open at once: the socket, the three that every process has, and a few to spare
KILL_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38  # prctl(2): PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS


def confine(parent: int, memory_mib: int | None, *, alone: bool = True) -> None:
    """Bound this process: its memory, no core dump, an end with its parent; and, `alone`, no file written, few handles.

    It gives way to the service (`give_way`).

    Signals that are meant for the service (Ctrl-C, and the SIGTERM that systemd sends to all of a service's processes)
    are passed over, since the service needs its children while it drains; they end when their socket is closed.

    Args:
        parent: the process that started this one; where it is gone already, this one ends.
        memory_mib: the address space that it may have; None for one that sees nothing of a stranger's but pixels.
        alone: whether it gets nothing but the bytes it is sent, and needs no file, no thread and no process besides.
    """
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    limits = {resource.RLIMIT_CORE: 0}
    if memory_mib is not None:
        limits[resource.RLIMIT_AS] = memory_mib << 20
    if alone:
        limits |= {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: MOST_FILES, resource.RLIMIT_NPROC: 0}
    for name, wanted in limits.items():
        hard = resource.getrlimit(name)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(name, (most, most))
    if sys.platform == "linux":
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        library.prctl(KILL_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
        library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    give_way()
    if os.getppid() != parent:  # it went before the line above
        sys.exit(0)
