"""How the report writes numbers, and the sentences it draws from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from foveal.audit.finding import Finding
from foveal.evaluation.interval import Estimate
from foveal.evaluation.out_of_fold import SPLIT
from foveal.report.results import Results, Scores
from foveal.web.svg import printable

NOTHING = "–"
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}


# --- numbers ---


def percent(share: float | None) -> str:
    """``0.981`` → ``98.1 %``; what is not all is never rounded up to 100 %, nor something down to nothing."""
    if share is None:
        return NOTHING
    written = f"{100 * share:.1f}"
    if written == "100.0" and share < 1:
        return ">99.9\N{NO-BREAK SPACE}%"
    if written == "0.0" and share > 0:
        return "<0.1\N{NO-BREAK SPACE}%"
    return f"{written}\N{NO-BREAK SPACE}%"


def count(number: float) -> str:
    """``12345`` → ``12,345``."""
    return f"{number:,.0f}"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """``1, "image"`` → ``1 image``; ``1200, "image"`` → ``1,200 images``."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


def decimal(number: float | None) -> str:
    """``0.07`` → ``0.070``."""
    return NOTHING if number is None else f"{number:.3f}"


def significant(number: float) -> str:
    """Three significant digits: ``0.00123``, ``1.23e-06``."""
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """``83`` → ``1 min 23 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, hours = whole // 60, whole // 3600
    if hours:
        return f"{count(hours)} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def moment(text: str) -> str:
    """``2026-11-21T20:50:00+00:00`` → ``21 November 2026, 20:50 UTC``; anything else stays as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = "" if time.tzinfo is None else " UTC"
    time = time if time.tzinfo is None else time.astimezone(UTC)
    return f"{time.day} {time:%B %Y, %H:%M}{zone}"


def interval(estimate: Estimate | None) -> str:
    """``96.1 to 99.1 %``."""
    if estimate is None:
        return NOTHING
    low, high = percent(estimate.low), percent(estimate.high)
    return f"{low.removesuffix(f'{chr(160)}%')} to {high}"


def level(estimate: Estimate) -> str:
    """``95 % interval``."""
    return f"{100 * estimate.level:g}\N{NO-BREAK SPACE}% interval"


def plain(value: Any) -> str:
    """Return a recipe's or an environment's value as a person would write it."""
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {plain(item)}" for key, item in value.items()) or NOTHING
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the rows of a table of choices, those of an inner table as ``outer.inner``."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", plain(value)))
    return rows


def quoted(name: str) -> str:
    """Return a class name as it stands in a sentence."""
    shown = printable(name)
    return f"“{shown if len(shown) <= 60 else shown[:59] + '…'}”"


# --- sentences ---


def images_of(split: str) -> str:
    """Return the images that something was chosen on: ``calibration`` → ``calibration images``."""
    return "images answered out of fold" if split == SPLIT else f"{split} images"


def what(results: Results) -> str:
    """Return what was trained on what."""
    dataset = results.dataset
    return (
        f"{results.architecture['title']} trained on {printable(str(dataset['name']))}: "
        f"{counted(dataset['n'], 'image')}, {counted(len(results.test.classes), 'class', 'classes')}"
    )


def baseline(scores: Scores) -> str:
    """Return what one would reach without looking at the images."""
    if not scores.n or not scores.per_class:
        return ""
    most = max(scores.per_class, key=lambda entry: entry.support)
    return f"Always answering {quoted(most.name)} would be right for {percent(most.support / scores.n)} of them."


def claim(results: Results) -> str:
    """Return what the headline may claim of the test images, by what the audit found."""
    leaks = {"group-across-splits", "duplicates-across-splits", "group-written-two-ways"}
    if any(entry.name in leaks for entry in results.findings):
        return "; but images of the same group, or the same images, also served training (see Data), so it is too good."
    return ", which served neither training nor stopping."


def beside_the_accuracy(entries: Sequence[Finding]) -> list[str]:
    """Return what must be read with any accuracy on these images: that the class can be told without the subject."""
    return [entry.sentence for entry in entries if entry.name in ("shortcut", "class-in-one-source")]


def findings(entries: Sequence[Finding]) -> str:
    """Return how many findings the audit made, and whether one still stands in the way."""
    if not entries:
        return (
            "The checks before training (spelling of labels and groups, exact copies, groups across splits, classes of "
            "one source, balance) found nothing; near copies and other shortcuts are looked for by `foveal data check`."
        )
    accepted = sum(entry.accepted for entry in entries)
    said = f"The audit of the data made {counted(len(entries), 'finding')}"
    return f"{said}; {accepted} of them accepted in the recipe." if accepted else f"{said}."


def origin(results: Results) -> str:
    """Return where the images come from and what they look like."""
    dataset = results.dataset
    colour = "grey" if dataset["channels"] == 1 else "colour"
    groups = dataset.get("n_groups")
    from_groups = f" from {counted(groups, 'group')}" if groups else ""
    return f"{counted(dataset['n'], f'{colour} image')}{from_groups}, {printable(str(dataset['image_sizes']))} pixels."


