"""How long until MNIST is answered with 98.5 %: the textbook script beside `foveal train`, each a fresh process.

The textbook: LeNet-5 (tanh, average pooling), torchvision's datasets.MNIST with Pad, ToTensor and Normalize, a
`DataLoader` of batch 64, torch.optim.Adam at 1e-3, at most 5 epochs, the test images asked after each.

Foveal: the presets `lenet5_speed` (the same network) and `speed` (a network below 100,000 parameters).

Time counts from the start of the process: the textbook's to the end of its first epoch that reaches 98.5 % on the
test images, ours to `metrics.json` of a run whose final test accuracy is at least that. The presets were chosen on
10,000 held-out training images. Runs alternate, so that a change of the machine's speed meets all of them.

    python bench/lenet_mnist.py [--seeds 10] [--textbook 3]

Needs MNIST: FOVEAL_TEST_DATA, or ../shared/data beside the checkout; and torchvision, which Foveal itself does
not: pip install --no-deps torchvision==0.28.0 (with its dependencies it may replace torch by another build).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from command_line import run_foveal
from torchvision_operators import declare_operators

TARGET = 0.985
EPOCHS = 5
PRESETS = {"lenet5_speed": 12, "speed": 25}  # name → how many times as fast as the textbook it ought to be
DATA = Path(os.environ.get("FOVEAL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


@dataclass(frozen=True)
class Outcome:
    """One fresh process: seconds from its start to its answer, and the accuracy then."""

    seconds: float
    accuracy: float

    @property
    def passed(self) -> bool:
        return self.accuracy >= TARGET


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=10, help="runs of each preset")
    options.add_argument("--textbook", type=int, default=3, help="runs of the textbook script")
    options.add_argument("--be-the-textbook", type=int, metavar="SEED", help=argparse.SUPPRESS)
    options.add_argument("--folder", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be_the_textbook is not None:
        textbook(chosen.be_the_textbook, Path(chosen.folder))
        return
    if not (DATA / "mnist").is_dir():
        sys.exit(f"There is no {DATA / 'mnist'}; FOVEAL_TEST_DATA says where the data are.")

    theirs: list[Outcome] = []
    ours: dict[str, list[Outcome]] = {name: [] for name in PRESETS}
    for seed in range(max(chosen.seeds, chosen.textbook)):
        if seed < chosen.textbook:
            theirs.append(run_textbook(seed))
            say("textbook", seed, theirs[-1])
        if seed < chosen.seeds:
            for name, outcomes in ours.items():
                outcomes.append(run_preset(name, seed))
                say(name, seed, outcomes[-1])
    conclude(theirs, ours)


def run_textbook(seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "MNIST" / "raw"  # as torchvision unpacks them; not counted
        raw.mkdir(parents=True)
        for file in (DATA / "mnist").glob("*-ubyte.gz"):
            (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        started = time.time()
        command = [sys.executable, __file__, "--be-the-textbook", str(seed), "--folder", folder]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return Outcome(answer["ended"] - started, answer["accuracy"])


def run_preset(name: str, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started = time.time()
        words: list[str | Path] = ["--preset", name, "--seed", str(seed), "--out", out]
        run_foveal("train", DATA / "mnist", *words).check_returncode()
        metrics = out / "metrics.json"
        return Outcome(metrics.stat().st_mtime - started, json.loads(metrics.read_text())["test"]["accuracy"]["value"])


def say(name: str, seed: int, outcome: Outcome) -> None:
    below = "" if outcome.passed else "   below 98.5 %"
    print(f"{name:14} seed {seed}  {outcome.seconds:7.2f} s  {outcome.accuracy:.2%}{below}", flush=True)


def conclude(theirs: list[Outcome], ours: dict[str, list[Outcome]]) -> None:
    their_s = statistics.median(one.seconds for one in theirs)
    print(f"\n{platform.platform()}, {os.cpu_count()} cores; MNIST, 10,000 test images, median of the seconds")
    print(f"textbook       {their_s:7.2f} s  ({len(theirs)} runs)")
    for name, outcomes in ours.items():
        median_s = statistics.median(one.seconds for one in outcomes)
        mean = statistics.mean(one.accuracy for one in outcomes)
        passed = sum(one.passed for one in outcomes)
        print(
            f"{name:14} {median_s:7.2f} s  ({passed} of {len(outcomes)} seeds reach 98.5 %, mean {mean:.2%})"
            f"  {their_s / median_s:.1f} times as fast; goal {PRESETS[name]}"
        )


def textbook(seed: int, folder: Path) -> None:
    """Train as tutorials do and print when, and how well, the first epoch ended that was good enough."""
    import torch

    declare_operators()

    import torch.nn.functional as F
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    prepare = transforms.Compose(
        [transforms.Pad(2), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )  # (1, 32, 32)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    train = DataLoader(datasets.MNIST(folder, train=True, transform=prepare), batch_size=64, shuffle=True)
    test = DataLoader(datasets.MNIST(folder, train=False, transform=prepare), batch_size=1_000)
    accuracy = 0.0
    for _ in range(EPOCHS):
        network.train()
        for x, labels in train:
            optimizer.zero_grad()
            F.cross_entropy(network(x), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.no_grad():
            correct = sum(int((network(x).argmax(1) == labels).sum()) for x, labels in test)
        accuracy = correct / 10_000
        if accuracy >= TARGET:
            break
    print(json.dumps({"ended": time.time(), "accuracy": accuracy}))


if __name__ == "__main__":
    main()
