"""The learning curves of a stored run: as panels of the page, as a file, and read out epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.report.svg import standalone
from foveal.report.wording import decimal, percent, significant
from foveal.training.history import EpochRow
from foveal.web.curves import HEIGHT, WIDTH, Panel, loss_and_accuracy, panel_drawing, position
from foveal.web.svg import element


def panels(history: Sequence[EpochRow], best_epoch: int) -> tuple[Panel, Panel]:
    """Return the two panels of `history`, which has at least one epoch."""
    return loss_and_accuracy(
        [epoch.epoch for epoch in history],
        ([epoch.train_loss for epoch in history], [epoch.validation_loss for epoch in history]),
        ([epoch.train_accuracy for epoch in history], [epoch.validation_accuracy for epoch in history]),
        best_epoch,
    )


def curves_figure(drawn: tuple[Panel, Panel], summary: str) -> str:
    """Return both panels as one SVG file."""
    groups = [
        element("g", panel_drawing(panel), transform=f"translate({16 + index * (WIDTH + 24):g} 12)")
        for index, panel in enumerate(drawn)
    ]
    return standalone(2 * WIDTH + 56, HEIGHT + 24, f"Learning curves. {summary}", *groups)


def readings(history: Sequence[EpochRow]) -> list[tuple[float, str]]:
    """Return, an epoch each, its horizontal position and its numbers in words."""
    epochs = [epoch.epoch for epoch in history]
    return [
        (
            round(position(epochs, epoch.epoch), 1),
            f"Epoch {epoch.epoch}: loss {decimal(epoch.train_loss)} training, {decimal(epoch.validation_loss)} "
            f"validation; accuracy {percent(epoch.train_accuracy)} training, {percent(epoch.validation_accuracy)} "
            f"validation; learning rate {significant(epoch.learning_rate)}",
        )
        for epoch in history
    ]
