"""A new run: checked as far as can be, then its directory is made, and training begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from foveal.data.dataset import Dataset
from foveal.errors import DataError, ResourceError, TrainingError, UsageError
from foveal.files import locked, saying_why, sha256_of, write_csv, write_json
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.recipe import Recipe
from foveal.workflows.carry_on import carry_on
from foveal.workflows.environment import describe_environment
from foveal.workflows.place import free_name, refuse_existing, refuse_inside, refuse_unwritable
from foveal.workflows.plan import open_source, settle
from foveal.workflows.prepare import Prepared, describe_audit

SPLIT_COLUMNS = ("record_id", "path", "label", "group", "source", "split", "fold", "sha256")


def begin(
    source: object,
    recipe: Recipe,
    out: str | Path | None,
    progress: Progress,
    *,
    content_hash: str | None = None,
    announce: bool = True,
) -> Run:
    """Check everything that can be checked, then make the run directory and train.

    `announce` says what the audit found. Raises DataError where the images used are not those of `content_hash`.
    """
    if out is not None:
        refuse_existing(Path(out))
    dataset, recipe = open_source(source, recipe, progress)
    target = Path(out) if out is not None else free_name(Path("runs"), f"{dataset.name}-{recipe.model}")
    refuse_unwritable(target)
    refuse_inside(target, dataset)
    prepared, recipe = settle(dataset, recipe, target.parent, progress, announce=announce)
    if content_hash not in (None, prepared.dataset.content_hash):
        raise DataError(
            f"The data of {dataset.name} have changed since the first run (content "
            f"{prepared.dataset.content_hash[:12]}, was {content_hash[:12]}); restore them, or train all anew."
        )
    run = make_run(target, prepared, recipe)
    with locked(run.path):
        try:
            return carry_on(run, prepared, recipe, progress)
        except (TrainingError, ResourceError, UsageError):
            if not run.checkpoint_file("last").exists():  # nothing to go on with: leave its name free
                shutil.rmtree(run.path, ignore_errors=True)
            raise


def make_run(target: Path, prepared: Prepared, recipe: Recipe) -> Run:
    """Make the run directory with all that is known before training, under a temporary name first."""
    part = Run(target.with_name(f".{target.name}.{os.getpid()}.part"))
    try:
        with saying_why(target):
            part.path.mkdir(parents=True)
        recipe.write(part.recipe_file)
        write_json(part.audit_file, describe_audit(prepared))
        unfolded = [""] * len(prepared.dataset)
        rows = split_rows(prepared.dataset, prepared.split.assigned.tolist(), unfolded)
        write_csv(part.splits_file, SPLIT_COLUMNS, list(rows))
        environment = describe_environment(torch.device(recipe.device), recipe.threads or 1)
        write_json(part.environment_file, {**environment, "files": _hashes(part)})
        with saying_why(target):
            part.path.rename(target)
    except BaseException:
        shutil.rmtree(part.path, ignore_errors=True)
        raise
    return Run(target)


def _hashes(run: Run) -> dict[str, str]:
    """Return the SHA-256 of each file that is written before training and then stays as it is."""
    files = (run.recipe_file, run.audit_file, run.splits_file)
    return {file.name: sha256_of(file) for file in files}


def split_rows(dataset: Dataset, splits: Iterable[str], folds: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of splits.csv, with each image's split and fold."""
    yield from zip(
        dataset.record_ids.tolist(),
        map(dataset.images.location, range(len(dataset))),
        [dataset.classes[label] for label in dataset.labels.tolist()],
        dataset.groups.tolist(),
        dataset.sources.tolist(),
        splits,
        folds,
        dataset.scan.digests.tolist(),
        strict=True,
    )
