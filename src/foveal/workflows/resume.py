"""An interrupted run goes on, by what it began with."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from foveal.classifier.card import REPEATS, holds_folds
from foveal.classifier.device import choose_device
from foveal.data.catalog import is_named
from foveal.data.dataset import Dataset
from foveal.data.load import reordered
from foveal.errors import ClassifierError, DataError, UsageError, listed
from foveal.files import locked, sha256_of
from foveal.models.foreign.entry import refuse_untrusted
from foveal.models.foreign.given import refuse_absent
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.loggers import refuse_missing
from foveal.training.recipe import read_recipe
from foveal.workflows.carry_on import carry_on
from foveal.workflows.plan import load_again, overlaid
from foveal.workflows.prepare import prepare

LEARNING_CURVE = "learning_curve.json"  # in a folder of trainings with other numbers of images


def resume(
    run: Run,
    source: object,
    data_dir: str | Path | None,
    progress: Progress,
    *,
    called: Path | None = None,
    trust: str | None = None,
) -> Run:
    """Go on with `run` where its last checkpoint stands, or with its evaluation and report.

    `called` is what a user resumes, where that is not the run itself; `trust` is the code that its network may run.
    """
    if (run.path / REPEATS).is_file():
        raise UsageError(f"{run.path} holds repeats of a run; go on with foveal.repeat(resume=…).")
    home = run.path.absolute().parent.parent
    if called is None and holds_folds(home):
        raise UsageError(f"{run.path} is one fold of several; go on with all of them: foveal train --resume {home}")
    if called is None and (home / LEARNING_CURVE).is_file():
        raise UsageError(f"{run.path} is a part of a learning curve; go on with: foveal train --resume {home}")
    if not run.recipe_file.is_file():
        raise ClassifierError(f"There is no run to resume at {run.path}: it holds no recipe.toml.")
    with locked(run.path):
        return _resume_locked(run, source, data_dir, progress, called or run.path, trust)


def _resume_locked(
    run: Run, source: object, data_dir: str | Path | None, progress: Progress, called: Path, trust: str | None
) -> Run:
    if run.is_finished:
        progress.line(f"{run.path} is finished; its report is {run.report_file}")
        return run
    _refuse_changed(run)
    recipe = read_recipe(run.recipe_file)
    refuse_untrusted(recipe.model, trust, run.recipe_file)
    refuse_absent(recipe.model, called, "foveal.train(resume=…, model=network)")
    refuse_missing(recipe.log)
    if source is None and not recipe.source:
        raise UsageError(f"{run.path} was trained on arrays: give them again, foveal.train(dataset, resume=…).")
    choose_device(recipe.device)
    try:
        dataset = load_again(recipe, source, data_dir, progress)
    except DataError as error:
        if is_named(recipe.source) and source is None and data_dir is None and recipe.data_dir is not None:
            again = f"foveal train --resume {shlex.quote(str(called))} --data-dir DIR"
            raise DataError(f"{error} Where the files lie now can be said again: {again}") from error
        if source is not None or is_named(recipe.source) or Path(recipe.source).exists():
            raise
        raise DataError(
            f"The images of {run.path} are not at {recipe.source}, seen from here; say where they are: "
            f"foveal train SOURCE --resume {shlex.quote(str(called))}"
        ) from error
    dataset = overlaid(dataset, recipe)
    began = run.audit["dataset"]
    dataset = dataclasses.replace(dataset, name=began["name"], origin=began["origin"])  # moved images are the same
    classes = tuple(began["classes"])
    if set(dataset.classes) == set(classes):
        dataset = reordered(dataset, classes)  # the network knows them by their numbers
    kept_split = {row["record_id"]: row["split"] for row in run.splits}
    prepared = prepare(dataset, recipe, run.path, progress, kept_split=kept_split)
    before = began["content_hash"]
    if prepared.dataset.content_hash != before:
        raise DataError(
            f"The data of {run.path} have changed since it began (content {prepared.dataset.content_hash[:12]}, "
            f"was {before[:12]}); restore them, or train anew."
        )
    _refuse_moved(run, prepared.dataset)
    return carry_on(run, prepared, recipe, progress)


def _refuse_moved(run: Run, dataset: Dataset) -> None:
    """Raise DataError where an image lies under another name than when the run began: its split goes by its name."""
    digests = dict(zip(dataset.record_ids.tolist(), dataset.scan.digests.tolist(), strict=True))
    moved = [row["record_id"] for row in run.splits if row["sha256"] != digests[row["record_id"]]]
    if moved:
        raise DataError(
            f"{len(moved):,} images of {run.path} lie under each other's names, so that trained and tested ones would "
            f"be mixed up; put them back, or train anew:\n{listed(moved, 5)}"
        )


def _refuse_changed(run: Run) -> None:
    """Raise ClassifierError when recipe, audit or splits are missing or are not those that the run began with."""
    environment = run.environment
    if not isinstance(environment.get("files"), dict):
        raise ClassifierError(f"{run.environment_file} is damaged: it does not name the files of the run.")
    for name, digest in environment["files"].items():
        file = run.path / name
        if sha256_of(file) != digest:
            raise ClassifierError(
                f"{file} is missing or was changed after the run began, so the run cannot go on as it was; restore the "
                f"file, or train anew (--recipe takes a changed recipe)."
            )
