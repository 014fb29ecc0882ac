"""The stored results of a run, as the report reads them: one frozen record a noun."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.audit.finding import Finding
from foveal.errors import ClassifierError
from foveal.evaluation.interval import Estimate
from foveal.report.mistakes import MistakeMap, read_mistakes
from foveal.run import Run, read_json
from foveal.training.history import EpochRow, epoch_row


@dataclass(frozen=True)
class ClassScores:
    """What was measured for one class; None where it is undefined."""

    name: str
    precision: Estimate | None
    recall: Estimate | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Scores:
    """What was measured on one set of images."""

    n: int
    accuracy: Estimate | None
    loss: float | None
    macro_f1: float | None
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]  # [true][predicted]
    classes: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Training:
    """How the training went."""

    epochs: int
    best_epoch: int
    stopped_early: bool
    out_of_time: bool
    seconds: float
    parameters: int
    images_per_s: float | None


@dataclass(frozen=True)
class Answer:
    """What the classifier said of one test image."""

    record_id: str
    label: str
    predicted: str
    probability: float
    shares: tuple[float, ...] = ()  # of every class, in the order of the classes


@dataclass(frozen=True)
class Tested:
    """What was measured on one set of images, and what was said of each."""

    scores: Scores
    measured: dict[str, Any]  # the JSON object of metrics.json: all that was measured
    answers: tuple[Answer, ...]
    maps: Mapping[str, MistakeMap] = field(default_factory=dict)  # of the worst mistakes, by record


@dataclass(frozen=True)
class Layer:
    """One row of the network's table."""

    name: str
    type: str
    output: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class Results:
    """Everything the report tells."""

    dataset: dict[str, Any]
    split: dict[str, Any]
    findings: tuple[Finding, ...]
    training: Training
    validation: Scores
    tested: Tested
    history: tuple[EpochRow, ...]
    architecture: dict[str, Any]
    layers: tuple[Layer, ...]
    preprocess: dict[str, Any]
    content_hash: str
    recipe: dict[str, Any]
    recipe_text: str
    environment: dict[str, Any]

    @property
    def test(self) -> Scores:
        """The figures of the test images."""
        return self.tested.scores


def read_results(run: Run) -> Results:
    """Read the stored results of `run`; ClassifierError when a file is missing, damaged or lacks something."""
    metrics, audit, recipe = run.metrics, run.audit, run.recipe
    classifier = read_json(run.classifier_dir / "classifier.json")
    try:
        return Results(
            dataset=audit["dataset"],
            split=audit["split"],
            findings=tuple(finding_of(entry) for entry in audit["findings"]),
            training=_training(metrics["training"]),
            validation=scores_of(metrics["validation"]),
            tested=tested_of(metrics["test"], run.predictions("test"), read_mistakes(run.evaluation_dir("test"))),
            history=tuple(epoch_row(row) for row in run.history),
            architecture=classifier["architecture"],
            layers=tuple(_layer(entry) for entry in classifier["layers"]),
            preprocess=classifier["preprocess"],
            content_hash=str(classifier["content_hash"]),
            recipe=recipe,
            recipe_text=run.recipe_file.read_text(encoding="utf-8"),
            environment=run.environment,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"The stored results in {run.path} are incomplete or damaged: {error!r}.") from error


def tested_of(
    measured: dict[str, Any], rows: Iterable[Mapping[str, str]], maps: Mapping[str, MistakeMap] | None = None
) -> Tested:
    """Return an evaluation, from its object in metrics.json, the rows of its predictions.csv, and mistakes' maps.

    KeyError, TypeError or ValueError where something lacks.
    """
    answers = (
        Answer(
            row["record_id"],
            row["label"],
            row["predicted"],
            float(row["probability"]),
            _shares(row, measured["classes"]),
        )
        for row in rows
    )
    return Tested(scores_of(measured), measured, tuple(answers), maps or {})


def _shares(row: Mapping[str, str], classes: Sequence[str]) -> tuple[float, ...]:
    """Return the probabilities in a row of predictions.csv; none where a hand-made one has no such columns."""
    return tuple(float(row[f"p:{name}"]) for name in classes) if f"p:{classes[0]}" in row else ()


def estimate_of(entry: Mapping[str, Any] | None) -> Estimate | None:
    """Return the estimate in an object of metrics.json; None for none."""
    if entry is None or entry["value"] is None:
        return None
    return Estimate(
        float(entry["value"]), float(entry["low"]), float(entry["high"]), float(entry["level"]), str(entry["method"])
    )


def scores_of(entry: dict[str, Any]) -> Scores:
    """Return the figures of one evaluation, from its object in metrics.json; KeyError or TypeError where some lack."""
    classes = tuple(str(name) for name in entry["classes"])
    per_class = entry["per_class"]
    return Scores(
        n=int(entry["n"]),
        accuracy=estimate_of(entry["accuracy"]),
        loss=entry.get("loss"),
        macro_f1=entry.get("macro_f1"),
        per_class=tuple(
            ClassScores(
                name=name,
                precision=estimate_of(per_class[name]["precision"]),
                recall=estimate_of(per_class[name]["recall"]),
                f1=per_class[name]["f1"],
                support=int(per_class[name]["support"]),
            )
            for name in classes
        ),
        confusion=tuple(tuple(int(number) for number in row) for row in entry["confusion"]),
        classes=classes,
        note=str(entry.get("note") or ""),
    )


def _training(entry: dict[str, Any]) -> Training:
    return Training(
        epochs=int(entry["epochs"]),
        best_epoch=int(entry["best_epoch"]),
        stopped_early=bool(entry["stopped_early"]),
        out_of_time=bool(entry.get("out_of_time", False)),
        seconds=float(entry["seconds"]),
        parameters=int(entry["parameters"]),
        images_per_s=entry.get("images_per_s"),
    )


def finding_of(entry: Mapping[str, Any]) -> Finding:
    """Return a finding of audit.json; TypeError or KeyError where it is none."""
    return Finding(**{**entry, "records": tuple(entry["records"])})


def _layer(entry: dict[str, Any]) -> Layer:
    return Layer(
        name=str(entry["name"]),
        type=str(entry["type"]),
        output=str(entry["output"]),
        parameters=int(entry["parameters"]),
        macs=int(entry["macs"]),
    )
