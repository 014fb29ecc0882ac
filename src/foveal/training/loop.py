"""The training loop. It reads top-down; every choice that it obeys stands in the recipe.

Exact resumption: the order of the images is a function of (seed, position), the learning rate one of the
step, and everything else that a step depends on lies in the checkpoint, written between two batches.
Under a time limit the learning rate is one of the time gone too, which lies in the checkpoint with the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foveal.classifier.device import saying_out_of_memory
from foveal.classifier.inference import logits
from foveal.data.batches import Batches
from foveal.errors import TrainingError
from foveal.models.network import Heads
from foveal.preprocess import Preprocess
from foveal.progress import Progress, Stage
from foveal.run import Run
from foveal.training.history import LEGEND, EpochRow, write_history
from foveal.training.interrupt import StopRequest, interrupted
from foveal.training.losses import training_loss, validation_loss
from foveal.training.mixing import mixed, mixing_seed
from foveal.training.pace import Pace
from foveal.training.recipe import Recipe
from foveal.training.stage import Frozen, TrainingData, TrainingStage
from foveal.training.state import Position, TrainingState, position_reached, take_best
from foveal.training.time_limit import TimeLimit

CHECKPOINT_EVERY_S = 120.0
SPEAK_EVERY_S = 0.25


@dataclass(frozen=True)
class Fit:
    """How training went."""

    epochs: int
    best_epoch: int
    stopped_early: bool  # by patience
    out_of_time: bool  # the time limit ended it
    seconds: float  # of learning, without the validation passes
    images: int  # learned from, over all epochs
    images_per_s: float
    best_stage: int = 0
    stages: tuple[StageFit, ...] = ()  # of a training that has more than one, or a name for it


@dataclass(frozen=True)
class StageFit:
    """How one stage went."""

    name: str
    epochs: int
    best_epoch: int  # counted through all stages
    validation_loss: float  # of that epoch
    validation_accuracy: float
    seconds: float  # of learning


def fit(
    network: nn.Module,
    data: TrainingData,
    preprocess: Preprocess,
    recipe: Recipe,
    run: Run,
    progress: Progress,
    tell: Callable[[Sequence[EpochRow]], None] = lambda _: None,
) -> Fit:
    """Train `network` by a resolved `recipe` in one stage, as `fit_stages` does."""
    stage = TrainingStage("", network, lambda: data, preprocess.normalise, recipe)
    return fit_stages([stage], run, progress, tell)


def fit_stages(
    stages: Sequence[TrainingStage],
    run: Run,
    progress: Progress,
    tell: Callable[[Sequence[EpochRow]], None] = lambda _: None,
    start_anew: Callable[[], None] = lambda: None,
) -> Fit:
    """Train by one stage after the other and leave the weights of the best epoch of all in their networks.

    Goes on from the run's last checkpoint where there is one. `tell` is handed all epochs so far, when
    training begins or goes on and after every epoch. `start_anew` brings the networks to where training began; it
    is called where a later stage brought nothing better. Raises Interrupted after Ctrl-C (the run is kept),
    TrainingError when the loss is no number, ResourceError out of memory.
    """
    at = position_reached(run)
    while True:
        stage = stages[at.stage]
        at = fit_stage(stage, at, run, progress, tell, epochs_after=_epochs(stages[at.stage + 1 :]))
        if at.best_stage != at.stage:
            start_anew()
        take_best([stage.network for stage in stages], at, run)
        if at.out_of_time or at.stage + 1 == len(stages):
            break
        at = at.next_stage()

    seconds, images = sum(row.seconds for row in at.history), sum(row.images for row in at.history)
    stopped_early = at.epochs < at.before + _epochs(stages[at.stage :]) and not at.out_of_time
    return Fit(
        epochs=at.epochs,
        best_epoch=at.best_epoch,
        stopped_early=stopped_early,
        out_of_time=at.out_of_time,
        seconds=seconds,
        images=images,
        images_per_s=images / max(seconds, 1e-9),
        best_stage=at.best_stage,
        stages=tuple(_stage_fit(stage.name, at.history) for stage in stages if stage.name),
    )


def _stage_fit(name: str, history: Sequence[EpochRow]) -> StageFit:
    rows = [row for row in history if row.stage == name]
    best = min(rows, key=lambda row: row.validation_loss, default=None)
    if best is None:
        return StageFit(name, 0, 0, math.inf, 0.0, 0.0)
    seconds = sum(row.seconds for row in rows)
    return StageFit(name, len(rows), best.epoch, best.validation_loss, best.validation_accuracy, round(seconds, 3))


def _epochs(stages: Sequence[TrainingStage]) -> int:
    return sum(stage.recipe.epochs or 1 for stage in stages)


def fit_stage(
    stage: TrainingStage,
    start: Position,
    run: Run,
    progress: Progress,
    tell: Callable[[Sequence[EpochRow]], None],
    epochs_after: int,
) -> Position:
    """Train by one stage from `start`, or from the checkpoint within it, and return where it ended."""
    recipe, data = stage.recipe, stage.data()
    epochs, device = recipe.epochs or 1, torch.device(recipe.device)
    batches = Batches(
        data.pixels,
        data.labels,
        data.train,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        device=device,
        epoch_images=recipe.epoch_images,
        augment=None if stage.quick or data.views > 1 else recipe.augmentation,
        balanced=recipe.sampler == "balanced",
        views=data.views,
    )
    with Frozen(stage.network, stage.shares) as frozen:
        state = TrainingState.begin(stage.network, recipe, epochs * len(batches), stage.shares)
        state.position = start
        if state.restore(run):
            write_history(run.history_file, state.position.history)  # a kill may have come before its last row
            progress.line(f"going on after epoch {state.position.epochs}, batch {state.position.batch} of the next")
        at = state.position
        limit = TimeLimit(
            None if recipe.time_limit_s is None else recipe.time_limit_s - at.stage_began_s,
            at.elapsed_s - at.stage_began_s,
            at.closing_s,
            validation_images=len(data.validation),
        )
        tell(at.history)
        weights = class_weights(data, recipe.class_weights, device)
        advice = f"try a --batch-size below {recipe.batch_size} or a smaller --size"
        title = f"training the {stage.name}" if stage.name else "training"
        steps_done = at.epoch * len(batches) + at.batch
        with (
            StopRequest() as stop,
            saying_out_of_memory(advice),
            progress.stage(title, epochs * len(batches), done=steps_done) as shown,
        ):
            work = Work(stage, state, frozen, batches, data, weights, run, limit, stop, shown)
            if not at.epochs:
                progress.line(LEGEND)
            pace = Pace(stage, progress)
            while at.epoch < epochs and not at.out_of_time and not out_of_patience(at, recipe.patience):
                began = time.monotonic()
                learn_epoch(work)
                learned = time.monotonic()
                row = end_epoch(work)
                at.closing_s = limit.closing_s = time.monotonic() - learned
                at.elapsed_s, at.out_of_time = work.elapsed_s, at.out_of_time or limit.is_over
                ending = at.epoch == epochs or at.out_of_time or out_of_patience(at, recipe.patience) or bool(stop)
                if pace.is_due(ending=ending):
                    state.save(run)
                    state.keep_best(run)
                    write_history(run.history_file, at.history)
                    tell(at.history)
                ended = time.monotonic()
                limit.closing_s = ended - learned  # writing included
                shown.advance(max(at.epoch * len(batches) - shown.done, 0))
                left_s = 0.0 if at.out_of_time else min((ended - began) * (epochs - at.epoch), limit.left_s)
                pace.say(row, at.before + epochs + epochs_after, left_s, ending=ending)
                if stop:
                    raise interrupted(run.path, recipe.model)
    return at


@dataclass(frozen=True, eq=False)
class Work:
    """What the steps of a training work with."""

    stage: TrainingStage
    state: TrainingState
    frozen: Frozen
    batches: Batches
    data: TrainingData
    weights: Tensor | None  # (classes,) of the loss
    run: Run
    limit: TimeLimit
    stop: StopRequest
    shown: Stage

    @property
    def recipe(self) -> Recipe:
        """The recipe of the stage."""
        return self.stage.recipe

    @property
    def elapsed_s(self) -> float:
        """Seconds of the whole training so far."""
        return self.state.position.stage_began_s + self.limit.elapsed_s

    def rate(self, batch: int) -> float:
        """Return the learning rate of `batch` of the epoch at hand, now."""
        return self.state.schedule.rate(self.state.position.epoch * len(self.batches) + batch, self.limit.share)


def learn_epoch(work: Work) -> None:
    """Learn from the batches of the epoch at hand that are left, until the time is over; note how it went.

    Raises Interrupted, after a checkpoint, when somebody asked to stop; TrainingError when the loss is no number.
    """
    state, recipe, limit, at = work.state, work.recipe, work.limit, work.state.position
    work.frozen.train_mode()
    limit.steps_begin()
    policy = recipe.augmentation
    mixes = policy.mixes_images
    saved = spoke = time.monotonic()
    started = saved - at.seconds
    sums = torch.float32 if state.device.type == "mps" else torch.float64  # MPS has no float64
    loss_sum = torch.tensor(at.loss_sum, dtype=sums, device=state.device)
    correct = torch.tensor(at.correct, device=state.device)

    for pixels, labels in work.batches.of_epoch(at.epoch, start=at.batch):
        x = work.stage.normalise(pixels)
        if mixes:
            lot = mixing_seed(recipe.seed, at.epochs, at.batch)
            x, labels = mixed(x, labels, work.data.classes, policy, lot)  # noqa: PLW2901 - soft from here on
        loss, hits = learn(state, x, labels, work.weights, recipe, work.rate(at.batch))
        loss_sum += loss * len(labels)
        correct += hits
        at.batch += 1
        at.seen += len(labels)
        limit.step_ended(len(labels))
        now = time.monotonic()
        if now - spoke > SPEAK_EVERY_S:
            spoke = now
            at.seconds = now - started
            refuse_divergence(float(loss_sum), at, recipe)
            say(work, float(loss_sum), int(correct))
        if work.stop or now - saved > CHECKPOINT_EVERY_S:
            at.loss_sum, at.correct, at.seconds = float(loss_sum), int(correct), now - started
            at.elapsed_s = work.elapsed_s
            state.save(work.run)
            saved = now
        if work.stop:
            raise interrupted(work.run.path, recipe.model)
        if limit.is_over:
            at.out_of_time = True
            break
    at.loss_sum, at.correct, at.seconds = float(loss_sum), int(correct), time.monotonic() - started


def learn(
    state: TrainingState, x: Tensor, labels: Tensor, weights: Tensor | None, recipe: Recipe, rate: float
) -> tuple[Tensor, Tensor]:
    """Learn from one batch x (B, C, H, W) at learning `rate`; return its mean loss and how many it had right.

    `labels` are classes (B,), or of mixed images the shares (B, classes), where right is the largest.

    Learned from is the loss of the logits and, by their weight, of the auxiliary heads that a network may have;
    returned is that of the logits alone, which is what validation can be compared with.
    """
    with torch.autocast(state.device.type, state.half, enabled=state.half is not None):
        answer = state.network(x if recipe.channels_last else x.contiguous())  # (B, classes), or Heads
    heads = answer if isinstance(answer, Heads) else Heads(answer)
    output = heads.logits.float()
    loss = training_loss(output, labels, recipe, weights)
    total = loss
    for auxiliary in heads.auxiliary:
        total = total + heads.weight * training_loss(auxiliary.float(), labels, recipe, weights)
    torch.autograd.backward(total * state.loss_scale.factor)
    if state.loss_scale.unscale(state.optimizer.parameters):  # else: overflow of half precision, the step is skipped
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(state.optimizer.parameters, recipe.clip_norm)
        state.optimizer.step(rate)
    truth = labels if labels.ndim == 1 else labels.argmax(1)
    return loss.detach(), (output.detach().argmax(1) == truth).sum()


def end_epoch(work: Work) -> EpochRow:
    """Ask the validation images, note the epoch, and return its row. TrainingError when a loss is no number."""
    state, recipe = work.state, work.recipe
    at = state.position
    refuse_divergence(at.loss_sum, at, recipe)
    rate = work.rate(at.batch - 1)
    validation_loss, validation_accuracy = validate(
        state.network, work.data, work.stage.normalise, recipe, state.device
    )
    refuse_divergence(validation_loss, at, recipe)
    better = validation_loss < at.best_loss
    row = EpochRow(
        epoch=at.epochs + 1,
        train_loss=at.loss_sum / at.seen,
        train_accuracy=at.correct / at.seen,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
        learning_rate=rate,
        seconds=at.seconds,
        images_per_s=at.seen / max(at.seconds, 1e-9),
        best=int(better),
        images=at.seen,
        stage=work.stage.name,
    )
    if better:
        at.best_loss, at.best_epoch, at.best_stage = validation_loss, row.epoch, at.stage
        if work.stage.quick:
            state.remember_best()
    state.schedule.epoch_ended(validation_loss)
    at.history.append(row)
    at.next_epoch()
    return row


def refuse_divergence(loss: float, at: Position, recipe: Recipe) -> None:
    """Raise TrainingError when `loss` is no number."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"The loss is no number any more in epoch {at.epochs + 1}: training diverged. Train anew with a "
            f"--learning-rate below {recipe.learning_rate:g} or with --clip-norm 1."
        )


