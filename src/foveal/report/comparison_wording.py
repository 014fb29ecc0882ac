"""The sentences and numbers of a comparison, for its page and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.evaluation.interval import LEVEL, Estimate
from foveal.evaluation.paired_bootstrap import ACCURACY, LOWER_IS_BETTER, MeasureDifference
from foveal.evaluation.resampling import RESAMPLES
from foveal.report.compared import ABSENT, ComparedPair, ComparedRun, Comparison
from foveal.report.wording import count, counted, duration
from foveal.web.svg import printable

NARROW = "\N{NO-BREAK SPACE}"


def share(value: float | None) -> str:
    """``0.98889`` → ``98.89 %``: two decimals, since runs that are compared lie close together."""
    if value is None:
        return ABSENT
    written = f"{100 * value:.2f}"
    if written == "100.00" and value < 1:
        written = ">99.99"
    if written == "0.00" and value > 0:
        written = "<0.01"
    return f"{written}{NARROW}%"


def between(estimate: Estimate) -> str:
    """``96.78 to 99.62 %``."""
    return f"{share(estimate.low).removesuffix(f'{NARROW}%')} to {share(estimate.high)}"


def points(value: float) -> str:
    """``0.0123`` → ``+1.23``, in percentage points; a difference is never rounded to none."""
    if not value:
        return "0.00"
    written = f"{abs(100 * value):.2f}"
    return ("+" if value > 0 else "−") + ("<0.01" if written == "0.00" else written)


def p_value(p: float, name: str = "p") -> str:
    """``0.0312`` → ``p = 0.031``; what is very small is not called nothing."""
    if p < 0.0001:
        return f"{name} < 0.0001"
    if p < 0.001 or abs(p - (1 - LEVEL)) < 0.0006:  # beside the level it must be seen on which side
        return f"{name} = {p:.4f}"
    return f"{name} = {p:.3f}" if p < 0.0995 else f"{name} = {p:.2f}"


def verdict(pair: ComparedPair) -> str:
    """Return what the data say of one pair."""
    result = pair.result
    if result is None:
        return f"No image counts for both {pair.first} and {pair.second}, so nothing can be said of a difference."
    if not result.only_first and not result.only_second:
        return f"{pair.first} and {pair.second} are right and wrong on the same images."
    better, worse = (pair.first, pair.second) if result.difference.value > 0 else (pair.second, pair.first)
    if not result.difference.value:
        return f"{pair.first} and {pair.second} are right equally often, though not on the same images."
    if told_apart(pair):
        return f"{better} is better than {worse}: a difference this large would be rare if both were equally good."
    return f"{better} is ahead of {worse} here, but these images do not tell the two apart."


def counts(pair: ComparedPair) -> str:
    """Return on how many images only one of the two is right."""
    result = pair.result
    if result is None:
        return ""
    return (
        f"Of {counted(result.n, 'image')}, only {pair.first} is right on {result.only_first:,} and only {pair.second} "
        f"on {result.only_second:,}."
    )


def tested(pair: ComparedPair, pairs: int) -> str:
    """Return the test, its p-value, and the adjustment for many pairs."""
    result = pair.result
    if result is None:
        return ""
    said = f"{result.test}: {p_value(result.p_value)}, {p_value(result.mid_p, 'mid-p')}"
    return f"{said}; for {pairs} pairs (Holm) {p_value(result.p_adjusted)}" if pairs > 1 else said


def difference(pair: ComparedPair) -> str:
    """Return the difference with its interval."""
    result = pair.result
    if result is None:
        return ABSENT
    one = result.difference
    return (
        f"{points(one.value)} points ({100 * one.level:g}{NARROW}% interval {points(one.low)} to {points(one.high)}, "
        f"{one.method})"
    )


def measure(one: MeasureDifference) -> tuple[str, str, str, str, str, str]:
    """Return the cells of one measure: its name, both figures, the difference, its interval, the p-value."""
    written = signed if one.measure != ACCURACY else points
    figure = share if one.measure == ACCURACY else "{:.4f}".format
    estimate = one.difference
    return (
        one.measure + (" (lower is better)" if one.measure in LOWER_IS_BETTER else ""),
        figure(one.first),
        figure(one.second),
        written(one.first - one.second),
        f"{written(estimate.low)} to {written(estimate.high)}" if estimate else ABSENT,
        ABSENT if one.p_adjusted is None else p_value(one.p_adjusted).removeprefix("p ").removeprefix("= "),
    )


def signed(value: float) -> str:
    """``0.0123`` → ``+0.0123``; a difference is never rounded to none."""
    if not value:
        return "0"
    written = f"{abs(value):.4f}"
    return ("+" if value > 0 else "−") + ("<0.0001" if written == "0.0000" else written)


def about_measures(pairs: int) -> str:
    """Return how the differences of the measures were tested."""
    many = f", raised for {pairs} pairs (Holm, each measure for itself)" if pairs > 1 else ""
    return (
        f"Intervals are percentiles of {RESAMPLES:,} paired resamples of the independent units; p is twice the smaller "
        f"share of them on either side of 0{many}. DeLong's test is for two classes of single images. Several measures "
        f"are several looks at one question: decide beforehand which of them counts."
    )


def undefined(measures: Sequence[MeasureDifference]) -> str:
    """Return why a measure has no interval, or nothing."""
    absent = [one.measure for one in measures if one.difference is None]
    if not absent:
        return ""
    return f"{' and '.join(absent)}: no interval, since a class has too few images, or nothing varies."


def selection(runs: Sequence[ComparedRun]) -> str:
    """Return the warning that choosing the best of many on one test set is selection; empty for two runs."""
    if len(runs) < 3:
        return ""
    return (
        f"{len(runs)} runs were compared. Taking the best of them by these figures is a selection on these images, so "
        "its figure is too good on average; only images that served no choice can say how good it is."
    )


def caveat() -> str:
    """Return what such a comparison cannot say."""
    return (
        "The test compares these trained classifiers, not their recipes: another seed gives other classifiers. To "
        "compare recipes, train each with several seeds."
    )


def strictness(pair: ComparedPair) -> str:
    """Return why an interval that leaves 0 out stands beside a test that does not tell the two apart, or nothing."""
    result = pair.result
    if result is None or told_apart(pair) or result.difference.low <= 0 <= result.difference.high:
        return ""
    return "The interval of the difference leaves 0 out; the exact test, which is the stricter of the two, does not."


def told_apart(pair: ComparedPair) -> bool:
    """Whether the test, adjusted for all pairs, tells the two apart."""
    return pair.result is not None and pair.result.p_adjusted < 1 - LEVEL


def summary(pairs: Sequence[ComparedPair]) -> str:
    """Return how many of several pairs can be told apart."""
    known, apart = sum(pair.result is not None for pair in pairs), [pair for pair in pairs if told_apart(pair)]
    if not known:
        return "No two of these runs answered an image in common, so nothing can be said of their differences."
    if not apart:
        return f"None of {counted(known, 'pair')} can be told apart by these images (Holm's correction)."
    words = [
        f"{pair.first} {'>' if pair.result and pair.result.difference.value > 0 else '<'} {pair.second}"
        for pair in apart
    ]
    more = f" and {len(words) - 12} more" if len(words) > 12 else ""
    which = ", ".join(words[:12]) + more
    return f"{len(apart)} of {counted(known, 'pair')} can be told apart (Holm's correction): {which}."


def measured_on(run: ComparedRun) -> str:
    """``270 images, 90 groups``."""
    return counted(run.scores.n, "image") + (f", {counted(run.groups, 'group')}" if run.groups else "")


def facts(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """Return the rows of the table of runs, a heading and a cell each run; without those that are empty everywhere."""
    speed = [run.training.images_per_s for run in runs]
    rows = [
        ("Network", [run.title for run in runs]),
        ("Data set", [printable(run.dataset) for run in runs]),
        ("Parameters", [count(run.training.parameters) + (" each" if run.folds else "") for run in runs]),
        ("Multiply-adds an image", [count(run.macs) if run.macs else ABSENT for run in runs]),
        ("Training time", [duration(run.training.seconds) for run in runs]),
        ("Images a second", [count(one) if one else ABSENT for one in speed]),
        ("Epochs", [_epochs(run) for run in runs]),
        ("Seed", [ABSENT if run.seed is None else str(run.seed) for run in runs]),
        ("Accuracy", [share(run.accuracy.value) if run.accuracy else ABSENT for run in runs]),
        (
            "… its interval",
            [f"{between(run.accuracy)} ({run.accuracy.method})" if run.accuracy else ABSENT for run in runs],
        ),
        ("… measured on", [measured_on(run) for run in runs]),
        ("Macro F1", [share(run.scores.macro_f1) for run in runs]),
        ("Loss", [ABSENT if run.scores.loss is None else f"{run.scores.loss:.4f}" for run in runs]),
    ]
    return [(heading, cells) for heading, cells in rows if set(cells) != {ABSENT}]


def _epochs(run: ComparedRun) -> str:
    training = run.training
    if run.folds:
        return f"{count(training.epochs)} in {run.folds} folds"
    ended = ", out of time" if training.out_of_time else ", stopped early" if training.stopped_early else ""
    return f"{count(training.epochs)}, best {training.best_epoch}{ended}"


def different_validation(runs: Sequence[ComparedRun]) -> bool:
    """Whether the runs may have held out different images for validation."""
    fields = ("validation", "test", "split_by")
    lots = [run.recipe.get("split_seed", run.recipe.get("seed")) for run in runs]
    return len({(run.dataset_hash, lot, *map(run.recipe.get, fields)) for run, lot in zip(runs, lots, strict=True)}) > 1


def disagreement(comparison: Comparison) -> str:
    """Return on how many of the images in common the answers differ."""
    images = counted(comparison.common, "image")
    whom = "The two" if len(comparison.runs) == 2 else f"The {len(comparison.runs)} runs"
    return (
        f"{whom} give different answers to {count(len(comparison.disagreements))} of {images} that they have in common."
    )
