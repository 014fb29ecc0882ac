"""The sentences of a reading of learning curves: numbers first, then what to try, never surer than the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.training.reading import Gap, Reading

ANNEALED = 0.2  # of the highest learning rate: below it the schedule itself pulls the loss down
EPOCHS_NAMED = 4
HEAD = "head"  # the stage of a transfer that trains nothing but a new head


def sentences(seen: Reading) -> Iterator[str]:
    """Yield what must be said, what went wrong first."""
    if seen.stage and seen.first_epoch > 1:
        yield from _about_stage(seen)
    said = [*_about_rate(seen), *_about_fit(seen), *_about_length(seen), *_about_validation(seen)]
    yield from said or [_nothing(seen)]
    if seen.seeds:
        yield from _about_seeds(seen)


def _about_stage(seen: Reading) -> Iterator[str]:
    yield (
        f"Judged is the last stage alone, {seen.stage}, epochs {seen.first_epoch} to {seen.last_epoch}: the stages "
        f"before it trained other parts of the network."
    )
    if seen.better_before is not None:
        yield (
            f"Its validation loss never fell below that of epoch {seen.better_before}, of an earlier stage, so this "
            f"stage brought nothing here; a smaller learning rate or a smaller layer_decay may."
        )


def _about_rate(seen: Reading) -> Iterator[str]:
    smaller = "a smaller learning rate (a third, foveal find-lr suggests one) or --clip-norm 1"
    if seen.not_a_number:
        yield f"A loss was no number in {_epochs(seen.not_a_number)}: training diverged. Try {smaller}."
    elif "diverged" in seen.patterns:
        yield (
            f"The training loss ended at {seen.rise:.1f} times its lowest value, which points to too high a learning "
            f"rate. Try {smaller}."
        )
    elif "unstable" in seen.patterns:
        yield (
            f"The training loss leapt up by more than a quarter in {_epochs(seen.jumps)}; too high a learning rate is "
            f"the usual reason. Try {smaller}."
        )


def _about_fit(seen: Reading) -> Iterator[str]:
    gap, turn = seen.gap_at_end, seen.turn
    if "overfitting" in seen.patterns:
        if gap.points is not None and gap.is_beyond_chance:
            remedy = "weight decay or dropout narrow such a gap; a smaller network may"
            if seen.stage == HEAD:  # the network is frozen
                remedy = "a smaller head or more weight decay may narrow such a gap"
            yield (
                f"In the last epoch training accuracy was {_points(gap)} above validation ({_between(gap)} allowing "
                f"for {seen.validation_n:,} validation images): overfitting. More images, --augment, {remedy}."
            )
        if turn is not None:
            agrees = (
                "the validation accuracy has fallen with it"
                if turn.accuracy_agrees
                else "the validation accuracy has not clearly fallen, so it is confidence in wrong answers that grew"
            )
            kept = f"; the weights of epoch {seen.best_epoch} were kept" if seen.best_epoch is not None else ""
            yield (
                f"Validation loss was lowest about epoch {turn.epoch} and has risen by {turn.rise:.3g} since (from one "
                f"epoch to the next it varies by {turn.noise:.2g}); {agrees}{kept}."
            )
    if "underfitting" in seen.patterns and seen.train_accuracy is not None:
        rising = seen.trends["train_accuracy"].direction == "rising" or seen.falling_throughout
        training = f"Training accuracy reached only {100 * seen.train_accuracy:.1f} %"
        if rising:
            yield f"{training} and was still rising: underfitting so far. Try more epochs, then a larger network."
        else:
            yield (
                f"{training} and no longer rose: the network, as it is trained, does not learn even these images. Try "
                f"a larger or pretrained network, another learning rate, less augmentation; or the labels contradict "
                f"each other (foveal data check)."
            )


def _about_length(seen: Reading) -> Iterator[str]:
    if "too few epochs" in seen.patterns:
        one = seen.trends["validation_loss"]
        if one.slope is not None and one.low is not None and one.high is not None:
            how = f"over the last {one.epochs} epochs, by {-one.slope:.2g} an epoch ({-one.high:.2g} to {-one.low:.2g})"
        else:
            how = f"in every one of {seen.last_epoch - seen.first_epoch + 1} epochs, too few to measure a trend"
        why = ", though part of that is the learning rate coming down" if seen.rate_left < ANNEALED else ""
        yield f"Validation loss was still falling {how}{why}: more epochs may help."
    elif seen.first_epoch == seen.last_epoch:
        yield "One epoch shows no trend; train several to read anything from the curves."
    elif seen.stopped_early and seen.best_epoch is not None:
        yield (
            f"Training stopped by itself, {_count(seen.last_epoch - seen.best_epoch, 'epoch')} after the lowest "
            f"validation loss in epoch {seen.best_epoch}; more epochs of the same promise nothing."
        )


def _about_validation(seen: Reading) -> Iterator[str]:
    gap = seen.gap_at_best
    if "validation too small" in seen.patterns and seen.validation_accuracy is not None:
        share, low, high = seen.validation_accuracy
        yield (
            f"{_count(seen.validation_n, 'validation image')} tell the accuracy only to within {100 * low:.1f} to "
            f"{100 * high:.1f} % (seen: {100 * share:.1f} %); choices by smaller differences are chance. More "
            f"validation images, or folds (--folds 5), sharpen it."
        )
    if gap is None or gap.points is None or gap.low is None or gap.high is None:
        return
    if gap.low <= 0 <= gap.high and abs(gap.points) >= 1:
        yield (
            f"In the best epoch the gap between training and validation, {gap.points:.1f} points, is within what "
            f"{_count(seen.validation_n, 'validation image')} show by chance ({_between(gap)})."
        )
    elif gap.high < 0:
        yield (
            f"Validation accuracy is above training accuracy by {-gap.points:.1f} points in the best epoch: training "
            f"figures are taken with augmentation and dropout while the weights move, so this is no fault by itself."
        )


def _about_seeds(seen: Reading) -> Iterator[str]:
    if seen.seeds is None:
        return
    runs, seeds = len(seen.seeds.accuracies), seen.seeds
    yield (
        f"Between {runs} seeds the validation accuracy of the best epoch varies by {seeds.deviation_points:.2g} points "
        f"(standard deviation; mean {100 * seeds.mean:.1f} %), so two single runs that differ by less than "
        f"{seeds.told_apart_points:.2g} points may differ by their seed alone"
        f"{'; two or three runs tell this only roughly' if runs < 4 else ''}."
    )


def _nothing(seen: Reading) -> str:
    gap = seen.gap_at_best
    shown = f" (gap {gap.points:.1f} points, {_between(gap)})" if gap and gap.points is not None else ""
    return (
        f"Nothing stands out in epochs {seen.first_epoch} to {seen.last_epoch}{shown}; what the curves do not show, "
        f"they cannot exclude."
    )


def _epochs(epochs: tuple[int, ...]) -> str:
    named = ", ".join(map(str, epochs[:EPOCHS_NAMED])) + (", …" if len(epochs) > EPOCHS_NAMED else "")
    return f"epoch {named}" if len(epochs) == 1 else f"epochs {named}"


def _points(gap: Gap) -> str:
    return f"{gap.points:.1f} points"


def _between(gap: Gap) -> str:
    return f"{gap.low:.1f} to {gap.high:.1f}"


def _count(number: int, singular: str) -> str:
    return f"{number:,} {singular}{'' if number == 1 else 's'}"
