"""Which processes a process has started."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children_of(pid: int) -> set[int]:
    """Return the running and ended, not yet awaited, children of `pid`, whichever of its threads started them.

    The parent is read of every process: the kernel's own lists (`/proc/PID/task/TID/children`) belong to threads, which
    end and hand their children on while one reads.
    """
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]  # a name may hold spaces and )
                if int(parent) == pid:
                    found.add(int(place.name))
    return found
