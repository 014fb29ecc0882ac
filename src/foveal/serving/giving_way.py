"""Who computes for long gives way to who answers at once."""

from __future__ import annotations

import os


def give_way() -> None:
    """Let the calling thread no longer interrupt others when it wakes up, where the system has such a policy (Linux).

    The event loop hands an image to a decoder and would at once lose its core to it, with Python's lock in its hand,
    for which everybody else then waits. The share of the processor stays as it was.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
