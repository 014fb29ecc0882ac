"""What the command asks of Python and of the C library for its own process, before it begins."""

from __future__ import annotations

import gc
import sys

GARBAGE_THRESHOLDS = (100_000, 50, 50)
KEPT_BYTES = 1 << 30
GROW_BYTES = 64 << 20
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc


def settle_process() -> None:
    """Look for garbage less often, and keep memory that was freed.

    What torch's import makes stays, so looking for garbage in it is vain; it took a tenth of the start. And glibc
    returns each large tensor to the system and asks for it again, page by page: LeNet-5's training step met 1,300
    page faults, a quarter of its time. Not done where Foveal is imported: the process is then another's.
    """
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries than glibc may lack it
        if mallopt is not None:
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
            mallopt(M_TOP_PAD, GROW_BYTES)
            mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
