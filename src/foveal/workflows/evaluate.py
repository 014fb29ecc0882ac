"""Evaluate: a classifier on images with labels, kept under ``evaluations/``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import nn

from foveal.classifier import Classifier
from foveal.classifier.answers import Answers
from foveal.classifier.card import find_folder, holds_folds, is_ensemble
from foveal.classifier.engine import engine_facts
from foveal.classifier.ensemble import Ensemble
from foveal.classifier.members import PASSES, Kind, member_probabilities
from foveal.data.dataset import Dataset
from foveal.data.load import load, reordered
from foveal.data.pixels import decode_all, pixel_digests
from foveal.data.sources.manifest import Columns
from foveal.data.splits import find_units
from foveal.errors import AuditError, ClassifierError, DataError, OutputError, UsageError, listed, nearest
from foveal.evaluation.external import beside_internal, recalibrated
from foveal.evaluation.full import GATE_SCORE, measure_all
from foveal.evaluation.interval import Estimate
from foveal.evaluation.predictions import (
    PREDICTIONS_FILE,
    RECORDS_FILE,
    Predictions,
    write_predictions,
    write_records,
)
from foveal.evaluation.predictions_file import read_predictions
from foveal.evaluation.together import BY_MEMBERS
from foveal.evaluation.uncertainty import uncertainty, wrong_from_right
from foveal.files import locked, saying_why, write_bytes, write_json
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress
from foveal.report.evaluation import EVALUATION_PAGE, render_evaluation
from foveal.report.folds import OUT_OF_FOLD
from foveal.report.mistakes import read_mistakes, write_mistakes
from foveal.run import SCHEMA_VERSION, Run, read_csv, read_json
from foveal.workflows.mistakes import mistake_maps
from foveal.workflows.near_training import near_training_note
from foveal.workflows.prepare import refuse_unreadable, refuse_unsliceable

OWN_NAMES = ("test", "validation")
TRAINED_ON = "trained-on"
MEMORY_GIB = 4.0  # above this the decoded images are memory-mapped, as in training


def evaluate(
    run: str | Path,
    source: object,
    *,
    name: str | None = None,
    columns: Columns | None = None,
    data_dir: str | Path | None = None,
    skip_unreadable: bool = False,
    accept: tuple[str, ...] = (),
    device: str = "auto",
    engine: str = "torch",
    role: Literal["other", "external"] = "other",
    recalibrate: bool = False,
    members: Literal["dropout", "augment", "folds"] | None = None,
    trust: str | None = None,
    network: nn.Module | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate the classifier of `run` on `source` and return its metrics, and ``page``, where they can be read.

    Args:
        run: a run directory.
        source: a Dataset, or anything that `foveal.load` takes; every class must be one of the classifier's.
        name: what to call the evaluation; the source's name by default. The results go to
            ``evaluations/<name>/``, which must not exist.
        columns: which column of a manifest holds what.
        data_dir: a folder with the files of a published data set, as for `foveal.load`.
        skip_unreadable: leave out images that cannot be read, instead of refusing.
        accept: ``("trained-on",)`` evaluates also on images that served training; the metrics say so.
        device: where to compute.
        engine: what computes, as for `Classifier.load`; the metrics name it, its files and its version.
        role: ``external``: images of another place, kept apart from the internal figures and held against them: how
            classes and confidences are distributed in both, and how much the accuracy differs.
        recalibrate: external only: also tell what a calibration fitted on these images would do, cross-fitted. The
            classifier stays as it is.
        members: also ask several times (with dropout left on, of augmented views, or the folds of an ensemble), and
            tell how well their disagreement tells wrong answers from right ones.
        network: as for `Classifier.load`, of a classifier whose network was handed over.
        trust: as for `Classifier.load`.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: one of its classes, each saying what to do.
    """
    for one in accept:
        if one != TRAINED_ON:
            raise UsageError(
                f'There is no finding "{one}" to accept here, only {TRAINED_ON}.{nearest(one, [TRAINED_ON])}'
            )
    if recalibrate and role != "external":
        raise UsageError("Recalibration is for external images (--as external); the run's own are calibrated already.")
    folder = Path(run) if is_ensemble(Path(run)) else find_folder(Path(run))
    home = Run(folder.parent if folder.name == "classifier" and (folder.parent / "recipe.toml").is_file() else folder)
    classifier = Classifier.load(folder, device=device, trust=trust, network=network, engine=engine)
    with Progress(silent=not progress) as display:
        dataset = load(source, columns=columns, data_dir=data_dir, progress=display)
    _refuse_strange(dataset, classifier)
    dataset = reordered(dataset, classifier.classes)
    refuse_unsliceable(dataset)
    name = name or dataset.name
    _refuse_name(home, name)
    with Progress(silent=not progress) as display:
        for sentence in dataset.notes:
            display.line(f"note: {sentence}")
        scan = dataset.scanned(display)
        readable = np.flatnonzero(~np.isin(np.arange(len(dataset)), list(scan.unreadable)))
        pixels, failures = decode_all(
            dataset.images, readable, classifier.preprocess, memory_gib=MEMORY_GIB, scratch=home.path, progress=display
        )
        failures |= scan.unreadable
        if failures and not skip_unreadable:
            refuse_unreadable(dataset, failures)
        kept = np.flatnonzero(~np.isin(readable, list(failures)))
        if not len(kept):
            raise DataError(f"{dataset.name} holds no image that can be read.")
        used = dataset.take(readable[kept])
        notes = [_note(home, used, accept, len(failures))]
        if role == "external":
            notes.append(near_training_note(home, used, display, memory_gib=MEMORY_GIB))
        units = find_units(used, by_group=True, copies=pixel_digests(pixels[kept]))
        with locked(home.path):
            if home.evaluation_dir(name).exists():  # another process was faster
                raise OutputError(f"{home.evaluation_dir(name)} exists already; choose another --name.")
            answered = Answered(classifier.answer(pixels, kept), engine_of(classifier, home))
            asked = _asked_again(classifier, pixels[kept], members, display) if members is not None else None

            def beside(here: Predictions, measured: Mapping[str, Any]) -> dict[str, Any]:
                told = _beside_internal(home, recalibrate, here, measured) if role == "external" else {}
                if asked is not None:
                    found = wrong_from_right(uncertainty(asked), here.labels, here.units)
                    told["uncertainty"] = {"members": members, "passes": len(asked), **found.to_dict()}
                return told

            metrics = write_evaluation(
                home,
                name,
                classifier,
                used,
                answered,
                np.arange(len(kept)),
                units,
                notes=notes,
                beside=beside,
                with_page=True,
            )
            return {**metrics, "page": str(home.evaluation_dir(name) / EVALUATION_PAGE)}