def curves(results: Results) -> str:
    """Return the best epoch and the gap between training and validation there."""
    training = results.training
    best = next((epoch for epoch in results.history if epoch.epoch == training.best_epoch), None)
    if best is None:
        return f"The best epoch was {training.best_epoch} of {training.epochs}."
    gap = 100 * (best.train_accuracy - best.validation_accuracy)
    said = (
        f"Validation loss was lowest in epoch {best.epoch} of {training.epochs}, whose weights were kept: "
        f"accuracy {percent(best.train_accuracy)} in training and {percent(best.validation_accuracy)} in validation, "
    )
    if abs(gap) < 0.05:
        said += "no gap"
    else:
        said += f"a gap of {abs(gap):.1f} percentage points" + (" in favour of validation" if gap < 0 else "")
    if gap >= 5 and results.validation.accuracy and best.train_accuracy > results.validation.accuracy.high:
        said += ", which points to overfitting"
    said += stages(results)
    if training.out_of_time:
        return said + ". The time limit ended training; the learning rate had gone down with the time."
    return said + (f". Training stopped early, after epoch {training.epochs}." if training.stopped_early else ".")


def stages(results: Results) -> str:
    """Return which epochs belong to which stage of a transfer, as the end of a sentence; nothing without stages."""
    spans: dict[str, list[int]] = {}
    for row in results.history:
        spans.setdefault(row.stage, []).append(row.epoch)
    named = [f"{name} in epochs {epochs[0]} to {epochs[-1]}" for name, epochs in spans.items() if name]
    return f". What learned: the {', then the '.join(named)}" if named else ""


def classes(scores: Scores) -> str:
    """Return which class is found least often."""
    found = [(entry.recall, entry) for entry in scores.per_class if entry.recall is not None and entry.support]
    if not found:
        return "No class has a test image."
    recall, worst = min(found, key=lambda pair: pair[0].value)
    if recall.value >= 1:
        return "Every test image of every class was found."
    equal = sum(other.value == recall.value for other, _ in found) - 1
    also = f"; {counted(equal, 'other class is', 'other classes are')} found as rarely" if equal else ""
    right = round(recall.value * worst.support)
    return (
        f"The class found least often is {quoted(worst.name)}: {count(right)} of {counted(worst.support, 'image')}, "
        f"recall {percent(recall.value)} ({level(recall)} {interval(recall)}){also}."
    )


def confusion(scores: Scores, pairs: Sequence[tuple[int, int]]) -> str:
    """Return the most frequent confusion, given the `pairs` (true, predicted), most frequent first."""
    if not pairs:
        return "No class was taken for another."
    (true, predicted), most = pairs[0], scores.confusion[pairs[0][0]][pairs[0][1]]
    total = sum(scores.confusion[true])
    equal = sum(scores.confusion[i][j] == most for i, j in pairs) - 1
    also = f"; {counted(equal, 'other pair is', 'other pairs are')} as frequent" if equal else ""
    return (
        f"The most frequent confusion is {quoted(scores.classes[true])} taken for {quoted(scores.classes[predicted])}: "
        f"{count(most)} of {counted(total, 'image')} ({percent(most / total)}){also}."
    )


def mistakes(wrong: int, shown: int, total: int) -> str:
    """Return how many test images were wrong, and which of them are shown."""
    if not total:
        return "There is no test image."
    if not wrong:
        return f"There is none: all {counted(total, 'test image')} were classified correctly."
    said = f"{count(wrong)} of {counted(total, 'test image')} {'was' if wrong == 1 else 'were'} classified wrongly"
    if shown < wrong:
        return f"{said}; these are the {count(shown)} with the highest probability for the wrong class."
    return f"{said}, the most confident mistake first."


def repeatable(results: Results) -> str:
    """Return what it takes to run this again, which is more than the recipe where the network is somebody's own."""
    name = str(results.architecture["name"])
    if name.startswith("object:"):
        return (
            "Every choice of this run but its network, an object handed over from Python: neither its code nor the "
            "weights it began with are kept, so the recipe alone cannot repeat the run."
        )
    if ":" in name and not name.startswith("timm:"):
        return (
            f"Every choice of this run: with the same data, and with {printable(name)} as it was, whose code is not "
            f"kept here, this is what it takes to run it again."
        )
    return "Every choice of this run: with the same data, this is what it takes to run it again."


def network(results: Results) -> str:
    """Return the network's size and where most of it lies."""
    layers = results.layers
    total = results.training.parameters
    said = f"{counted(total, 'parameter')} and {count(sum(layer.macs for layer in layers))} multiply-adds an image"
    largest = max(layers, key=lambda layer: layer.parameters, default=None)
    if largest is None or not total or not largest.parameters:
        return said + "."
    return f"{said}; {percent(largest.parameters / total)} of the parameters lie in {printable(largest.name)}."


def preprocess(entry: Mapping[str, Any]) -> str:
    """Return what happens to an image before the network sees it."""
    height, width = entry["height"], entry["width"]
    content = f"{entry['content_height']}×{entry['content_width']}"
    inside = "" if content == f"{height}×{width}" else f" inside {height}×{width}"
    mean, std = (", ".join(f"{number:.4g}" for number in entry[key]) for key in ("mean", "std"))
    colour = "grey" if entry["channels"] == 1 else "colour"
    return (
        f"Each image is read as {colour}, brought to {content} pixels{inside} (fit: {entry['fit']}), "
        f"then normalised with mean {mean} and standard deviation {std}."
    )
