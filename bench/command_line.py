"""The command `foveal` that is installed beside the Python at work, as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_foveal(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``foveal`` with `words`, and return what it printed and how it ended."""
    command = [Path(sys.executable).with_name("foveal"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)
