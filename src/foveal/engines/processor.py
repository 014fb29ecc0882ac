"""What the processor of this machine can do with eight-bit numbers."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

X86 = ("x86_64", "amd64", "i686", "i386")
FULL_BITS, REDUCED_BITS = 8, 7  # of a weight


@functools.cache
def adds_in_32_bits() -> bool:
    """Whether products of eight-bit numbers are added up in 32 bits here (VNNI, or ARM's dot products).

    Other x86 processors add two of them in 16 bits first, which overflows in silence where weights use all of their
    eight bits. False also where that cannot be found out.
    """
    if platform.machine().lower() not in X86:
        return True
    try:
        words = Path("/proc/cpuinfo").read_text("ascii", "replace").split()
    except OSError:
        return False
    return "avx512_vnni" in words or "avx_vnni" in words


def weight_bits() -> int:
    """Return how many bits the weights of an int8 engine that is made here use."""
    return FULL_BITS if adds_in_32_bits() else REDUCED_BITS