def _asked_again(classifier: Classifier, pixels: np.ndarray, members: Kind, progress: Progress) -> np.ndarray:
    """Return the probabilities (M, N, C) of several answers to each image, and show how many have been given."""
    count = len(classifier.members) if isinstance(classifier, Ensemble) and members == "folds" else PASSES
    with progress.stage("asking again", count) as stage:
        return member_probabilities(classifier, pixels, members, passes=count, answered=stage.advance)


def _refuse_strange(dataset: Dataset, classifier: Classifier) -> None:
    """Raise DataError where `dataset` has classes that the classifier does not know."""
    strange = [one for one in dataset.classes if one not in classifier.classes]
    if strange:
        known = ", ".join(classifier.classes[:12]) + (", …" if len(classifier.classes) > 12 else "")
        raise DataError(
            f"{dataset.name} has classes that the classifier does not know ({known}):\n"
            + listed([one + nearest(one, classifier.classes) for one in strange])
        )


def _refuse_name(home: Run, name: str) -> None:
    """Raise UsageError where `name` is no folder's name, OutputError where an evaluation is called so already."""
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f'"{name}" is no name for an evaluation: it becomes a folder of that name.')
    with saying_why(home.evaluation_dir(name)):
        taken = name in OWN_NAMES or home.evaluation_dir(name).exists()
    if taken:
        raise OutputError(f"{home.evaluation_dir(name)} exists already or is reserved; choose another --name.")


