"""Everything that a training step depends on and changes, which is what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foveal.classifier.device import autocast_type, move_network
from foveal.run import Run
from foveal.training.checkpoint import (
    Checkpoint,
    damaged,
    random_state,
    read_checkpoint,
    remove_torn,
    restore_network,
    restore_random_state,
    write_checkpoint,
)
from foveal.training.history import EpochRow
from foveal.training.loss_scale import LossScale
from foveal.training.optimizer import Optimizer, make_optimizer
from foveal.training.recipe import Recipe
from foveal.training.schedule import Schedule

STAGES = ("stage", "before", "stage_began_s", "best_stage")
ADDED = ("elapsed_s", "closing_s", "out_of_time", *STAGES)  # to the position; a checkpoint of Foveal 0.1.0 lacks them


@dataclass
class Position:
    """How far training has come; the sums are over the images of the epoch at hand."""

    stage: int = 0  # the number of the stage at hand
    before: int = 0  # epochs finished in the stages before it
    stage_began_s: float = 0.0  # of the whole training, when this stage began
    epoch: int = 0  # epochs finished in this stage
    batch: int = 0  # batches finished in the epoch at hand
    seen: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    elapsed_s: float = 0.0  # of the whole training, validation included
    closing_s: float = 0.0  # how long the last epoch took to validate
    out_of_time: bool = False  # the time limit has ended the training
    best_loss: float = math.inf
    best_epoch: int = 0  # counted through all stages
    best_stage: int = 0
    history: list[EpochRow] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs are finished, those of the stages before included."""
        return self.before + self.epoch

    def next_stage(self) -> Position:
        """Return the position at the beginning of the next stage: what was learned stays, the counting begins anew."""
        return Position(
            stage=self.stage + 1,
            before=self.epochs,
            stage_began_s=self.elapsed_s,
            elapsed_s=self.elapsed_s,
            best_loss=self.best_loss,
            best_epoch=self.best_epoch,
            best_stage=self.best_stage,
            history=self.history,
        )

    def next_epoch(self) -> None:
        """Count the epoch at hand as finished and start its sums anew."""
        self.epoch += 1
        self.batch = self.seen = self.correct = 0
        self.loss_sum = self.seconds = 0.0


@dataclass
class TrainingState:
    """The network, its optimiser, the schedule, the loss scale of half precision, and the position."""

    network: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    loss_scale: LossScale
    device: torch.device
    half: torch.dtype | None = None  # of the forward pass in mixed precision
    position: Position = field(default_factory=Position)
    best: dict[str, Tensor] = field(default_factory=dict)  # the network of the best epoch, where the disk lags behind

    @classmethod
    def begin(
        cls, network: nn.Module, recipe: Recipe, steps: int, shares: Mapping[str, float] | None = None
    ) -> TrainingState:
        """Return the state before the first step of `steps`, with `network` moved to the recipe's device.

        `shares` are those of `TrainingStage`; only parameters that have one, and require a gradient, learn.
        """
        device = torch.device(recipe.device)
        move_network(network, device, channels_last=recipe.channels_last)
        optimizer = make_optimizer(
            recipe.optimizer,
            network.parameters(),
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )
        if shares is not None:
            optimizer.shares = [shares[name] for name, one in network.named_parameters() if one.requires_grad]
        half = autocast_type(device, wanted=recipe.mixed_precision)
        schedule = Schedule(recipe.schedule, recipe.learning_rate or 0.0, steps)
        return cls(network, optimizer, schedule, LossScale.for_type(half), device, half)

    def save(self, run: Run) -> None:
        """Replace the run's last checkpoint by this state."""
        state: dict[str, Any] = {
            **asdict(self.position),
            "best_loss": repr(self.position.best_loss),
            "optimizer_steps": self.optimizer.steps,
            "plateau": {name: repr(value) for name, value in self.schedule.plateau.items()},
            "loss_scale": asdict(self.loss_scale),
        }
        tensors = Checkpoint(
            self.network.state_dict(), self.optimizer.tensors(), random_state(self.device), state, self.best
        )
        write_checkpoint(run.checkpoint_file("last"), tensors)

    def restore(self, run: Run) -> bool:
        """Take over the run's last checkpoint, if there is one of this stage, and say whether there was."""
        path = run.checkpoint_file("last")
        for which in ("last", "best"):
            remove_torn(run.checkpoint_file(which))
        if not path.exists():
            return False
        saved = read_checkpoint(path)
        if saved.state.get("stage", 0) != self.position.stage:
            return False
        restore_network(self.network, saved.network, path)
        try:
            state = dict(saved.state)
            self.optimizer.restore(saved.optimizer, state["optimizer_steps"])
            state["history"] = [EpochRow(**row) for row in state["history"]]
            state["best_loss"] = float(state["best_loss"])
            self.schedule.plateau = {name: float(value) for name, value in state["plateau"].items()}
            self.loss_scale = LossScale(**state["loss_scale"])
            names = [name for name in Position.__dataclass_fields__ if name in state or name not in ADDED]
            self.position = Position(**{name: state[name] for name in names})
            restore_random_state(saved.random, self.device)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, error) from error
        self.best = saved.best
        self.keep_best(run)
        return True

    def remember_best(self) -> None:
        """Hold a copy of the network of the epoch that has just ended, the best one; it goes with the checkpoints."""
        self.best = {name: one.detach().clone() for name, one in self.network.state_dict().items()}

    def keep_best(self, run: Run) -> None:
        """Write the run's best checkpoint where the best epoch has ended since it was last written.

        The best checkpoint is written after the last one and, if that was where the process was killed, when the
        last one is restored: so it is never ahead of the last one, and behind it only until a resumed run begins.
        """
        at = self.position
        tensors = self.best
        if not tensors and at.epoch and at.epochs == at.best_epoch and not at.batch:
            tensors = self.network.state_dict()
        if tensors:
            state = {"epoch": at.best_epoch, "stage": at.best_stage}
            write_checkpoint(run.checkpoint_file("best"), Checkpoint(tensors, {}, {}, state))
            self.best = {}


def take_best(networks: Sequence[nn.Module], position: Position, run: Run) -> None:
    """Put the weights of the best epoch into the network of its stage, one of `networks`; all are then in eval mode.

    Raises ClassifierError where the best checkpoint is damaged, or of another epoch.
    """
    path = run.checkpoint_file("best")
    best = read_checkpoint(path)
    if best.state.get("epoch") != position.best_epoch or best.state.get("stage", 0) != position.best_stage:
        raise damaged(path, ValueError(f"it is not of epoch {position.best_epoch}, the best one"))
    restore_network(networks[position.best_stage], best.network, path)
    for network in networks:
        network.eval()


def position_reached(run: Run) -> Position:
    """Return the stage and the history of the run's last checkpoint; the beginning where there is none."""
    path = run.checkpoint_file("last")
    if not path.exists():
        return Position()
    return Position(stage=int(read_checkpoint(path).state.get("stage", 0)))
