"""Repeat: the same recipe with several seeds, to see how much of a figure is chance.

::

    runs/<name>/
      recipe.toml     what all repeats share
      repeats.json    seeds and split; once all have run, the figures
      repeats.html    the page
      repeats/<k>/    run k, a run like any other
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.classifier.card import REPEATS as PLAN
from foveal.errors import ClassifierError, DataError, Interrupted, UsageError
from foveal.evaluation.interval import Estimate
from foveal.evaluation.predictions import PREDICTIONS_FILE, write_predictions
from foveal.evaluation.predictions_file import read_predictions
from foveal.evaluation.spread import Spread, spread
from foveal.evaluation.together import decisions_of, mean_of, measure_together
from foveal.files import locked, saying_why, sha256_of, write_bytes, write_json
from foveal.models.foreign.entry import refuse_untrusted
from foveal.models.foreign.given import lending, refuse_absent
from foveal.progress import Progress
from foveal.report.repeats import write_repeats_page
from foveal.run import SCHEMA_VERSION, Run, read_json
from foveal.training.interrupt import interrupted
from foveal.training.recipe import Recipe, read_recipe
from foveal.workflows.begin import begin
from foveal.workflows.place import free_name, refuse_existing, refuse_inside, refuse_unwritable
from foveal.workflows.plan import given_recipe, open_source
from foveal.workflows.resume import resume as go_on

if TYPE_CHECKING:
    from torch import nn

PAGE = "repeats.html"


@dataclass(frozen=True)
class Repeats:
    """Runs that differ in their seed only, and what they say together."""

    path: Path
    runs: tuple[Run, ...]
    seeds: tuple[int, ...]
    test_accuracy: Spread
    same_test_images: bool
    together: Mapping[str, Any] | None = None  # metrics of all runs as one classifier, where they share their images

    @property
    def page_file(self) -> Path:
        """The page with the dot plot."""
        return self.path / PAGE


def repeat(
    source: object = None,
    times: int = 5,
    *,
    recipe: Recipe | str | Path | None = None,
    preset: str | None = None,
    model: str | nn.Module | None = None,
    new_split: bool = False,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    trust: str | None = None,
    progress: bool = True,
) -> Repeats:
    """Train `times` runs with the seeds seed, seed + 1, … and return them with mean, deviation and interval.

    All runs share one split, drawn by the recipe's seed, so that they differ in the first weights and the
    order of the images alone. With `new_split` each draws a split of its own: then the choice of the images
    is part of the spread, and the interval is widened for splits that overlap.

    Args:
        source: a Dataset, or anything that `foveal.load` takes.
        times: how many runs, two or more.
        recipe: a Recipe or a TOML file; its `time_limit_s` is that of each run.
        preset: a name of ``foveal presets`` to start from instead.
        model: the network, as for `foveal.train`. Runs from a module that is handed over begin with its weights,
            all with the same: their spread is that of the order of the images alone.
        new_split: draw the split anew for each run.
        out: the directory to make; ``runs/<source>-<model>-repeats`` by default.
        resume: such a directory to go on with; everything else is then taken from it (give `source` again
            only when it was trained on arrays, or its data have moved, and `model` when it was a module).
        trust: as for `foveal.train`.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: as `foveal.train`.
    """
    with lending(model) as name:
        if resume is not None and isinstance(model, str):
            raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
        given = {"preset": preset, "model": name if resume is None else None}
        return repeat_or_resume(
            source,
            times=None if resume is not None else times,
            recipe=recipe,
            changes={field: value for field, value in given.items() if value is not None},
            new_split=new_split,
            out=out,
            resume=resume,
            trust=trust,
            progress=progress,
        )


def repeat_or_resume(
    source: object,
    *,
    times: int | None,
    recipe: Recipe | str | Path | None,
    changes: Mapping[str, Any],
    new_split: bool,
    out: str | Path | None,
    resume: str | Path | None,
    trust: str | None = None,
    progress: bool = True,
) -> Repeats:
    """Do what `repeat` says, with `changes` to the recipe; what the command line calls."""
    with Progress(silent=not progress) as display:
        if resume is not None:
            if changes.keys() - {"data_dir"} or recipe is not None or out is not None or new_split or times is not None:
                raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
            return _resume(Path(resume), source, changes.get("data_dir"), display, trust)
        if times is None:
            raise UsageError("A new split for each run is for repeats: say how many.")
        start = given_recipe(recipe, changes, source, trust=trust)
        return _begin(source, times, start, new_split, out, display)


def _begin(
    source: object, times: int, recipe: Recipe, new_split: bool, out: str | Path | None, progress: Progress
) -> Repeats:
    """Make the directory of the repeats and train them."""
    if times < 2:
        raise UsageError(f"A spread needs two runs or more, not {times}.")
    if new_split and recipe.split_seed is not None:
        raise UsageError("A split_seed is for one split; with a new split for each run leave it out.")
    if out is not None:
        refuse_existing(Path(out))
    dataset, recipe = open_source(source, recipe, progress)
    home = Path(out) if out is not None else free_name(Path("runs"), f"{dataset.name}-{recipe.model}-repeats")
    refuse_unwritable(home)
    refuse_inside(home, dataset)
    if not new_split and recipe.split_seed is None:
        recipe = recipe.changed({"split_seed": recipe.seed})
    seeds = [recipe.seed + number for number in range(times)]
    part = home.with_name(f".{home.name}.{os.getpid()}.part")
    try:
        with saying_why(home):
            part.mkdir(parents=True)
        recipe.write(part / "recipe.toml")
        write_json(part / PLAN, _plan(part, seeds, new_split))
        with saying_why(home):
            part.rename(home)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    with locked(home):
        return _carry_on(home, dataset, None, recipe, progress)


def _resume(home: Path, source: object, data_dir: str | Path | None, progress: Progress, trust: str | None) -> Repeats:
    """Go on with the repeats in `home`: the run that was interrupted, then those that had not begun."""
    plan = read_json(home / PLAN)
    with locked(home):
        if plan.get("recipe_sha256") != sha256_of(home / "recipe.toml"):
            raise ClassifierError(
                f"{home / 'recipe.toml'} is missing or was changed after the repeats began; restore it, or train anew."
            )
        recipe = read_recipe(home / "recipe.toml")
        refuse_untrusted(recipe.model, trust, home / "recipe.toml")
        refuse_absent(recipe.model, home, "foveal.repeat(resume=…, model=network)")
        if source is None and not recipe.source:
            raise UsageError(f"{home} was trained on arrays: give them again, foveal.repeat(dataset, resume=…).")
        return _carry_on(home, source, data_dir, recipe, progress)


def _carry_on(home: Path, source: object, data_dir: str | Path | None, recipe: Recipe, progress: Progress) -> Repeats:
    """Train what is not trained yet, then draw the sum of all runs."""
    plan = read_json(home / PLAN)
    try:
        seeds, new_split = [int(seed) for seed in plan["seeds"]], bool(plan["new_split"])
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{home / PLAN} is damaged: {error!r}.") from error
    runs = [Run(home / "repeats" / str(number)) for number in range(1, len(seeds) + 1)]
    for number, (run, seed) in enumerate(zip(runs, seeds, strict=True), 1):
        if run.is_finished:
            continue
        progress.line(f"run {number} of {len(seeds)}, seed {seed}")
        try:
            if run.recipe_file.is_file():
                go_on(run, source, data_dir, progress, called=home, trust=recipe.model)
            else:
                first = runs[0].audit["dataset"]["content_hash"] if number > 1 else None
                one = _moved(recipe, data_dir).changed({"seed": seed})
                begin(source, one, run.path, progress, content_hash=first)
        except Interrupted as error:
            raise interrupted(home, recipe.model, "repeat") from error
        except DataError as error:
            if data_dir is not None or recipe.data_dir is None or Path(recipe.data_dir).exists():
                raise
            again = f"foveal train --resume {shlex.quote(str(home))} --data-dir DIR"
            raise DataError(f"The files are no longer in {recipe.data_dir}; say where they lie now: {again}") from error
    repeats = _summed(home, runs, seeds)
    together = _together(home, runs, recipe) if repeats.same_test_images else {}
    repeats = replace(repeats, together=together.get("together"))
    write_json(home / PLAN, {**_plan(home, seeds, new_split), **_figures(repeats), **together})
    whole = Estimate(**repeats.together["accuracy"]) if repeats.together else None
    write_repeats_page(repeats.page_file, runs, seeds, repeats.test_accuracy, repeats.same_test_images, whole)
    return repeats


def _together(home: Path, runs: Sequence[Run], recipe: Recipe) -> dict[str, Any]:
    """Measure the runs as one classifier on the test images that they share, and return what repeats.json holds of it.

    Written beside it: ``evaluations/test``, and ``splits.csv``, the split of all of them.
    """
    classes = tuple(runs[0].metrics["test"]["classes"])
    means = {}
    for name in ("validation", "test"):
        parts = [read_predictions(run.evaluation_dir(name) / PREDICTIONS_FILE, classes) for run in runs]
        if any(part.record_ids != parts[0].record_ids for part in parts):
            return {}  # given test images, and validation images that each run drew
        means[name] = mean_of(parts)
    decisions = decisions_of(means["validation"], recipe.operating_point)
    metrics = measure_together(means["test"], decisions)
    folder = Run(home).evaluation_dir("test")
    write_predictions(folder / PREDICTIONS_FILE, means["test"])
    write_json(folder / "metrics.json", {"schema_version": SCHEMA_VERSION, **metrics})
    write_bytes(Run(home).splits_file, runs[0].splits_file.read_bytes())
    return {"together": metrics, "decisions": decisions.to_dict()}


def _moved(recipe: Recipe, data_dir: str | Path | None) -> Recipe:
    return recipe if data_dir is None else recipe.changed({"data_dir": str(data_dir)})


def _summed(home: Path, runs: Sequence[Run], seeds: Sequence[int]) -> Repeats:
    """Return what the finished `runs` say together."""
    tested = [frozenset(row["record_id"] for row in run.splits if row["split"] == "test") for run in runs]
    same = len(set(tested)) == 1
    values = [float(run.metrics["test"]["accuracy"]["value"]) for run in runs]
    learned = sum(row["split"] == "train" for row in runs[0].splits)
    overlap = 0.0 if same else len(tested[0]) / max(learned, 1)
    return Repeats(home, tuple(runs), tuple(seeds), spread(values, overlap=overlap), same)


def _plan(home: Path, seeds: Sequence[int], new_split: bool) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "seeds": list(seeds),
        "new_split": new_split,
        "recipe_sha256": sha256_of(home / "recipe.toml"),
    }


def _figures(repeats: Repeats) -> Mapping[str, Any]:
    """Return what repeats.json says once all runs are finished."""
    accuracy = repeats.test_accuracy
    return {
        "same_test_images": repeats.same_test_images,
        "test_images": [run.metrics["test"]["n"] for run in repeats.runs],
        "test_accuracy": {
            "values": list(accuracy.values),
            "mean": accuracy.mean.to_dict(),
            "standard_deviation": accuracy.deviation,
        },
    }
