"""Train: a source in, a proven classifier out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from foveal.classifier import Classifier
from foveal.classifier.device import choose_device, saying_out_of_memory
from foveal.data.dataset import Dataset
from foveal.data.images import ImageFiles
from foveal.data.load import load
from foveal.errors import ClassifierError, DataError, OutputError, ResourceError, TrainingError, UsageError
from foveal.files import locked, saying_why, write_csv, write_json
from foveal.models.catalog import checked_options, create_model, find
from foveal.models.network import Network
from foveal.progress import Progress
from foveal.report import write_report
from foveal.run import SCHEMA_VERSION, Run
from foveal.training.loop import Fit
from foveal.training.loop import fit as fit_network
from foveal.training.recipe import Recipe, read_recipe
from foveal.workflows.environment import describe_environment
from foveal.workflows.evaluate import pictures_of, write_evaluation
from foveal.workflows.prepare import Prepared, describe_audit, prepare, refuse_unfit

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
SPLIT_COLUMNS = ("record_id", "path", "label", "group", "source", "split", "fold", "sha256")


def train(
    source: object = None,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    progress: bool = True,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    source_column: str | None = None,
    split_column: str | None = None,
    classes: Sequence[str] | None = None,
    skip_unreadable: bool | None = None,
    accept: Sequence[str] | None = None,
    split_by: Literal["group", "image"] | None = None,
    validation: float | None = None,
    test: float | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: Literal["letterbox", "crop", "stretch"] | None = None,
    model: str | None = None,
    model_options: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    nesterov: bool | None = None,
    schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] | None = None,
    label_smoothing: float | None = None,
    class_weights: Literal["none", "balanced"] | None = None,
    clip_norm: float | None = None,
    patience: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    mixed_precision: bool | None = None,
    channels_last: bool | None = None,
    memory_gib: float | None = None,
) -> Run:
    """Train a classifier and return its run.

    Args:
        source: a Dataset, or anything that `foveal.load` takes.
        out: the run directory to make; ``runs/<source>-<model>`` by default. It must not exist.
        resume: a run directory to go on with instead; everything else is then taken from it (give
            `source` again only when the run was trained on arrays, or its data have moved).
        recipe: a Recipe or a TOML file to start from; the arguments below change it.
        progress: whether to show progress on standard error.
        path_column: … and every further argument: the field of that name in `Recipe`.

    Raises:
        FovealError: one of its classes, each saying what to do (`foveal.errors`).
    """
    given = dict(locals())
    changes = {name: given[name] for name in Recipe.model_fields if name != "source" and given.get(name) is not None}
    with Progress(silent=not progress) as display:
        if resume is not None:
            if changes or out is not None or recipe is not None:
                raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
            return _resume(Run(Path(resume)), source, display)
        wanted = _given_recipe(recipe).changed(changes)
        if source is None and not wanted.source:
            raise UsageError("Say what to train on: a folder, a CSV manifest, IDX files, or digits.")
        return _begin(source if source is not None else wanted.source, wanted, out, display)


def _given_recipe(recipe: Recipe | str | Path | None) -> Recipe:
    """Return the recipe to start from; UsageError when it names a file that is not there or holds none."""
    if recipe is None or isinstance(recipe, Recipe):
        return recipe or Recipe()
    if not Path(recipe).is_file():
        raise UsageError(f"There is no recipe {recipe}.")
    try:
        return read_recipe(Path(recipe))
    except ClassifierError as error:
        raise UsageError(f"{recipe} is no recipe in TOML: {error}") from error


def _begin(source: object, recipe: Recipe, out: str | Path | None, progress: Progress) -> Run:
    """Check everything that can be checked, then make the run directory and train."""
    entry = find(recipe.model)
    options = checked_options(entry, recipe.model_options)
    device = choose_device(recipe.device)
    if out is not None:
        _refuse_existing(Path(out))
    dataset = source if isinstance(source, Dataset) else load(source, columns=recipe.columns, classes=recipe.classes)
    refuse_unfit(dataset)
    target = Path(out) if out is not None else _free_name(Path("runs"), f"{dataset.name}-{entry.name}")
    _refuse_unwritable(target)
    _refuse_inside(target, dataset)
    recipe = recipe.changed({"source": dataset.origin, "model": entry.name, "model_options": options})
    if early_size := recipe.size or entry.native_size:
        _refuse_unbuildable(recipe, len(dataset.classes), recipe.channels or 1, early_size)
    prepared = prepare(dataset, recipe, target.parent, progress)
    preprocess = prepared.preprocess
    recipe = recipe.resolved(
        train_images=len(prepared.split.indices("train")),
        size=(preprocess.height, preprocess.width),
        channels=preprocess.channels,
        device=str(device),
        threads=torch.get_num_threads(),
    )
    _refuse_unbuildable(recipe, len(dataset.classes), preprocess.channels, (preprocess.height, preprocess.width))
    for finding in prepared.findings:
        progress.line(f"note: {finding.sentence}{' (accepted)' if finding.accepted else ''}")
    run = _make_run(target, prepared, recipe)
    with locked(run.path):
        try:
            return _carry_on(run, prepared, recipe, progress)
        except (TrainingError, ResourceError):
            if not run.checkpoint_file("last").exists():  # nothing to go on with: leave its name free
                shutil.rmtree(run.path, ignore_errors=True)
            raise


def _resume(run: Run, source: object, progress: Progress) -> Run:
    """Go on with `run` where its last checkpoint stands, or with its evaluation and report."""
    if not run.recipe_file.is_file():
        raise ClassifierError(f"There is no run to resume at {run.path}: it holds no recipe.toml.")
    with locked(run.path):
        return _resume_locked(run, source, progress)


def _resume_locked(run: Run, source: object, progress: Progress) -> Run:
    if run.is_finished:
        progress.line(f"{run.path} is finished; its report is {run.report_file}")
        return run
    _refuse_changed(run)
    recipe = read_recipe(run.recipe_file)
    if source is None and not recipe.source:
        raise UsageError(f"{run.path} was trained on arrays: give them again, foveal.train(dataset, resume=…).")
    choose_device(recipe.device)
    try:
        dataset = load(source if source is not None else recipe.source, columns=recipe.columns, classes=recipe.classes)
    except DataError as error:
        if source is not None or Path(recipe.source).exists():
            raise
        raise DataError(
            f"The images of {run.path} are not at {recipe.source}, seen from here; say where they are: "
            f"foveal train SOURCE --resume {shlex.quote(str(run.path))}"
        ) from error
    began = run.audit["dataset"]
    dataset = dataclasses.replace(dataset, name=began["name"], origin=began["origin"])  # moved images are the same
    kept_split = {row["record_id"]: row["split"] for row in run.splits}
    prepared = prepare(dataset, recipe, run.path, progress, kept_split=kept_split)
    before = began["content_hash"]
    if prepared.dataset.content_hash != before:
        raise DataError(
            f"The data of {run.path} have changed since it began (content {prepared.dataset.content_hash[:12]}, "
            f"was {before[:12]}); restore them, or train anew."
        )
    return _carry_on(run, prepared, recipe, progress)


def _make_run(target: Path, prepared: Prepared, recipe: Recipe) -> Run:
    """Make the run directory with all that is known before training, under a temporary name first."""
    part = Run(target.with_name(f".{target.name}.{os.getpid()}.part"))
    try:
        with saying_why(target):
            part.path.mkdir(parents=True)
        recipe.write(part.recipe_file)
        write_json(part.audit_file, describe_audit(prepared))
        write_csv(part.splits_file, SPLIT_COLUMNS, _split_rows(prepared))
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
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _refuse_changed(run: Run) -> None:
    """Raise ClassifierError when recipe, audit or splits are missing or are not those that the run began with."""
    environment = run.environment
    if not isinstance(environment.get("files"), dict):
        raise ClassifierError(f"{run.environment_file} is damaged: it does not name the files of the run.")
    for name, digest in environment["files"].items():
        file = run.path / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ClassifierError(
                f"{file} is missing or was changed after the run began, so the run cannot go on as it was; restore the "
                f"file, or train anew (--recipe takes a changed recipe)."
            )


def _split_rows(prepared: Prepared) -> Iterator[tuple[str, ...]]:
    """Yield the rows of splits.csv."""
    dataset = prepared.dataset
    for row in range(len(dataset)):
        yield (
            dataset.record_ids[row],
            dataset.images.location(row),
            dataset.classes[dataset.labels[row]],
            dataset.groups[row],
            dataset.sources[row],
            prepared.split.assigned[row],
            "",
            dataset.scan.digests[row],
        )


def _carry_on(run: Run, prepared: Prepared, recipe: Recipe, progress: Progress) -> Run:
    """Train from the last checkpoint, if any, to the end; then test once, and report."""
    preprocess, dataset = prepared.preprocess, prepared.dataset
    with saying_out_of_memory("try a smaller --batch-size or --size"), _own_random_state(recipe):
        network = _build(recipe, len(dataset.classes), preprocess.channels, (preprocess.height, preprocess.width))
        trained = fit_network(network, prepared.training_data(), preprocess, recipe, run, progress)
    classifier = Classifier(
        network,
        recipe.model,
        dict(recipe.model_options),
        dataset.classes,
        preprocess,
        _provenance(run, prepared, trained),
    )
    classifier.save(run.classifier_dir)
    classifier = Classifier.load(run.classifier_dir, device=recipe.device)
    measured = {
        name: write_evaluation(run, name, classifier, dataset, prepared.pixels, rows, rows, prepared.units[rows])
        for name, rows in ((one, prepared.split.indices(one)) for one in ("validation", "test"))
    }
    training = {
        "epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "stopped_early": trained.stopped_early,
        "seconds": round(trained.seconds, 3),
        "images_per_s": round(trained.images_per_s, 1),
        "parameters": classifier.parameters,
    }
    write_json(run.metrics_file, {"schema_version": SCHEMA_VERSION, "training": training, **measured})
    progress.line("writing the report")
    write_report(run, pictures_of(dataset))
    return run


def _provenance(run: Run, prepared: Prepared, trained: Fit) -> dict[str, Any]:
    """Return where the classifier comes from: the data and recipe it was made of, and by what."""
    environment = run.environment
    return {
        "dataset": prepared.dataset.name,
        "dataset_hash": prepared.dataset.content_hash,
        "train_images": len(prepared.split.indices("train")),
        "best_epoch": trained.best_epoch,
        "recipe": {name: value for name, value in run.recipe.items() if name != "source"},
        "foveal": environment["foveal"],
        "torch": environment["torch"],
        "device": environment["device"],
    }


def _build(recipe: Recipe, classes: int, channels: int, size: tuple[int, int] | None) -> Network:
    return create_model(recipe.model, classes=classes, channels=channels, size=size, options=recipe.model_options)


def _refuse_unbuildable(recipe: Recipe, classes: int, channels: int, size: tuple[int, int] | None) -> None:
    """Build the network once for nothing, so that a wrong option or size is said before the long work."""
    with torch.random.fork_rng(devices=[]):
        network = _build(recipe, classes, channels, size)
    if recipe.batch_size == 1 and any(isinstance(one, BATCH_NORMS) for one in network.modules()):
        raise UsageError("Batch normalisation cannot learn from one image at a time: use --batch-size 2 or more.")


@contextmanager
def _own_random_state(recipe: Recipe) -> Iterator[None]:
    """Seed torch for the run, use the recipe's number of threads, and give the caller's state back after."""
    devices = [torch.device(recipe.device)] if recipe.device.startswith("cuda") else []
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _refuse_existing(out: Path) -> None:
    with saying_why(out):
        out.exists()
    if (out / "recipe.toml").is_file():
        raise OutputError(
            f"{out} holds a run already; remove it, choose another --out, or go on with: foveal train --resume {out}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already and is not empty; choose another --out.")


def _refuse_unwritable(out: Path) -> None:
    """Find out before the long work whether the run directory can be made."""
    existing = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{out} cannot be made: {existing} is not a folder that may be written to.")


def _refuse_inside(out: Path, dataset: Dataset) -> None:
    """Raise OutputError when the run would lie among the class folders it is trained on, and become one of them."""
    home = Path(dataset.origin)
    if isinstance(dataset.images, ImageFiles) and home.is_dir() and out.resolve().is_relative_to(home.resolve()):
        raise OutputError(f"{out} lies inside {home}, whose folders are the classes; choose an --out elsewhere.")


def _free_name(parent: Path, name: str) -> Path:
    """Return `parent`/`name`, with -2, -3, … where it is taken."""
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
    names = [name, *(f"{name}-{number}" for number in range(2, 10_000))]
    return next(parent / one for one in names if not (parent / one).exists())