def _beside_internal(home: Run, recalibrate: bool, here: Predictions, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an external evaluation says beside the figures themselves."""
    internal = OUT_OF_FOLD if holds_folds(home.path) else "test"
    folder = home.evaluation_dir(internal)
    there = read_predictions(folder / PREDICTIONS_FILE, here.classes)
    accuracies = [Estimate(**one["accuracy"]) for one in (measured, read_json(folder / "metrics.json"))]
    told: dict[str, Any] = {"external": beside_internal(here, accuracies[0], there, accuracies[1]).to_dict()}
    if recalibrate:
        told["recalibrated"] = recalibrated(here)
    return told


@dataclass(frozen=True, eq=False)
class Answered:
    """What a classifier answered, and what computed it."""

    answers: Answers
    engine: dict[str, Any]  # its name, and what tells it apart


def engine_of(classifier: Classifier, run: Run) -> dict[str, Any]:
    """Return what an evaluation records of the engine that answers for `classifier`."""
    if is_ensemble(run.path):
        return {"engine": classifier.engine}
    return engine_facts(find_folder(run.path), classifier.hash, classifier.engine)


def write_evaluation(
    run: Run,
    name: str,
    classifier: Classifier,
    dataset: Dataset,
    answered: Answered,
    records: np.ndarray,
    units: np.ndarray,
    *,
    notes: Sequence[str] = (),
    beside: Callable[[Predictions, Mapping[str, Any]], dict[str, Any]] | None = None,
    with_page: bool = False,
) -> dict[str, Any]:
    """Write what `classifier` answered as ``evaluations/<name>/``, as a whole, and return the metrics.

    The answers are to the images at `records` of `dataset`; `units` (N,) is the number of each one's group, copies
    joined. `beside` gives what the metrics say beside the figures; `with_page` writes the page of these images, too.
    """
    predictions = _predictions(classifier, dataset, answered.answers, records, units)
    by = BY_MEMBERS if isinstance(classifier, Ensemble) else None
    metrics = measure_all(predictions, classifier.decisions, calibrated=by)
    metrics |= beside(predictions, metrics) if beside is not None else {}
    metrics["note"] = " ".join(part for part in (metrics["note"], *notes) if part)
    header = {
        "schema_version": SCHEMA_VERSION,
        "classifier": classifier.hash,
        "architecture": classifier.architecture,
        **answered.engine,
        "dataset": {"name": dataset.name, "origin": dataset.origin},
    }
    folder = run.evaluation_dir(name)
    part = folder.with_name(f".{name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    try:
        write_predictions(part / PREDICTIONS_FILE, predictions)
        if name not in OWN_NAMES:  # splits.csv tells it of the run's own images
            write_records(part / RECORDS_FILE, _record_columns(dataset, records))
        write_json(part / "metrics.json", {**header, **metrics})
        if with_page or name == "test":
            said = answered.answers
            write_mistakes(part, mistake_maps(classifier, dataset, records, said.labels, said.probabilities))
        if with_page:
            rows, maps = read_csv(part / PREDICTIONS_FILE), read_mistakes(part)
            html = render_evaluation({**header, **metrics}, rows, pictures_of(dataset), maps)
            write_bytes(part / EVALUATION_PAGE, html.encode("utf-8", "replace"))
        with saying_why(folder):
            shutil.rmtree(folder, ignore_errors=True)  # of a run that is resumed: the same figures
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return metrics


def _predictions(
    classifier: Classifier, dataset: Dataset, answers: Answers, records: np.ndarray, units: np.ndarray
) -> Predictions:
    """Return what is stored of `answers` to the images at `records` of `dataset`."""
    columns: dict[str, np.ndarray] = {}
    if (dataset.sources != "").any():
        columns["source"] = dataset.sources[records]
    columns |= {name: values[records] for name, values in dataset.columns.items()}
    if answers.gate_scores is not None:
        columns[GATE_SCORE] = np.array([f"{score:.6f}" for score in answers.gate_scores.tolist()])
    return Predictions(
        classifier.classes,
        tuple(dataset.record_ids[records].tolist()),
        dataset.labels[records],
        answers.probabilities,
        answers.raw if classifier.decisions.calibration is not None else None,
        units.astype(str),
        answers.abstained if answers.gate_scores is not None else None,
        columns,
    )


def _record_columns(dataset: Dataset, records: np.ndarray) -> list[list[str]]:
    rows = records.tolist()
    places = [dataset.images.location(row) for row in rows]
    known = (dataset.groups, dataset.sources, dataset.scan.digests)
    return [dataset.record_ids[rows].tolist(), places, *(column[rows].tolist() for column in known)]


def pictures_of(dataset: Dataset) -> Callable[[str], Image.Image | None]:
    """Return a function from record id to its picture, or None when it can no longer be read."""
    row = {record_id: index for index, record_id in enumerate(dataset.record_ids.tolist())}

    def picture(record_id: str) -> Image.Image | None:
        try:
            return dataset.images.picture(row[record_id])
        except (KeyError, UnreadableImageError):
            return None

    return picture


def _note(run: Run, dataset: Dataset, accept: tuple[str, ...], skipped: int) -> str:
    """Return what must be said beside the figures; AuditError when images were trained on and that is not accepted."""
    try:
        rows = [(row["sha256"], row["group"], row["split"]) for row in run.splits]
    except ClassifierError:
        return "Where the training images are not known, a leak cannot be excluded."
    except KeyError as error:
        raise ClassifierError(f"{run.splits_file} is damaged: it has no column {error}.") from error
    learnt = {key for digest, group, split in rows if split != "test" for key in (digest, f"group {group}")}
    tested = {digest for digest, _, split in rows if split == "test"}
    keys = zip(dataset.record_ids, dataset.scan.digests, dataset.groups, strict=True)
    known = [
        str(record_id)
        for record_id, digest, group in keys
        if digest in learnt or (group and f"group {group}" in learnt)
    ]
    if known and TRAINED_ON not in accept:
        raise AuditError(
            f"{len(known):,} of these {len(dataset):,} images, or others of the same groups, served training or "
            f"validation of {run.path}, so the figures would lie:\n{listed(known, 5)}\n"
            f"Leave them out, or go on knowingly with --accept {TRAINED_ON}."
        )
    again = sum(digest in tested for digest in dataset.scan.digests.tolist())
    parts = [
        (len(known), "served training or validation, or others of their groups did."),
        (again, "are the run's own test images."),
        (skipped, "could not be read and were left out."),
    ]
    return " ".join(f"{count:,} of {len(dataset) + skipped:,} images {what}" for count, what in parts if count)