def validate(
    network: nn.Module,
    data: TrainingData,
    normalise: Callable[[Tensor], Tensor],
    recipe: Recipe,
    device: torch.device,
) -> tuple[float, float]:
    """Return mean loss and accuracy over the validation images; the loss is the recipe's, but plain (`losses`)."""
    output = logits(
        network, normalise, data.pixels, rows=data.validation, device=device, channels_last=recipe.channels_last
    )
    labels = torch.as_tensor(data.labels[data.validation])
    loss = validation_loss(output.double(), labels, recipe)
    return float(loss), float((output.argmax(1) == labels).double().mean())


def out_of_patience(at: Position, patience: int) -> bool:
    """Whether `patience` epochs of this stage went by without a better validation loss; 0 waits for ever."""
    return bool(patience) and at.epochs - max(at.best_epoch, at.before) >= patience


def class_weights(data: TrainingData, kind: str, device: torch.device) -> Tensor | None:
    """Return the loss's weight of each class: none, or for ``balanced`` n / (classes · images of the class)."""
    if kind == "none":
        return None
    counts = np.bincount(data.labels[data.train], minlength=data.classes)
    weights = len(data.train) / (data.classes * np.maximum(counts, 1))
    return torch.as_tensor(weights, dtype=torch.float32, device=device)


def say(work: Work, loss_sum: float, correct: int) -> None:
    """Bring the display up to date; under a time limit the bar follows whichever ends training first."""
    at, shown = work.state.position, work.shown
    epochs = at.before + (work.recipe.epochs or 1)
    info = (
        f"epoch {at.epochs + 1}/{epochs}  loss {loss_sum / at.seen:.4f}  accuracy {correct / at.seen:.1%}"
        f"  {at.seen / max(at.seconds, 1e-9):,.0f} images/s"
    )
    done = max(at.epoch * len(work.batches) + at.batch, int(work.limit.share * shown.total))
    shown.advance(max(done - shown.done, 0), info)
