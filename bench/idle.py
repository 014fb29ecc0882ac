"""Whether a bench has the machine to itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
MOST = 0.1  # cores that others may take while a figure is measured that is to be quoted


def machine_s() -> float:
    """Return the seconds that all cores of the machine have been busy."""
    if not STAT.exists():
        return 0.0
    user, nice, system, _, _, irq, soft, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def say_if_busy(wait_s: float = 2.0) -> None:
    """Watch the machine for `wait_s` seconds, and say so where others compute on it."""
    before = machine_s()
    time.sleep(wait_s)
    cores = (machine_s() - before) / wait_s
    if cores > MOST:
        print(f"others compute here, too ({cores:.2f} cores): do not quote this")
