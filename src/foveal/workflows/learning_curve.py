"""The learning curve by training-set size: the same recipe on nested parts of the training images.

::

    runs/<name>/
      recipe.toml              what all sizes share
      splits.csv               each image's split
      learning_curve.json      shares, repeats; once all have run, the figures
      learning_curve.html      the page
      sizes/<images>-<repeat>/ one training on so many images

All are measured on the validation images. The test images are asked once, by the first run with all training images,
which is a run like any other: a figure by which one decides whether to collect more is a choice, and a test set that
served choices is none any more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.subsets import nested_subsets
from foveal.errors import ClassifierError, DataError, Interrupted, UsageError
from foveal.evaluation.data_curve import DataCurve, fit_data_curve
from foveal.evaluation.predictions_file import read_predictions
from foveal.files import locked, saying_why, sha256_of, write_csv, write_json
from foveal.models.foreign.entry import refuse_untrusted
from foveal.models.foreign.given import lending, refuse_absent
from foveal.progress import Progress
from foveal.report.learning_curve import about_epochs, conclusion, write_learning_curve_page
from foveal.run import SCHEMA_VERSION, Run, read_csv, read_json
from foveal.training.interrupt import interrupted
from foveal.training.recipe import Recipe, read_recipe
from foveal.training.transfer import choose_transfer
from foveal.workflows.begin import SPLIT_COLUMNS, begin, split_rows
from foveal.workflows.part_run import is_measured, predictions_file, stopped_short, train_part
from foveal.workflows.place import free_name, refuse_existing, refuse_inside, refuse_unwritable
from foveal.workflows.plan import given_recipe, open_source
from foveal.workflows.prepare import Prepared, prepare
from foveal.workflows.resume import resume as go_on

if TYPE_CHECKING:
    from torch import nn

PLAN, PAGE = "learning_curve.json", "learning_curve.html"
SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
REPEATS = 3


@dataclass(frozen=True)
class LearningCurve:
    """Trainings on parts of the training images, and what they say together."""

    path: Path
    shares: tuple[float, ...]
    runs: tuple[tuple[Run, ...], ...]  # for each share, each repeat
    curve: DataCurve  # errors on the validation images
    sentence: str  # what may be concluded
    note: str  # what must be said beside it; empty where nothing
    test: Mapping[str, Any] | None  # metrics of the first run with all images on the test images; None without one

    @property
    def page_file(self) -> Path:
        """The page."""
        return self.path / PAGE


def learning_curve(
    source: object = None,
    shares: Sequence[float] = SHARES,
    repeats: int = REPEATS,
    *,
    recipe: Recipe | str | Path | None = None,
    preset: str | None = None,
    model: str | nn.Module | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    trust: str | None = None,
    progress: bool = True,
) -> LearningCurve:
    """Train on growing parts of the training images, and return how the error falls with their number.

    A larger part holds the smaller ones, every class by its share, and no patient is torn; each repeat draws other
    parts, with the seeds seed, seed + 1, …. Validation and test images are the same for all. Errors are those on the
    validation images, by which each training also chose its best epoch, so that all of them are a little too good; the
    test images are asked by the first run with all images alone.

    Args:
        source: a Dataset, or anything that `foveal.load` takes.
        shares: parts of the training images, ascending, two or more; from four on a law can be fitted.
        repeats: how many trainings for each share.
        recipe: a Recipe or a TOML file; what it leaves open, such as epochs, is chosen for each number of images.
        preset: a name of ``foveal presets`` to start from instead.
        model: the network, as for `foveal.train`.
        out: the directory to make; ``runs/<source>-<model>-learning-curve`` by default.
        resume: such a directory to go on with; everything else is then taken from it (give `source` again
            only when it was trained on arrays, or its data have moved, and `model` when it was a module).
        trust: as for `foveal.train`.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: as `foveal.train`; UsageError for shares that make no curve, DataError where the smallest part
            would lack a class.
    """
    with lending(model) as name:
        if resume is not None and (isinstance(model, str) or preset is not None):
            raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
        given = {"preset": preset, "model": name if resume is None else None}
        changes = {field: value for field, value in given.items() if value is not None}
        return learning_curve_or_resume(
            source,
            shares=shares,
            repeats=repeats,
            recipe=recipe,
            changes=changes,
            out=out,
            resume=resume,
            trust=trust,
            progress=progress,
        )


def learning_curve_or_resume(
    source: object,
    *,
    shares: Sequence[float],
    repeats: int,
    recipe: Recipe | str | Path | None,
    changes: Mapping[str, Any],
    out: str | Path | None,
    resume: str | Path | None,
    trust: str | None = None,
    progress: bool = True,
) -> LearningCurve:
    """Do what `learning_curve` says, with `changes` to the recipe; what the command line calls."""
    with Progress(silent=not progress) as display:
        if resume is not None:
            if changes or recipe is not None or out is not None:
                raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
            return _resume(Path(resume), source, display, trust)
        refuse_bad_shares(shares, repeats)
        start = given_recipe(recipe, changes, source, trust=trust)
        return _begin(source, tuple(map(float, shares)), repeats, start, out, display)


def refuse_bad_shares(shares: Sequence[float], repeats: int) -> None:
    """Raise UsageError unless `shares` and `repeats` make a curve."""
    numbers = [one for one in shares if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) != len(shares) or not all(0 < one <= 1 for one in numbers):
        raise UsageError(f"The shares of a learning curve are numbers above 0, up to 1, not {_listed(shares)}.")
    if len(numbers) < 2 or any(b <= a for a, b in pairwise(numbers)):
        raise UsageError(f"The shares of a learning curve are two or more, each above the last, not {_listed(shares)}.")
    if not isinstance(repeats, int) or repeats < 1:
        raise UsageError(f"A learning curve has one repeat or more, not {repeats}.")


def _listed(shares: Sequence[object]) -> str:
    return ", ".join(map(str, shares)) or "none"


def _begin(
    source: object, shares: tuple[float, ...], repeats: int, recipe: Recipe, out: str | Path | None, progress: Progress
) -> LearningCurve:
    """Split the images, make the directory, and train."""
    if out is not None:
        refuse_existing(Path(out))
    dataset, recipe = open_source(source, recipe, progress)
    home = Path(out) if out is not None else free_name(Path("runs"), f"{dataset.name}-{recipe.model}-learning-curve")
    refuse_unwritable(home)
    refuse_inside(home, dataset)
    if recipe.split_seed is None:
        recipe = recipe.changed({"split_seed": recipe.seed})
    prepared, recipe = _prepared(dataset, recipe, home.parent, progress)
    parts = _parts(prepared, shares, repeats, recipe.seed)
    part = Run(home.with_name(f".{home.name}.{os.getpid()}.part"))
    try:
        with saying_why(home):
            part.path.mkdir(parents=True)
        recipe.write(part.recipe_file)
        unfolded = [""] * len(prepared.dataset)
        rows = split_rows(prepared.dataset, prepared.split.assigned.tolist(), unfolded)
        write_csv(part.splits_file, SPLIT_COLUMNS, list(rows))
        write_json(part.path / PLAN, _plan(part, shares, repeats))
        with saying_why(home):
            part.path.rename(home)
    except BaseException:
        shutil.rmtree(part.path, ignore_errors=True)
        raise
    for finding in prepared.findings:
        progress.line(f"note: {finding.sentence}{' (accepted)' if finding.accepted else ''}")
    with locked(home):
        return _carry_on(home, prepared, parts, shares, recipe, progress)


def _prepared(
    dataset: Dataset,
    recipe: Recipe,
    scratch: Path,
    progress: Progress,
    kept_split: Mapping[str, str] | None = None,
) -> tuple[Prepared, Recipe]:
    """Return `dataset` prepared, and the recipe with its transfer chosen, the same for all sizes."""
    recipe, reason = choose_transfer(recipe, len(dataset))
    if reason:
        progress.line(f"transfer: {recipe.transfer}, {reason} (--transfer says otherwise)")
    return prepare(dataset, recipe, scratch, progress, kept_split=kept_split), recipe


def _resume(home: Path, source: object, progress: Progress, trust: str | None) -> LearningCurve:
    """Go on with the learning curve in `home`: the training that was interrupted, then those that had not begun."""
    plan = read_json(home / PLAN)
    for file, key in ((Run(home).recipe_file, "recipe_sha256"), (Run(home).splits_file, "splits_sha256")):
        if plan.get(key) != sha256_of(file):
            raise ClassifierError(f"{file} is missing or was changed after training began; restore it, or train anew.")
    try:
        shares, repeats = tuple(float(one) for one in plan["shares"]), int(plan["repeats"])
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{home / PLAN} is damaged: {error!r}.") from error
    with locked(home):
        recipe = read_recipe(Run(home).recipe_file)
        refuse_untrusted(recipe.model, trust, Run(home).recipe_file)
        refuse_absent(recipe.model, home, "foveal.learning_curve(resume=…, model=network)")
        if source is None and not recipe.source:
            raise UsageError(
                f"{home} was trained on arrays: give them again, foveal.learning_curve(dataset, resume=…)."
            )
        dataset, recipe = open_source(source, recipe, progress)
        stored = {row["record_id"]: row for row in read_csv(Run(home).splits_file)}
        splits = {record_id: row["split"] for record_id, row in stored.items()}
        prepared, recipe = _prepared(dataset, recipe, home, progress, splits)
        used = prepared.dataset
        digests = zip(used.record_ids.tolist(), used.scan.digests.tolist(), strict=True)
        if any(stored[record_id]["sha256"] != digest for record_id, digest in digests):
            raise DataError(f"The images are not those that {home} began with; restore them, or train anew.")
        parts = _parts(prepared, shares, repeats, recipe.seed)
        return _carry_on(home, prepared, parts, shares, recipe, progress)


def _parts(prepared: Prepared, shares: Sequence[float], repeats: int, seed: int) -> list[list[np.ndarray]]:
    """Return for each share and repeat the rows that serve training; DataError where a class would be missing."""
    rows, dataset = prepared.split.indices("train"), prepared.dataset
    labels, units = dataset.labels[rows], prepared.units[rows]
    chains = [nested_subsets(labels, units, shares, seed + repeat) for repeat in range(repeats)]
    parts = [[rows[chain[at]] for chain in chains] for at in range(len(shares))]
    for share, drawn in zip(shares, parts, strict=True):
        for one in drawn:
            absent = sorted(
                {dataset.classes[at] for at in labels} - {dataset.classes[at] for at in dataset.labels[one]}
            )
            if absent:
                raise DataError(
                    f"{dataset.name}: the share {share:g} of {len(rows):,} training images, {len(one):,}, has no image "
                    f"of {', '.join(absent[:5])}; begin with a larger share."
                )
    for smaller, larger, share in zip(parts, parts[1:], shares[1:], strict=False):
        if any(len(a) >= len(b) for a, b in zip(smaller, larger, strict=True)):
            raise DataError(
                f"{dataset.name}: the share {share:g} of {len(rows):,} training images has no more images than the one "
                f"before it, since images of one group or class stay together; take shares that lie further apart."
            )
    return parts


def _carry_on(
    home: Path,
    prepared: Prepared,
    parts: list[list[np.ndarray]],
    shares: tuple[float, ...],
    recipe: Recipe,
    progress: Progress,
) -> LearningCurve:
    """Train what is not trained yet, the small parts first, then sum up."""
    runs = [[Run(home / "sizes" / f"{len(rows)}-{repeat}") for repeat, rows in enumerate(drawn, 1)] for drawn in parts]
    whole = runs[-1][0] if shares[-1] == 1 else None
    for drawn, of_share in zip(parts, runs, strict=True):
        for repeat, (rows, run) in enumerate(zip(drawn, of_share, strict=True)):
            own = recipe.changed({"seed": recipe.seed + repeat})
            if run.is_finished if run == whole else is_measured(run):
                continue
            progress.line(f"{len(rows):,} images, repeat {repeat + 1} of {len(drawn)}")
            try:
                if run == whole:
                    _whole_run(home, run, prepared, own, progress)
                else:
                    train_part(run, prepared, rows, own, progress)
            except Interrupted as error:
                raise interrupted(home, recipe.model, "learning_curve") from error
    return _summed(home, prepared, runs, shares)


def _whole_run(home: Path, run: Run, prepared: Prepared, recipe: Recipe, progress: Progress) -> None:
    """Make the run with all training images, which is like any other: tested, reported, with its classifier."""
    dataset = prepared.dataset.with_splits(prepared.split.assigned)
    if run.recipe_file.is_file():
        go_on(run, dataset, None, progress, called=home, trust=recipe.model)
    else:
        begin(dataset, recipe.changed({"manifest": None}), run.path, progress, announce=False)


def _summed(home: Path, prepared: Prepared, runs: Sequence[Sequence[Run]], shares: tuple[float, ...]) -> LearningCurve:
    """Fit the law, write figures and page, and return what all trainings say together."""
    rows = prepared.split.indices("validation")
    ids, labels = prepared.dataset.record_ids[rows].tolist(), prepared.dataset.labels[rows]
    wrong = [np.stack([_wrong(run, ids, labels, prepared.dataset.classes) for run in drawn]) for drawn in runs]
    images = [float(np.mean([sum(row["split"] == "train" for row in run.splits) for run in drawn])) for drawn in runs]
    _, units = np.unique(prepared.units[rows], return_inverse=True)
    curve = fit_data_curve(images, wrong, units)
    test = runs[-1][0].metrics["test"] if shares[-1] == 1 else None
    found = LearningCurve(
        home,
        shares,
        tuple(tuple(drawn) for drawn in runs),
        curve,
        conclusion(curve, len(rows)),
        about_epochs([[stopped_short(run) for run in drawn] for drawn in runs]),
        test,
    )
    plan = _plan(Run(home), shares, len(runs[0]))
    tested = {"n": test["n"], "accuracy": test["accuracy"]} if test else None
    figures = {
        "validation_images": len(rows),
        "curve": curve.to_dict(),
        "sentence": found.sentence,
        "note": found.note,
        "test": tested,
    }
    write_json(home / PLAN, {**plan, **figures})
    write_learning_curve_page(found.page_file, found.runs, shares, curve, found.sentence, found.note, test)
    return found


def _wrong(run: Run, ids: Sequence[str], labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Return on which validation images (N,) bool the network of `run` was wrong, before any calibration."""
    answers = read_predictions(predictions_file(run), classes)
    place = {record_id: at for at, record_id in enumerate(answers.record_ids)}
    if set(place) != set(ids):
        raise ClassifierError(f"{predictions_file(run)} is damaged: it does not hold the validation images.")
    probabilities = answers.raw if answers.raw is not None else answers.probabilities
    wrong: np.ndarray = probabilities[[place[one] for one in ids]].argmax(axis=1) != labels
    return wrong


def _plan(run: Run, shares: Sequence[float], repeats: int) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "shares": list(shares),
        "repeats": repeats,
        "recipe_sha256": sha256_of(run.recipe_file),
        "splits_sha256": sha256_of(run.splits_file),
    }
