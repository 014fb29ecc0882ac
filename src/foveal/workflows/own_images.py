"""The test images of a finished run, found again and held against what it was tested on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.card import find_folder, holds_folds, is_ensemble
from foveal.data.catalog import is_named
from foveal.data.corruptions import Corruption, content_numbers, corrupt
from foveal.data.dataset import Dataset
from foveal.data.load import reordered
from foveal.data.pixels import decode_all, pixel_digests
from foveal.data.splits import find_units
from foveal.errors import ClassifierError, DataError, UsageError, listed
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.recipe import Recipe, read_recipe
from foveal.workflows.plan import load_again, overlaid
from foveal.workflows.prepare import refuse_unreadable


def finished_run(path: Path) -> Run:
    """Return the finished run at `path`, which may be its ``classifier`` folder."""
    if is_ensemble(path):
        parts = "folds" if holds_folds(path) else "repeats"
        raise UsageError(f"{path} holds the {parts} of a training; name one of them, as in {path / parts / '1'}.")
    folder = find_folder(path)
    if folder.name != "classifier" or not (folder.parent / "recipe.toml").is_file():
        raise ClassifierError(f"{path} is a classifier without its run, so its test images are not known; name a run.")
    return Run(folder.parent)


@dataclass(frozen=True, eq=False)
class OwnImages:
    """The test images of a run, as the network takes them."""

    name: str
    of: int  # test images of the run
    record_ids: list[str]
    labels: np.ndarray  # (N,)
    pixels: np.ndarray  # (N, H, W, C) uint8
    numbers: np.ndarray  # (N,) int64, of each image's content
    units: np.ndarray  # (N,)
    box: tuple[slice, slice]  # rows and columns of the content

    def damaged(self, rows: np.ndarray | slice, corruption: Corruption, strength: float, seed: int) -> np.ndarray:
        """Return the images at `rows`, damaged within the content box."""
        out = np.array(self.pixels[rows])
        down, across = self.box
        out[:, down, across] = corrupt(out[:, down, across], corruption.name, strength, self.numbers[rows], seed=seed)
        return out


def own_test_images(
    run: Run,
    source: object,
    data_dir: str | Path | None,
    most: int,
    seed: int,
    classifier: Classifier,
    progress: Progress,
) -> OwnImages:
    """Return at most `most` test images of `run`; DataError unless they are those that it was tested on."""
    try:
        tested = {row["record_id"]: row for row in run.splits if row["split"] == "test"}
        stored = {name: (row["sha256"], row["label"]) for name, row in tested.items()}
    except KeyError as error:
        raise ClassifierError(f"{run.splits_file} is damaged: it has no column {error}.") from error
    if not stored:
        raise DataError(f"{run.path} has no test images: no row of {run.splits_file} has the split test.")
    recipe = read_recipe(run.recipe_file)
    dataset = _opened(run, source, data_dir, recipe, progress)
    rows = np.flatnonzero(np.isin(dataset.record_ids, list(stored)))
    if len(rows) < len(stored):
        lost = sorted(set(stored) - set(dataset.record_ids[rows].tolist()))
        raise DataError(
            f"{len(lost):,} of the test images of {run.path} are not in {dataset.origin or dataset.name}:\n"
            + listed(lost, 5)
        )
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    used = dataset.take(rows)
    scan = used.scanned(progress)
    if scan.unreadable:
        refuse_unreadable(used, scan.unreadable)
    names = [*dataset.classes, ""]
    seen = zip(used.record_ids.tolist(), scan.digests.tolist(), used.labels.tolist(), strict=True)
    changed = [name for name, digest, label in seen if stored[name] != (digest, names[label])]
    if changed:
        raise DataError(
            f"These are not the images that {run.path} was tested on: {len(changed):,} of them are others, or have "
            f"other labels; restore them:\n{listed(changed, 5)}"
        )
    used = reordered(used, classifier.classes)
    preprocess = classifier.preprocess
    pixels, failures = decode_all(
        used.images,
        np.arange(len(used)),
        preprocess,
        memory_gib=recipe.memory_gib,
        scratch=run.path,
        progress=progress,
    )
    if failures:
        refuse_unreadable(used, failures)
    units = find_units(used, by_group=True, copies=pixel_digests(pixels))
    ids = [str(one) for one in used.record_ids]
    name = str(run.audit.get("dataset", {}).get("name", dataset.name))
    return OwnImages(
        name, len(stored), ids, used.labels, pixels, content_numbers(pixels), units, _content_box(preprocess)
    )


def _opened(run: Run, source: object, data_dir: str | Path | None, recipe: Recipe, progress: Progress) -> Dataset:
    """Return the dataset that `run` was trained on, from `source` or from where its recipe says."""
    if source is None and not recipe.source:
        raise UsageError(f"{run.path} was trained on arrays: give them again, foveal.robustness(run, dataset).")
    again = f"foveal robustness {shlex.quote(str(run.path))}"
    try:
        dataset = load_again(recipe, source, data_dir, progress)
    except DataError as error:
        if source is not None or data_dir is not None or Path(recipe.source).exists():
            raise
        if is_named(recipe.source):
            raise DataError(f"{error} Where its files lie can be said: {again} --data-dir DIR") from error
        raise DataError(
            f"The images of {run.path} are not at {recipe.source}, seen from here; say where they are: {again} SOURCE"
        ) from error
    return overlaid(dataset, recipe)


def _content_box(preprocess: Preprocess) -> tuple[slice, slice]:
    top = (preprocess.height - preprocess.content_height) // 2
    left = (preprocess.width - preprocess.content_width) // 2
    return slice(top, top + preprocess.content_height), slice(left, left + preprocess.content_width)
