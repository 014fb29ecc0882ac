"""Our networks beside torchvision's own: forward, and forward with backward, in interleaved pairs.

Both get the same weights and the same images, channels first in memory as torchvision's users have them. Each of
the pairs lets them run in turn, three times each, the order drawn anew every time, so that a change of the machine's
speed meets both, and keeps the fastest of each three: what a neighbour on the machine takes is neither's cost.
Prints for each network the median ratio ours / torchvision's and its 95 % interval over the pairs (of the mean of
the logarithm, Student's t); below 1 ours is faster. The goal is an upper bound of at most 1.05.

    python bench/architectures.py [--pairs 15] [--threads 2] [NETWORK …]

Needs torchvision, which Foveal itself does not: pip install --no-deps torchvision==0.28.0
"""

from __future__ import annotations

import argparse
import importlib
import math
import random
import statistics
import time
from collections.abc import Callable
from types import ModuleType

import torch
from scipy.stats import t as student
from torch import nn

import foveal
from foveal.workflows.machine import processor
from torchvision_operators import declare_operators

NETWORKS = (
    "alexnet", "vgg11", "googlenet", "resnet50", "densenet121", "squeezenet1_1", "mobilenet_v3_large",
    "efficientnet_b0",
)  # fmt: skip
BATCH, SIDE = 4, 224
PASSES = 3  # of each network in one pair
GOAL = 1.05


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("networks", nargs="*", default=NETWORKS)
    options.add_argument("--pairs", type=int, default=15)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    print(f"{processor()}, {chosen.threads} threads, torch {torch.__version__}, batch {BATCH} of {SIDE}×{SIDE}")
    print(f"{'network':<20} {'pass':<18} {'ours ms':>8} {'theirs ms':>10} {'ratio':>6}   95 % interval")
    misses = 0
    for name in chosen.networks:
        ours, theirs = pair_of(name)
        for what, work in (("forward", forward), ("forward, backward", learn)):
            misses += report(name, what, *measure(work, ours, theirs, chosen.pairs))
    print("every upper bound is within the goal" if not misses else f"{misses} upper bounds are above {GOAL}")


def pair_of(name: str) -> tuple[nn.Module, nn.Module]:
    """Return our network and torchvision's, with the same weights."""
    ours = foveal.create_model(name, options={"auxiliary": False} if name == "googlenet" else None)
    theirs = torchvision().models.get_model(
        name, weights=None, **({"aux_logits": False, "init_weights": False} if name == "googlenet" else {})
    )
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def forward(network: nn.Module) -> None:
    network.eval()
    with torch.inference_mode():
        network(IMAGES)


def learn(network: nn.Module) -> None:
    network.train()
    network.zero_grad(set_to_none=True)
    network(IMAGES).square().mean().backward()


def measure(
    work: Callable[[nn.Module], None], ours: nn.Module, theirs: nn.Module, pairs: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of each of `pairs`, ours and theirs; a first pass of each is not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for network in (ours, theirs):
        work(network)
    for _ in range(pairs):
        fastest = [math.inf, math.inf]
        for which in (which for _ in range(PASSES) for which in random.sample((0, 1), 2)):
            started = time.perf_counter()
            work((ours, theirs)[which])
            fastest[which] = min(fastest[which], time.perf_counter() - started)
        for which in (0, 1):
            seconds[which].append(fastest[which])
    return seconds


def report(name: str, what: str, ours: list[float], theirs: list[float]) -> bool:
    """Print one line, and return whether its upper bound misses the goal."""
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    reach = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = (math.exp(statistics.mean(logs) + sign * reach) for sign in (-1, 1))
    ratio = math.exp(statistics.median(logs))
    times = f"{1e3 * statistics.median(ours):8.1f} {1e3 * statistics.median(theirs):10.1f}"
    print(f"{name:<20} {what:<18} {times} {ratio:6.3f}   {low:.3f} to {high:.3f}", flush=True)
    return high > GOAL


def torchvision() -> ModuleType:
    """Import torchvision, whose operators are declared first."""
    declare_operators()
    return importlib.import_module("torchvision")


IMAGES = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

if __name__ == "__main__":
    main()
