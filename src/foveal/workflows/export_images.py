"""Which real images an export is measured on, and on which others int8 is calibrated.

Those that the classifier's run was trained with, by the run's own record: validation images to measure, training
images to calibrate, the test images never. Or those of a source that is named: images that the run trained on are
told by their SHA-256; splits that the source gives are kept; the rest is halved by lot.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.classifier import Classifier
from foveal.data.dataset import Dataset
from foveal.data.load import load, reordered
from foveal.data.pixels import decode_all
from foveal.data.sources.manifest import Columns
from foveal.data.splits import find_units, hold_out
from foveal.errors import DataError, listed, nearest
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.recipe import read_recipe
from foveal.workflows.prepare import refuse_unreadable

CALIBRATING = 128  # images: ranges hardly widen with more
MEMORY_GIB = 4.0
SEED = 0


@dataclass(frozen=True, eq=False)
class ExportImages:
    """Decoded images: uint8 (N, H, W, C), as the network's preprocessing leaves them before it normalises."""

    measuring: np.ndarray
    labels: np.ndarray  # (N,) of those, index into the classifier's classes
    units: np.ndarray  # (N,) number of the group of each, copies joined
    measuring_are: str  # "validation images of the run"
    calibrating: np.ndarray
    calibrating_are: str


def find_images(
    folder: Path,
    classifier: Classifier,
    *,
    data: object,
    columns: Columns | None,
    data_dir: str | Path | None,
    most: int,
    calibrate: bool,
    progress: Progress,
) -> ExportImages:
    """Return at most `most` images to measure on, and for `calibrate` others to calibrate on.

    Raises DataError when none are named and the classifier has no run, or its run's images are gone or changed.
    """
    run = Run(folder.parent) if (folder.parent / "recipe.toml").is_file() and folder.name == "classifier" else None
    if data is None:
        dataset, places = _of_run(run, folder, data_dir, progress)
        origin = "of the run"
    else:
        dataset = load(data, columns=columns, data_dir=data_dir, progress=progress)
        places = _roles(_with_classes(dataset, classifier), run, progress, calibrate=calibrate)
        origin = f"of {dataset.name}"
    dataset = _with_classes(dataset, classifier)
    kinds = ("train", "validation") if calibrate else ("validation",)
    drawn = {kind: _some(places[kind], most if kind == "validation" else CALIBRATING) for kind in kinds}
    if not all(len(rows) for rows in drawn.values()):
        raise DataError(f"{dataset.name} holds too few images to export with; give others with --data SOURCE.")
    rows = np.concatenate([drawn[kind] for kind in kinds])
    chosen = dataset.take(rows)
    chosen.scanned(progress)
    if run is not None and data is None:
        _refuse_changed(chosen, run)
    pixels, failures = decode_all(
        chosen.images,
        np.arange(len(chosen)),
        classifier.preprocess,
        memory_gib=MEMORY_GIB,
        scratch=folder,
        progress=progress,
    )
    if failures or chosen.scan.unreadable:
        refuse_unreadable(chosen, failures | chosen.scan.unreadable)
    first = len(drawn.get("train", ()))
    measured = chosen.take(np.arange(first, len(chosen)))
    named = "validation images" if data is None or calibrate else "images"
    return ExportImages(
        measuring=pixels[first:],
        labels=measured.labels,
        units=find_units(measured, by_group=True),
        measuring_are=f"{named} {origin}",
        calibrating=pixels[:first],
        calibrating_are=f"training images {origin}",
    )


def _of_run(
    run: Run | None, folder: Path, data_dir: str | Path | None, progress: Progress
) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Return the data of `run`, and for each split the rows that the run has recorded in it."""
    say = f"foveal export {shlex.quote(str(folder))} --data SOURCE …"
    if run is None:
        raise DataError(f"{folder} has no run beside it that says its images; name some to compare on: {say}")
    recipe = read_recipe(run.recipe_file)
    if not recipe.source:
        raise DataError(f"{run.path} was trained on arrays; name images to compare on: {say}")
    try:
        dataset = load(
            recipe.source,
            columns=recipe.columns,
            classes=recipe.classes,
            data_dir=data_dir if data_dir is not None else recipe.data_dir,
            progress=progress,
        )
    except DataError as error:
        raise DataError(f"{error} Name images to compare on: {say}") from error
    split_of = {row["record_id"]: row["split"] for row in run.splits}
    splits = np.array([split_of.get(one, "") for one in dataset.record_ids.tolist()])
    if not (splits == "validation").any():
        raise DataError(f"The validation images of {run.path} are not at {recipe.source} any more; name others: {say}")
    return dataset, {name: np.flatnonzero(splits == name) for name in ("train", "validation")}


def _roles(dataset: Dataset, run: Run | None, progress: Progress, *, calibrate: bool) -> dict[str, np.ndarray]:
    """Return for train and validation the rows of a source that was named for this export."""
    dataset.scanned(progress)
    known = {row["sha256"]: row["split"] for row in run.splits} if run is not None else {}
    digests = dataset.scan.digests.tolist()
    splits = np.array(
        [known.get(digest) or given for digest, given in zip(digests, dataset.given_splits.tolist(), strict=True)]
    )
    rows = {name: np.flatnonzero(splits == name) for name in ("train", "validation")}
    free = np.flatnonzero(splits == "")
    if not calibrate:
        for candidates in (rows["validation"], free, np.arange(len(dataset))):
            if len(candidates):
                return {**rows, "validation": candidates}
    if len(rows["train"]) and len(rows["validation"]):
        return rows
    if len(rows["train"]) and len(free):
        return {**rows, "validation": free}
    rest = free if len(free) else rows["train"]
    if not len(rest):
        raise DataError(f"{dataset.name} holds no images that are neither validation nor test, to calibrate int8 on.")
    part = dataset.take(rest)
    held = hold_out(part.labels, find_units(part, by_group=True), share=0.5, seed=SEED)
    return {"train": rest[~held], "validation": rows["validation"] if len(rows["validation"]) else rest[held]}


def _with_classes(dataset: Dataset, classifier: Classifier) -> Dataset:
    """Return `dataset` with the classifier's classes in its order; DataError for classes that it does not know."""
    strange = [one + nearest(one, classifier.classes) for one in dataset.classes if one not in classifier.classes]
    if strange:
        raise DataError(f"{dataset.name} has classes that the classifier does not know:\n{listed(strange)}")
    if (dataset.labels < 0).any():
        raise DataError(f"{dataset.name} has images without a label; an export is measured on labelled ones.")
    return reordered(dataset, classifier.classes)


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` of `rows`, drawn by a fixed lot, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))


def _refuse_changed(dataset: Dataset, run: Run) -> None:
    digests = {row["record_id"]: row["sha256"] for row in run.splits}
    pairs = zip(dataset.record_ids.tolist(), dataset.scan.digests.tolist(), strict=True)
    changed = [name for name, digest in pairs if digests[name] != digest]
    if changed:
        raise DataError(
            f"{len(changed):,} images are not those that {run.path} was trained with; restore them, or name others "
            f"with --data:\n{listed(changed, 5)}"
        )
