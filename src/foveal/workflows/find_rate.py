"""Find a learning rate: a range test on the training images, its plot, and the command to train with what it says."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.classifier.device import saying_out_of_memory
from foveal.errors import OutputError, UsageError
from foveal.files import saying_why, write_json, write_text
from foveal.models.foreign.entry import runs_code
from foveal.progress import Progress
from foveal.report.range_test import range_test_figure, range_test_page
from foveal.run import SCHEMA_VERSION
from foveal.training.finder import RangeTest, range_test
from foveal.training.recipe import STAGE_FIELDS, Recipe
from foveal.training.seeding import own_random_state
from foveal.workflows.network import build
from foveal.workflows.place import free_name, refuse_inside, refuse_unwritable
from foveal.workflows.plan import given_recipe, open_source, settle
from foveal.workflows.start_weights import load_start

SUGGESTED = "suggested.toml"


@dataclass(frozen=True)
class FoundRate:
    """A range test and where its plot lies."""

    path: Path  # the folder
    test: RangeTest
    learning_rate: float | None  # what is suggested; None where the loss never fell
    command: str  # that trains with it; empty without a suggestion, or when the images came as arrays

    @property
    def page_file(self) -> Path:
        """The page with the plot."""
        return self.path / "learning-rate.html"


def find_learning_rate(
    source: object = None,
    *,
    recipe: Recipe | str | Path | None = None,
    preset: str | None = None,
    out: str | Path | None = None,
    trust: str | None = None,
    progress: bool = True,
) -> FoundRate:
    """Train a network for some 160 steps while the learning rate climbs, and say which rates look right.

    The split is that of `foveal.train` with the same recipe; validation and test images are not asked.
    Nothing is kept but a folder with the plot as a page and as SVG, its points as JSON, and a recipe with
    the rate that is suggested.

    Args:
        source: a Dataset, or anything that `foveal.load` takes.
        recipe: a Recipe or a TOML file: network, optimiser, batch size and loss are those of the test.
        preset: a name of ``foveal presets`` to start from instead.
        out: the folder to make; ``runs/<source>-<model>-learning-rate`` by default.
        trust: as for `foveal.train`.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: as `foveal.train`.

    Source: L. N. Smith, "Cyclical learning rates for training neural networks", 2015.
    """
    changes: dict[str, Any] = {} if preset is None else {"preset": preset}
    with Progress(silent=not progress) as display:
        return find_rate(source, given_recipe(recipe, changes, source, trust=trust), out, display)


def find_rate(source: object, recipe: Recipe, out: str | Path | None, progress: Progress) -> FoundRate:
    """Do what `find_learning_rate` says, by a recipe that is whole."""
    if out is not None:
        _refuse_existing(Path(out))
    dataset, recipe = open_source(source, recipe.changed({"log": ()}), progress)
    home = Path(out) if out is not None else free_name(Path("runs"), f"{dataset.name}-{recipe.model}-learning-rate")
    refuse_unwritable(home)
    refuse_inside(home, dataset)
    whole = recipe.changed({"transfer": "none", **dict.fromkeys(STAGE_FIELDS)})  # the test moves all of the network
    prepared, settled = settle(dataset, whole, home.parent, progress)
    preprocess = prepared.preprocess
    with saying_out_of_memory("try a smaller --batch-size or --size"), own_random_state(settled):
        network = build(settled, len(dataset.classes), preprocess.channels, (preprocess.height, preprocess.width))
        load_start(network, settled, len(dataset.classes), preprocess.channels, progress)
        test = range_test(network, prepared.training_data(), preprocess, settled, progress)
    rate = test.suggestion(settled.schedule)
    rate = None if rate is None else float(f"{rate:.2g}")
    trainable = rate is not None and bool(recipe.source)
    command = f"foveal train --recipe {shlex.quote(str(home / SUGGESTED))}" if trainable else ""
    if command and runs_code(recipe.model):
        command += f" --trust {recipe.model}"
    found = FoundRate(home, test, rate, command)
    _write(found, recipe, settled, dataset.name)
    return found


def _write(found: FoundRate, recipe: Recipe, settled: Recipe, name: str) -> None:
    """Make the folder under a temporary name, then give it its own."""
    part = found.path.with_name(f".{found.path.name}.{os.getpid()}.part")
    test = found.test
    try:
        with saying_why(found.path):
            part.mkdir(parents=True)
        if found.learning_rate is not None:
            recipe.changed({"learning_rate": found.learning_rate}).write(part / SUGGESTED)
        points = {
            "schema_version": SCHEMA_VERSION,
            "model": settled.model,
            "optimizer": settled.optimizer,
            "batch_size": settled.batch_size,
            "schedule": settled.schedule,
            "learning_rate": found.learning_rate,
            "bottom": test.bottom,
            "steepest": test.steepest,
            "valley": test.valley,
            "diverged": test.diverged,
            "rates": list(test.rates),
            "losses": list(test.losses),
            "smoothed": list(test.smoothed),
        }
        write_json(part / "learning-rate.json", points)
        write_text(part / "learning-rate.svg", range_test_figure(test, found.learning_rate))
        page = range_test_page(test, found.learning_rate, found.command, settled, name)
        write_text(part / found.page_file.name, page)
        with saying_why(found.path):
            part.rename(found.path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _refuse_existing(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already and is not empty; choose another --out.")


def refuse_rate(changes: dict[str, Any]) -> None:
    """Raise UsageError when a learning rate is given to what is to find one."""
    if "learning_rate" in changes:
        raise UsageError("find-lr looks for the learning rate; leave --learning-rate out.")
