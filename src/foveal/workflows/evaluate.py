"""Evaluate: a classifier on images with labels, kept under ``evaluations/``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveal.classifier import Classifier
from foveal.data.dataset import Dataset
from foveal.data.load import load, reordered
from foveal.data.pixels import decode_all
from foveal.data.sources.manifest import Columns
from foveal.errors import AuditError, ClassifierError, DataError, OutputError, UsageError, listed, nearest
from foveal.evaluation.metrics import measure
from foveal.evaluation.predictions import write_predictions
from foveal.files import write_json
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress
from foveal.run import SCHEMA_VERSION, Run
from foveal.workflows.prepare import refuse_unreadable

OWN_NAMES = ("test", "validation")
TRAINED_ON = "trained-on"
MEMORY_GIB = 4.0  # above this the decoded images are memory-mapped, as in training


def evaluate(
    run: str | Path,
    source: object,
    *,
    name: str | None = None,
    columns: Columns | None = None,
    skip_unreadable: bool = False,
    accept: tuple[str, ...] = (),
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate the classifier of `run` on `source` and return its metrics.

    Args:
        run: a run directory.
        source: a Dataset, or anything that `foveal.load` takes; every class must be one of the classifier's.
        name: what to call the evaluation; the source's name by default. The results go to
            ``evaluations/<name>/``, which must not exist.
        columns: which column of a manifest holds what.
        skip_unreadable: leave out images that cannot be read, instead of refusing.
        accept: ``("trained-on",)`` evaluates also on images that served training; the metrics say so.
        device: where to compute.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: one of its classes, each saying what to do.
    """
    for one in accept:
        if one != TRAINED_ON:
            raise UsageError(
                f'There is no finding "{one}" to accept here, only {TRAINED_ON}.{nearest(one, [TRAINED_ON])}'
            )
    home = Run(Path(run))
    if not home.classifier_dir.is_dir() and (home.path / "classifier.json").is_file():
        home = Run(home.path.absolute().parent)
    classifier = Classifier.load(home.path, device=device)
    dataset = load(source, columns=columns)
    strange = [one for one in dataset.classes if one not in classifier.classes]
    if strange:
        known = ", ".join(classifier.classes[:12]) + (", …" if len(classifier.classes) > 12 else "")
        raise DataError(
            f"{dataset.name} has classes that the classifier does not know ({known}):\n"
            + listed([one + nearest(one, classifier.classes) for one in strange])
        )
    dataset = reordered(dataset, classifier.classes)
    name = name or dataset.name
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f'"{name}" is no name for an evaluation: it becomes a folder of that name.')
    if name in OWN_NAMES or home.evaluation_dir(name).exists():
        raise OutputError(f"{home.evaluation_dir(name)} exists already or is reserved; choose another --name.")
    with Progress(silent=not progress) as display:
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
        note = _note(home, used, accept, len(failures))
        return write_evaluation(home, name, classifier, used, pixels, kept, note=note, rows_are_records=False)


def write_evaluation(
    run: Run,
    name: str,
    classifier: Classifier,
    dataset: Dataset,
    pixels: np.ndarray,
    rows: np.ndarray,
    *,
    note: str = "",
    rows_are_records: bool = True,
) -> dict[str, Any]:
    """Predict the images at `rows` of `pixels`, write ``evaluations/<name>/``, and return the metrics.

    `rows` are records of `dataset` too, unless `rows_are_records` is False: then the dataset has one record a row.
    """
    records = rows if rows_are_records else np.arange(len(rows))
    probabilities = classifier.probabilities(pixels, rows)
    labels = dataset.labels[records]
    metrics = measure(labels, probabilities, classifier.classes, dataset.groups[records]).to_dict()
    metrics["note"] = " ".join(part for part in (metrics["note"], note) if part)
    folder = run.evaluation_dir(name)
    write_predictions(
        folder / "predictions.csv", dataset.record_ids[records].tolist(), labels, probabilities, classifier.classes
    )
    header = {
        "schema_version": SCHEMA_VERSION,
        "classifier": classifier.hash,
        "dataset": {"name": dataset.name, "origin": dataset.origin},
    }
    write_json(folder / "metrics.json", {**header, **metrics})
    return metrics


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
        seen = {row["sha256"] for row in run.splits if row["split"] != "test"}
    except ClassifierError:
        return "Where the training images are not known, a leak cannot be excluded."
    known = [str(one) for one, digest in zip(dataset.record_ids, dataset.scan.digests, strict=True) if digest in seen]
    if known and TRAINED_ON not in accept:
        raise AuditError(
            f"{len(known):,} of these {len(dataset):,} images served training or validation of {run.path}, so the "
            f"figures would lie:\n{listed(known, 5)}\nLeave them out, or go on knowingly with --accept {TRAINED_ON}."
        )
    parts = [f"{len(known):,} of the {len(dataset):,} images served training or validation."] if known else []
    return " ".join([*parts, *([f"{skipped:,} images could not be read and were left out."] if skipped else [])])
