"""The training loop. It reads top-down; every choice that it obeys stands in the recipe.

Exact resumption: the order of the images is a function of (seed, epoch), the learning rate one of the
step, and everything else that a step depends on lies in the checkpoint, written between two batches.
"""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.classifier.device import saying_out_of_memory
from foveal.classifier.inference import logits
from foveal.data.batches import Batches
from foveal.errors import Interrupted, TrainingError
from foveal.preprocess import Preprocess
from foveal.progress import Progress, Stage
from foveal.run import Run
from foveal.training.history import LEGEND, EpochRow, write_history
from foveal.training.interrupt import StopRequest
from foveal.training.recipe import Recipe
from foveal.training.state import Position, TrainingState

CHECKPOINT_EVERY_S = 120.0
SPEAK_EVERY_S = 0.25


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Decoded images (N, H, W, C) uint8 with labels (N,), and which rows serve training and validation."""

    pixels: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    classes: int


@dataclass(frozen=True)
class Fit:
    """How training went."""

    epochs: int
    best_epoch: int
    stopped_early: bool
    seconds: float
    images_per_s: float


def fit(
    network: nn.Module, data: TrainingData, preprocess: Preprocess, recipe: Recipe, run: Run, progress: Progress
) -> Fit:
    """Train `network` by a resolved `recipe` and leave the weights of its best epoch in it.

    Goes on from the run's last checkpoint where there is one. Raises Interrupted after Ctrl-C (the
    run is kept), TrainingError when the loss is no number, ResourceError out of memory.
    """
    epochs, device = recipe.epochs or 1, torch.device(recipe.device)
    batches = Batches(
        data.pixels, data.labels, data.train, batch_size=recipe.batch_size, seed=recipe.seed, device=device
    )
    state = TrainingState.begin(network, recipe, steps=epochs * len(batches))
    if state.restore(run):
        write_history(run.history_file, state.position.history)  # a kill may have come before its last row
        progress.line(f"going on after epoch {state.position.epoch}, batch {state.position.batch} of the next")
    at = state.position
    weights = class_weights(data, recipe.class_weights, device)
    sums = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    advice = f"try a --batch-size below {recipe.batch_size} or a smaller --size"

    steps_done = at.epoch * len(batches) + at.batch
    with (
        StopRequest() as stop,
        saying_out_of_memory(advice),
        progress.stage("training", epochs * len(batches), done=steps_done) as stage,
    ):
        progress.line(LEGEND)
        while at.epoch < epochs and not out_of_patience(at, recipe.patience):
            network.train()
            saved = spoke = time.monotonic()
            started = saved - at.seconds
            loss_sum = torch.tensor(at.loss_sum, dtype=sums, device=device)
            correct = torch.tensor(at.correct, device=device)

            for pixels, labels in batches.of_epoch(at.epoch, start=at.batch):
                rate = state.schedule.rate(at.epoch * len(batches) + at.batch)
                loss, hits = learn(state, preprocess.normalise(pixels), labels, weights, recipe, rate)
                loss_sum += loss * len(labels)
                correct += hits
                at.batch += 1
                at.seen += len(labels)
                now = time.monotonic()
                if now - spoke > SPEAK_EVERY_S:
                    spoke = now
                    at.seconds = now - started
                    refuse_divergence(float(loss_sum), at, recipe)
                    say(stage, at, len(batches), epochs, float(loss_sum), int(correct))
                if stop or now - saved > CHECKPOINT_EVERY_S:
                    at.loss_sum, at.correct, at.seconds = float(loss_sum), int(correct), now - started
                    state.save(run)
                    saved = now
                if stop:
                    raise interrupted(run)

            at.loss_sum, at.correct, at.seconds = float(loss_sum), int(correct), time.monotonic() - started
            row = end_epoch(state, data, preprocess, recipe, state.schedule.rate((at.epoch + 1) * len(batches) - 1))
            state.save(run)
            state.keep_best(run)
            write_history(run.history_file, at.history)
            stage.advance(at.epoch * len(batches) - stage.done)
            progress.line(row.sentence(epochs, (time.monotonic() - started) * (epochs - at.epoch)))
            if stop:
                raise interrupted(run)

    state.take_best(run)
    seconds = sum(row.seconds for row in at.history)
    return Fit(at.epoch, at.best_epoch, at.epoch < epochs, seconds, len(data.train) * at.epoch / max(seconds, 1e-9))


def learn(
    state: TrainingState, x: Tensor, labels: Tensor, weights: Tensor | None, recipe: Recipe, rate: float
) -> tuple[Tensor, Tensor]:
    """Learn from one batch x (B, C, H, W) at learning `rate`; return its mean loss and how many it had right."""
    with torch.autocast(state.device.type, state.half, enabled=state.half is not None):
        output = state.network(x if recipe.channels_last else x.contiguous())  # (B, classes)
    output = output.float()
    loss = F.cross_entropy(output, labels, weights, label_smoothing=recipe.label_smoothing)
    torch.autograd.backward(loss * state.loss_scale.factor)
    if state.loss_scale.unscale(state.optimizer.parameters):  # else: overflow of half precision, the step is skipped
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(state.optimizer.parameters, recipe.clip_norm)
        state.optimizer.step(rate)
    return loss.detach(), (output.detach().argmax(1) == labels).sum()


def end_epoch(
    state: TrainingState, data: TrainingData, preprocess: Preprocess, recipe: Recipe, rate: float
) -> EpochRow:
    """Ask the validation images, note the epoch, and return its row. TrainingError when a loss is no number."""
    at = state.position
    refuse_divergence(at.loss_sum, at, recipe)
    validation_loss, validation_accuracy = validate(state.network, data, preprocess, recipe, state.device)
    refuse_divergence(validation_loss, at, recipe)
    better = validation_loss < at.best_loss
    row = EpochRow(
        epoch=at.epoch + 1,
        train_loss=at.loss_sum / at.seen,
        train_accuracy=at.correct / at.seen,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
        learning_rate=rate,
        seconds=at.seconds,
        images_per_s=at.seen / max(at.seconds, 1e-9),
        best=int(better),
    )
    if better:
        at.best_loss, at.best_epoch = validation_loss, row.epoch
    state.schedule.epoch_ended(validation_loss)
    at.history.append(row)
    at.next_epoch()
    return row


def refuse_divergence(loss: float, at: Position, recipe: Recipe) -> None:
    """Raise TrainingError when `loss` is no number."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"The loss is no number any more in epoch {at.epoch + 1}: training diverged. Train anew with a "
            f"--learning-rate below {recipe.learning_rate:g} or with --clip-norm 1."
        )


