"""What is to be trained on what: the recipe to start from, its source opened, everything left open chosen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from foveal.classifier.device import choose_device
from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.data.overlay import laid_over
from foveal.errors import ClassifierError, UsageError
from foveal.models.catalog import checked_options, find
from foveal.models.foreign.entry import is_foreign, refuse_untrusted
from foveal.models.foreign.given import refuse_absent
from foveal.progress import Progress
from foveal.training.loggers import refuse_missing
from foveal.training.preset import find_preset
from foveal.training.recipe import Recipe, parse_recipe, read_recipe
from foveal.training.transfer import choose_transfer
from foveal.workflows.network import refuse_unbuildable
from foveal.workflows.prepare import Prepared, prepare, refuse_unfit
from foveal.workflows.start_weights import pinned, starting_options


def given_recipe(
    recipe: Recipe | str | Path | None,
    changes: Mapping[str, Any],
    source: object = None,
    *,
    trust: str | None = None,
) -> Recipe:
    """Return the recipe to start from with `changes`, which may name a preset to start from instead.

    The data_dir of a recipe for another source than `source` is left out. Raises UsageError when `recipe`
    names a file that is not there or holds none, or when a preset is named beside it; ClassifierError when a
    file names code for the network that is not the code of `trust`.
    """
    start = _start(recipe, changes)
    if isinstance(recipe, str | Path) and "model" not in changes:
        refuse_untrusted(start.model, trust, recipe)
    if "data_dir" not in changes and source is not None and str(source) != start.source:
        return start.changed({"data_dir": None})
    return start


def _start(recipe: Recipe | str | Path | None, changes: Mapping[str, Any]) -> Recipe:
    if changes.get("preset") is not None:
        if recipe is not None:
            raise UsageError("A preset and a recipe are both something to start from; give only one of them.")
        return parse_recipe(find_preset(changes["preset"]).fields_with(changes))
    if recipe is None or isinstance(recipe, Recipe):
        return (recipe or Recipe()).changed(changes)
    if not Path(recipe).is_file():
        raise UsageError(f"There is no recipe {recipe}.")
    try:
        return read_recipe(Path(recipe)).changed(changes)
    except ClassifierError as error:
        raise UsageError(f"{recipe} is no recipe in TOML: {error}") from error


def open_source(source: object, recipe: Recipe, progress: Progress) -> tuple[Dataset, Recipe]:
    """Return the dataset of `source`, or of the recipe where that is None, and the recipe that names it.

    The network, its options, the device and the loggers are checked first, since that is quick.
    """
    if source is None and not recipe.source:
        raise UsageError("Say what to train on: a folder, an archive, a manifest, or a name such as digits.")
    refuse_absent(recipe.model, "the recipe", "foveal.train(…, model=network)")
    entry = find(recipe.model)
    options = checked_options(entry, recipe.model_options)
    recipe = pinned(recipe, progress)
    choose_device(recipe.device)
    refuse_missing(recipe.log)
    wanted = source if source is not None else recipe.source
    dataset = (
        wanted
        if isinstance(wanted, Dataset)
        else load(wanted, columns=recipe.columns, classes=recipe.classes, data_dir=recipe.data_dir, progress=progress)
    )
    dataset = overlaid(dataset, recipe)
    refuse_unfit(dataset)
    loss = recipe.loss or entry.loss
    changes = {"source": dataset.origin, "model": entry.name, "model_options": options, "loss": loss}
    return dataset, recipe.changed(changes)


def overlaid(dataset: Dataset, recipe: Recipe) -> Dataset:
    """Return `dataset` as the manifest of `recipe` has it; as it is where there is none."""
    return laid_over(dataset, Path(recipe.manifest)) if recipe.manifest is not None else dataset


def load_again(recipe: Recipe, source: object, data_dir: str | Path | None, progress: Progress) -> Dataset:
    """Return the dataset of a run that began with `recipe`, read again; `source` or `data_dir` say where it lies."""
    return load(
        source if source is not None else recipe.source,
        columns=recipe.columns,
        classes=recipe.classes,
        data_dir=data_dir if data_dir is not None or source is not None else recipe.data_dir,
        progress=progress,
    )


def settle(
    dataset: Dataset, recipe: Recipe, scratch: Path, progress: Progress, *, announce: bool = True
) -> tuple[Prepared, Recipe]:
    """Return `dataset` prepared for training, and the recipe with everything chosen that was left open.

    `announce` says what the audit found.
    """
    early_size = recipe.size or find(recipe.model).native_size
    if early_size and (recipe.channels or not is_foreign(recipe.model)):  # others' may take colour alone
        refuse_unbuildable(recipe, len(dataset.classes), recipe.channels or 1, early_size)
    cores = os.cpu_count() or 1
    if recipe.threads is not None and recipe.threads > cores:
        progress.line(f"note: {recipe.threads:,} threads on {cores} cores slow each other; leave --threads out.")
    recipe, reason = choose_transfer(recipe, len(dataset))
    if reason:
        progress.line(f"transfer: {recipe.transfer}, {reason} (--transfer says otherwise)")
    prepared = prepare(dataset, recipe, scratch, progress)
    recipe = resolved_for(recipe, prepared)
    for finding in prepared.findings if announce else ():
        progress.line(f"note: {finding.sentence}{' (accepted)' if finding.accepted else ''}")
    return prepared, recipe


def resolved_for(recipe: Recipe, prepared: Prepared) -> Recipe:
    """Return `recipe` with everything chosen that was left open, by the images that serve."""
    preprocess = prepared.preprocess
    size = preprocess.height, preprocess.width
    if prepared.started is not None:
        recipe = recipe.changed({"features_engine": prepared.started.engine})
    recipe = recipe.resolved(
        train_images=len(prepared.split.indices("train")),
        size=size,
        channels=preprocess.channels,
        fit=preprocess.fit,
        device=str(choose_device(recipe.device)),
        threads=torch.get_num_threads(),
    )
    recipe = recipe.changed({"model_options": starting_options(recipe, preprocess.channels)})
    refuse_unbuildable(recipe, len(prepared.dataset.classes), preprocess.channels, size)
    return recipe
