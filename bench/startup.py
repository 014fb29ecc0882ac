"""What it costs to start: `import foveal` and `foveal --help`, beside Python alone and `import torch`.

Each command is a fresh process, taken in turn; medians of 15 rounds. Goal: under 0.3 s beyond Python's own start.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "python alone": [sys.executable, "-c", "pass"],
    "import foveal": [sys.executable, "-c", "import foveal"],
    "foveal --help": [
        sys.executable,
        "-c",
        "import sys; sys.argv[1:] = ['--help']; from foveal.cli import main; main()",
    ],
    "import torch (peers load it at once)": [sys.executable, "-c", "import torch"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    alone = statistics.median(times["python alone"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:<38} {median:6.3f} s   {median - alone:+6.3f} s beyond Python   (min {min(measured):.3f})")


if __name__ == "__main__":
    main()
