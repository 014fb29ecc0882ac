"""How many images a second `foveal serve` answers, durable and traced, beside other servers; and whether it tires.

EfficientNet-Lite0 at 224 px behind each server, the same images for all: 256-px PNG files of about 27 KB, every upload
a file of its own (a few hundred images, each sent with another number in its text). The servers, peers first:

naive         FastAPI, an async route, timm's network in torch eager, torchvision's transforms: what is written first
litserve      LitServe with the same, batches of 8, 10 ms
pool          FastAPI in a pool of threads, OpenVINO: fast, and nothing is kept
foveal        foveal serve, everything on: decoded in child processes, the file fsynced, the row and the trail committed
              before the answer; OpenVINO fp32
foveal-int8   the same with OpenVINO int8

Each is started in a process of its own, in an order drawn anew for each repeat, answers 1, 8 and 32 connections in a
closed loop, and then requests at even times, 80 % of the most it has just answered; there a request's time counts from
when it was due. Printed are medians over the repeats, ratios from within one repeat, errors (anything but 200), and of
the server and all its children the memory and the processor's milliseconds a request, which tell how many requests
so many cores could answer at most. The client is `bench/serving_load.py`: one process on the same cores,
whose processor time is printed, and what it can do at most, measured against a server that does nothing.

    python bench/serve.py [--classifier RUN] [--seconds 5] [--repeats 3] [--only naive foveal] [--litserve FOLDER]
    python bench/serve.py --peers-network foveal         naive and litserve with Foveal's network and preprocessing,
                                                         which are faster in torch eager, too
    python bench/serve.py --soak 30 [--only foveal]      memory and file handles at 80 % of capacity over 30 minutes

Without --classifier one is trained for an epoch on chest X-rays (or flowers), and exported. LitServe is left out, with
the reason, where it is not installed; it needs no environment of its own, a folder does:

    python -m pip install --no-deps --target FOLDER litserve==0.2.19 pyzmq==27.3.0

Needs: pip install 'foveal[serve,openvino]'; for naive and litserve pip install --no-deps timm torchvision; and
FOVEAL_TEST_DATA or ../shared/data beside the checkout; without these data the images are photographs made of noise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from idle import MOST, machine_s, say_if_busy
from serving_images import IMAGES, make_images, trained
from serving_load import Load, Report
from serving_peers import NETWORKS
from serving_servers import BENCH, OURS, SERVERS, Home, Server, litserve_version, startable, started

CONCURRENCY = (1, 8, 32)
FIXED = "80 %"  # of the most requests a second that the closed loops were answered
RAW = "32 raw"
SLOW_FILE_MS = 0.1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--classifier", type=Path, help="a run with OpenVINO fp32 and int8 exported")
    options.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS))
    options.add_argument("--litserve", type=Path, default=Path(os.environ.get("LITSERVE", "litserve")))
    options.add_argument("--data", type=Path, help="in which folder a temporary one is made; /tmp by default")
    options.add_argument("--soak", type=float, metavar="MINUTES", help="instead: at 80 %% for so long")
    options.add_argument("--peers-network", choices=NETWORKS, default=NETWORKS[0], help="in torch eager")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="foveal-bench-", dir=chosen.data) as place:
        folder = Path(place)
        images = make_images(folder / "images")
        classifier = chosen.classifier or trained(folder)
        home = Home(classifier.resolve(), images, folder.resolve(), chosen.litserve.resolve(), chosen.peers_network)
        say_where(home)
        names = [name for name in chosen.only if startable(name, home)]
        if chosen.soak:
            for name in [one for one in names if one in OURS][:1] or names[:1]:
                soak(name, home, chosen.soak)
            return
        client_limit(home, chosen.seconds)
        measured = {name: Measured() for name in names}
        for repeat in range(chosen.repeats):
            for name in random.sample(names, len(names)):
                with started(name, home) as server:
                    measure(server, measured[name], home, chosen.seconds)
                print(f"  repeat {repeat + 1}: {name} {measured[name].rates(32)[-1]:.0f} requests/s", file=sys.stderr)
        tell(measured)


@dataclass
class Measured:
    """Of one server, by load (1, 8, 32, "80 %", "32 raw"): the reports of each repeat; and its memory."""

    reports: dict[int | str, list[Report]] = field(default_factory=dict)
    memory_mib: list[float] = field(default_factory=list)
    processor_ms: dict[int | str, list[float]] = field(default_factory=dict)  # of the server, a request
    others: list[float] = field(default_factory=list)  # cores that were busy with neither server nor client

    def rates(self, load: int | str) -> list[float]:
        return [len(one.ms) / one.seconds for one in self.reports[load]]

    def percentile(self, load: int | str, percent: float) -> float:
        return statistics.median(
            float(np.percentile(one.ms, percent)) if one.ms else float("nan") for one in self.reports[load]
        )

    def errors(self, load: int | str) -> int:
        return sum(sum(one.statuses.values()) + one.unanswered for one in self.reports[load])


def ask(load: Load) -> Report:
    """Run the client in a process of its own."""
    command = [sys.executable, str(BENCH / "serving_load.py"), json.dumps(asdict(load))]
    return Report(**json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def measure(server: Server, measured: Measured, home: Home, seconds: float) -> None:
    def note(name: int | str, load: Load) -> None:
        before, busy, began = server.processor_s(), machine_s(), time.monotonic()
        report = ask(load)
        took = server.processor_s() - before
        others = machine_s() - busy - took - report.client_s * (load.seconds + load.warm_s) / load.seconds
        measured.others.append(others / (time.monotonic() - began))
        measured.reports.setdefault(name, []).append(report)
        answered = len(report.ms) * (load.seconds + load.warm_s) / load.seconds  # those of the warming up, too
        measured.processor_ms.setdefault(name, []).append(1e3 * took / max(answered, 1))

    for concurrency in CONCURRENCY:
        note(concurrency, server.load(home.images, seconds, concurrency=concurrency))
    if server.name in OURS:
        note(RAW, server.load(home.images, seconds, concurrency=32, raw=True))
    capacity = max(measured.rates(one)[-1] for one in CONCURRENCY)
    note(FIXED, server.load(home.images, seconds, rate=0.8 * max(capacity, 1.0)))
    measured.memory_mib.append(server.memory_mib())


def client_limit(home: Home, seconds: float) -> None:
    """Say what the client can do at most: what it makes of a server that does nothing."""
    with started("nothing", home) as server:
        reports = [ask(server.load(home.images, seconds, concurrency=one)) for one in (1, 32)]
    each = [f"{len(one.ms) / one.seconds:,.0f}" for one in reports]
    cpu_us = min(1e6 * one.client_s / max(len(one.ms), 1) for one in reports)
    print(f"the client alone: {each[0]} and {each[1]} requests/s at 1 and 32, {cpu_us:.0f} µs of processor each")


def say_where(home: Home) -> None:
    from foveal.workflows.machine import processor

    print(f"naive and litserve: the network and the preprocessing of {home.network}")
    sizes = [file.stat().st_size for file in home.images.glob("*.png")]
    packages = ("foveal", "torch", "openvino", "fastapi", "uvicorn")
    versions = [f"{one} {version(one)}" for one in packages] + [f"litserve {litserve_version(home.litserve) or 'none'}"]
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores; {', '.join(versions)}")
    print(f"{len(sizes)} images of {statistics.mean(sizes) / 1000:.1f} KB; fsync of one: {fsync_ms(home):.2f} ms")
    say_if_busy()
    if (took := new_file_ms(home)) > SLOW_FILE_MS:
        print(
            f"a new file takes {took:.2f} ms of the kernel: do not quote this; wait six minutes, or name a new --data"
        )


def new_file_ms(home: Home) -> float:
    """Return the milliseconds of processor that a new file takes where Foveal keeps its files.

    ext4 without a journal looks through all files deleted in the last minutes: many, after a run of this program.
    """
    began = time.process_time()
    for number in range(20):
        (home.data / f"new-{number}").touch()
    took = (time.process_time() - began) / 20 * 1e3
    for number in range(20):
        (home.data / f"new-{number}").unlink()
    return took


def fsync_ms(home: Home) -> float:
    """Return the median milliseconds to write and fsync a file of 27 KB where Foveal keeps its files."""
    took = []
    for number in range(20):
        started_at, file = time.perf_counter(), home.data / f"fsync-{number}"
        with file.open("wb") as stream:
            stream.write(os.urandom(27_000))
            stream.flush()
            os.fsync(stream.fileno())
        took.append((time.perf_counter() - started_at) * 1e3)
        file.unlink()
    return statistics.median(took)


def tell(measured: dict[str, Measured]) -> None:
    print(
        f"\n{'server':<12} {'load':>7} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7} {'MiB':>6} "
        f"{'cpu ms':>7} {'× naive':>8} {'× LitServe':>11}  client, of a core"
    )
    for name, mine in measured.items():
        for load, reports in mine.reports.items():
            ratios = [
                f"{ratio(mine, measured[peer], load):.2f}"
                if peer in measured and peer != name and load != FIXED
                else "-"
                for peer in ("naive", "litserve")
            ]
            client = statistics.median(one.client_s / one.seconds for one in reports)
            print(
                f"{name:<12} {load:>7} {statistics.median(mine.rates(load)):11.1f} {mine.percentile(load, 50):8.1f} "
                f"{mine.percentile(load, 99):8.1f} {mine.errors(load):>7} {statistics.median(mine.memory_mib):6.0f} "
                f"{statistics.median(mine.processor_ms[load]):7.2f} {ratios[0]:>8} {ratios[1]:>11}  {client:.1%}"
            )
    others = statistics.median(one for mine in measured.values() for one in mine.others)
    print(f"others took {others:.2f} cores meanwhile{'' if others < MOST else ': do not quote this'}")
    goals(measured)


def ratio(mine: Measured, theirs: Measured, load: int | str) -> float:
    peer = theirs.rates(32 if load == RAW else load)
    return statistics.median(a / b for a, b in zip(mine.rates(load), peer, strict=True) if b)


def goals(measured: dict[str, Measured]) -> None:
    for name in (one for one in OURS if one in measured):
        mine = measured[name]
        for peer in (one for one in ("naive", "litserve") if one in measured):
            times = ratio(mine, measured[peer], 32)
            print(f"goal: {name} at 32 at least 4 times {peer}; {times:.2f}, {verdict(times >= 4)}")
        spread = mine.percentile(FIXED, 99) / mine.percentile(FIXED, 50)
        print(f"goal: {name} at {FIXED} of capacity, p99 under 5 times p50; {spread:.2f}, {verdict(spread < 5)}")
        if "naive" in measured:
            single, naive = mine.percentile(1, 50), measured["naive"].percentile(1, 50)
            print(
                f"goal: a single request to {name} no slower than the naive p50; {single:.1f} and {naive:.1f} ms, "
                f"{verdict(single <= naive)}"
            )


def verdict(reached: bool) -> str:
    return "reached" if reached else "missed"


# The soak.


def soak(name: str, home: Home, minutes: float) -> None:
    """Load at 80 % of capacity for `minutes`; print memory and handles over time, and whether they are flat."""
    with started(name, home) as server:
        capacity = max(len(ask(server.load(home.images, 5, concurrency=32)).ms) / 5, 1.0)
        seconds, rate = 60 * minutes, 0.8 * capacity
        load = server.load(home.images, seconds, rate=rate)
        needed, free = rate * seconds * 40_000, shutil.disk_usage(home.data).free
        if needed > free * 0.8:
            load.distinct = False
            print(f"the same {IMAGES} files again and again: others would take {needed / 1e9:.0f} GB of disk")
        print(f"{name}: {capacity:.0f} requests/s at 32; now {rate:.0f} a second for {minutes:g} minutes")
        command = [sys.executable, str(BENCH / "serving_load.py"), json.dumps(asdict(load))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
            assert client.stdout
            samples = watched(server, seconds + load.warm_s)
            report = Report(**json.loads(client.stdout.read()))
    p50, p99 = np.percentile(report.ms, [50, 99])
    print(
        f"{len(report.ms):,} answers, p50 {p50:.1f} ms, p99 {p99:.1f} ms ({p99 / p50:.2f} times), "
        f"errors {report.statuses or 0}, unanswered {report.unanswered}"
    )
    for number, what in ((1, "MiB"), (2, "file handles")):
        told_flat([one[number] for one in samples], what)


def watched(server: Server, seconds: float) -> list[tuple[float, float, int]]:
    """Return (seconds, MiB, handles) some two hundred times; print twenty of them."""
    begun, samples, step = time.monotonic(), [], max(seconds / 200, 0.5)
    shown = -1
    while (now := time.monotonic() - begun) < seconds:
        samples.append((now, server.memory_mib(), server.handles()))
        if int(20 * now / seconds) > shown:
            shown = int(20 * now / seconds)
            print(f"{now / 60:6.1f} min {samples[-1][1]:7.0f} MiB {samples[-1][2]:5} file handles", flush=True)
        time.sleep(step)
    return samples


def told_flat(values: list[float], what: str) -> None:
    """Print the medians of the second and the last third: what is warmed up by then, does it go on to grow?"""
    third = len(values) // 3
    middle, last = statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])
    is_flat = last <= middle * 1.03 + 1
    print(f"{what}: {middle:.0f} in the second third, {last:.0f} in the last, {'flat' if is_flat else 'GROWING'}")


if __name__ == "__main__":
    main()
