"""The scenarios as a program: see `ledger.py` for how it is called."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from serving import client_faults, faults, store_faults
from serving.scenario import Home, Told, small_classifier


def all_faults() -> dict[str, Callable[[Home], Told]]:
    several = (*faults.FAULTS, *client_faults.FAULTS, *store_faults.FAULTS)
    return {one.__name__.replace("_", "-"): one for one in several}


def main() -> None:
    """Do the scenarios that were asked for, print what each counted, and leave with 1 where one found a fault."""
    options = argparse.ArgumentParser(prog="python -m tests.serving.ledger", description=__doc__)
    options.add_argument("--only", nargs="+", choices=sorted(all_faults()), default=list(all_faults()))
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seconds", type=float, default=10.0, help="of load in each scenario")
    options.add_argument("--rate", type=float, default=60.0, help="requests a second")
    options.add_argument("--classifier", type=Path, help="a run; a small network without training by default")
    options.add_argument("--other", type=Path, help="another of the same classes, to be swapped in")
    options.add_argument("--folder", type=Path, help="where to work, and to leave everything when a fault was found")
    chosen = options.parse_args()
    failed = False
    place = chosen.folder or Path(tempfile.mkdtemp(prefix="foveal-ledger-"))
    place.mkdir(parents=True, exist_ok=True)
    made = [chosen.classifier, chosen.other]
    for number in range(2):
        made[number] = made[number] or small_classifier(place, number)
    for name in chosen.only:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))
        began = time.monotonic()
        home = Home(made[0].resolve(), made[1].resolve(), folder, chosen.seconds, chosen.kills, chosen.rate)
        try:
            told = all_faults()[name](home)
        except Exception as error:  # noqa: BLE001  # the other scenarios are done all the same
            told = Told(faults=[f"{type(error).__name__}: {error}"])
        verdict = f"skipped: {told.skipped}" if told.skipped else "FAULTS" if told.faults else "holds"
        sys.stdout.write(f"{name:<16} {time.monotonic() - began:6.1f} s  {verdict}  {json.dumps(told.counts)}\n")
        for one in told.faults:
            sys.stdout.write(f"    {one}\n")
        sys.stdout.flush()
        failed = failed or bool(told.faults)
        if not told.faults:
            shutil.rmtree(folder, ignore_errors=True)
    if not failed and chosen.folder is None:
        shutil.rmtree(place, ignore_errors=True)
    elif failed:
        sys.stdout.write(f"what was left is in {place}\n")
    sys.exit(int(failed))
