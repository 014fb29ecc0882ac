"""The learning-rate range test: the rate climbs from far too low to far too high, and the loss says where it is right.

Leslie N. Smith, "Cyclical learning rates for training neural networks" (2015; WACV 2017), section 3.3; the
exponential climb and the suggestions are those of fastai's ``lr_find``. Deviation: the loss is smoothed by a
kernel centred on each step and not by a running mean, which lags behind and puts everything too far right.

What is suggested as the peak of a schedule that comes down again is the rate at which 98 % of the fall is done:
the bottom of the loss, but its near end, since an easy task is solved before the test is over and its loss then
lies flat for decades. Tried with ten networks, optimisers and data sets (digits, MNIST; one_cycle, few epochs),
the best of six or seven peaks was 0.8 to 3.7 times that rate; fastai's points were 10 to 100 times lower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from foveal.classifier.device import saying_out_of_memory
from foveal.data.batches import Batches
from foveal.errors import Interrupted
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.training.interrupt import StopRequest
from foveal.training.loop import class_weights, learn
from foveal.training.recipe import Recipe
from foveal.training.stage import TrainingData
from foveal.training.state import TrainingState

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 160
SMOOTHING = 0.2  # standard deviation of the kernel, in factors of ten of the rate
DIVERGED = 4.0  # times the lowest loss so far
COMES_DOWN = ("one_cycle", "cosine")
FALLEN = 0.98
LEAST_FALL = 0.05  # of the loss in the beginning, below which nothing is suggested


@dataclass(frozen=True)
class RangeTest:
    """The course of a range test, a step each, and the rates that it suggests (None where the loss never fell)."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]  # of single batches
    smoothed: tuple[float, ...]
    diverged: bool  # it was ended because the loss rose out of sight
    bottom: float | None  # where 98 % of the fall is done
    steepest: float | None  # where it falls fastest
    valley: float | None  # two thirds down its longest fall

    def suggestion(self, schedule: str) -> float | None:
        """Return the learning rate to train with: the peak of a schedule that comes down, or one that stays."""
        return None if self.bottom is None else self.bottom / (1 if schedule in COMES_DOWN else 5)


def range_test(
    network: nn.Module,
    data: TrainingData,
    preprocess: Preprocess,
    recipe: Recipe,
    progress: Progress,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
) -> RangeTest:
    """Train `network` by `recipe`, at a rate that climbs from `lowest` to `highest` in `steps`, until it diverges.

    Only training images are asked. The network is spoilt afterwards.
    """
    device = torch.device(recipe.device)
    batches = Batches(
        data.pixels,
        data.labels,
        data.train,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        device=device,
        epoch_images=steps * recipe.batch_size,
    )
    state = TrainingState.begin(network, recipe, steps)
    weights = class_weights(data, recipe.class_weights, device)
    climb = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    running = best = math.inf
    network.train()
    with (
        StopRequest() as stop,
        saying_out_of_memory(f"try a --batch-size below {recipe.batch_size} or a smaller --size"),
        progress.stage("learning rates", steps) as stage,
    ):
        for (pixels, labels), rate in zip(batches.of_epoch(0), climb, strict=True):
            loss = float(learn(state, preprocess.normalise(pixels), labels, weights, recipe, rate)[0])
            if not math.isfinite(loss):
                break
            losses.append(loss)
            running = loss if math.isinf(running) else 0.8 * running + 0.2 * loss
            best = min(best, running)
            stage.advance(1, f"rate {rate:.2g}  loss {loss:.4f}")
            if running > DIVERGED * best:
                break
            if stop:
                raise Interrupted("Stopped; a range test is not kept.")
    return judged(climb[: len(losses)], losses, diverged=len(losses) < steps)


def judged(rates: Sequence[float], losses: Sequence[float], *, diverged: bool) -> RangeTest:
    """Return the range test with what its course suggests."""
    course = smooth(rates, losses)
    nothing = RangeTest(tuple(rates), tuple(losses), tuple(course.tolist()), diverged, None, None, None)
    if len(course) < 8:
        return nothing
    lowest = int(course.argmin())
    start = float(np.median(course[: max(1, len(course) // 8)]))
    if lowest < 2 or start - course[lowest] < LEAST_FALL * abs(start):
        return nothing
    slope = np.gradient(course[: lowest + 1], np.log10(rates[: lowest + 1]))
    bottom = int(np.argmax(course <= start - FALLEN * (start - course[lowest])))
    first, last = longest_fall(course)
    return replace(
        nothing,
        bottom=rates[bottom],
        steepest=rates[int(slope.argmin())],
        valley=rates[first + (last - first) * 2 // 3],
    )


def smooth(rates: Sequence[float], losses: Sequence[float]) -> np.ndarray:
    """Return `losses` (N,) as means over their neighbours, weighted by a Gaussian over the logarithm of the rate."""
    if not rates:
        return np.empty(0)
    place = np.log10(rates)
    weights = np.exp(-0.5 * ((place[:, None] - place[None, :]) / SMOOTHING) ** 2)
    averaged: np.ndarray = weights @ np.asarray(losses, float) / weights.sum(axis=1)
    return averaged


def longest_fall(course: np.ndarray) -> tuple[int, int]:
    """Return first and last index of the longest decreasing subsequence of `course`."""
    length, start = [1] * len(course), list(range(len(course)))
    for later in range(1, len(course)):
        for earlier in range(later):
            if course[earlier] > course[later] and length[earlier] + 1 > length[later]:
                length[later], start[later] = length[earlier] + 1, start[earlier]
    last = int(np.argmax(length))
    return start[last], last