def validate(
    network: nn.Module, data: TrainingData, preprocess: Preprocess, recipe: Recipe, device: torch.device
) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy over the validation images."""
    output = logits(
        network, preprocess, data.pixels, rows=data.validation, device=device, channels_last=recipe.channels_last
    )
    labels = torch.as_tensor(data.labels[data.validation])
    return float(F.cross_entropy(output.double(), labels)), float((output.argmax(1) == labels).double().mean())


def out_of_patience(at: Position, patience: int) -> bool:
    """Whether `patience` epochs went by without a better validation loss; 0 waits for ever."""
    return bool(patience) and at.epoch - at.best_epoch >= patience


def class_weights(data: TrainingData, kind: str, device: torch.device) -> Tensor | None:
    """Return the loss's weight of each class: none, or for ``balanced`` n / (classes · images of the class)."""
    if kind == "none":
        return None
    counts = np.bincount(data.labels[data.train], minlength=data.classes)
    weights = len(data.train) / (data.classes * np.maximum(counts, 1))
    return torch.as_tensor(weights, dtype=torch.float32, device=device)


def interrupted(run: Run) -> Interrupted:
    """Return the error that ends a training that was asked to stop."""
    return Interrupted(f"Stopped; nothing is lost. Go on with: foveal train --resume {shlex.quote(str(run.path))}")


def say(stage: Stage, at: Position, batches: int, epochs: int, loss_sum: float, correct: int) -> None:
    """Bring the display up to date."""
    info = (
        f"epoch {at.epoch + 1}/{epochs}  loss {loss_sum / at.seen:.4f}  accuracy {correct / at.seen:.1%}"
        f"  {at.seen / max(at.seconds, 1e-9):,.0f} images/s"
    )
    stage.advance(at.epoch * batches + at.batch - stage.done, info)
