"""Verify: whether what a run tells still follows from what it stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.card import holds_folds, is_ensemble
from foveal.data.dataset import Dataset
from foveal.data.pixels import decode_all
from foveal.errors import ClassifierError, DataError, FovealError
from foveal.files import sha256_of
from foveal.progress import Progress
from foveal.report.model_card import model_card
from foveal.report.results import read_results
from foveal.report.write import render
from foveal.run import Run
from foveal.training.recipe import read_recipe
from foveal.workflows.checks import Check, check_evaluations, check_page, same_words
from foveal.workflows.evaluate import pictures_of
from foveal.workflows.plan import load_again, overlaid
from foveal.workflows.verify_folds import check_folds, check_repeats, member_runs

SAMPLE = 50
ANSWER_TOLERANCE = 5e-3  # of a probability: engines differ in the last digits, and calibration widens it


@dataclass(frozen=True)
class Verification:
    """What a run was asked, and whether it holds."""

    run: Path
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing that could be asked is contradicted."""
        return all(check.holds is not False for check in self.checks)


def verify(
    run: str | Path,
    source: object = None,
    *,
    sample: int = SAMPLE,
    device: str = "auto",
    trust: str | None = None,
    progress: bool = True,
) -> Verification:
    """Recompute what the run directory `run` tells from what it stores, and return what holds.

    The hashes of its files; every figure of every evaluation, from the stored predictions; the predictions' own
    columns, against the split; `sample` test images, predicted again by the stored classifier; every page, written
    again from the stored results. Of the folds of a training: each of the runs, and what is told of all together.
    Nothing is changed.

    Args:
        run: a run directory that has finished, or one with the folds of a training.
        source: where its images are, when they are no longer where the recipe says.
        sample: how many test images to predict again; 0: none.
        device: where to compute.
        trust: as for `Classifier.load`.
        progress: whether to show progress on standard error.

    Raises:
        ClassifierError: when there is no finished run at `run`.
    """
    home = Run(Path(run))
    with Progress(silent=not progress) as display:
        if not is_ensemble(home.path):
            return Verification(home.path, tuple(_checks(home, source, sample, device, trust, display)))
        checks: list[Check] = []
        parts = "fold" if holds_folds(home.path) else "run"
        for fold in member_runs(home):
            asked = _checks(fold, source, sample, device, trust, display)
            checks += [replace(check, name=f"{parts} {fold.path.name}, {check.name}") for check in asked]
        dataset = _images(home, source, display, [])
        if holds_folds(home.path):
            checks += check_folds(home, pictures_of(dataset) if dataset is not None else None)
        else:
            checks += check_repeats(home)
    return Verification(home.path, tuple(checks))


def _checks(run: Run, source: object, sample: int, device: str, trust: str | None, progress: Progress) -> list[Check]:
    """Return what was asked of a single run, and whether it holds."""
    if not run.is_finished:
        raise ClassifierError(f"There is no finished run at {run.path}: it has no {run.report_file.name}.")
    checks = [*_hashes(run)]
    classifier = _loaded(run, device, trust, checks)
    checks += check_evaluations(
        run, classifier.decisions if classifier is not None else None, {}, words=same_words(run)
    )
    dataset = _images(run, source, progress, checks)
    if classifier is not None and dataset is not None and sample:
        checks.append(_predicted_again(run, classifier, dataset, sample, progress))
    checks.append(_report(run, dataset))
    card = partial(_card, run)
    checks.append(check_page("model card", run.model_card_file, card, pictured=True, words=same_words(run)))
    return checks


def _hashes(run: Run) -> Iterator[Check]:
    """Yield whether the files that the run began and ended with are as they were written."""
    expected = {**run.environment.get("files", {}), **run.sealed}
    changed, gone = [], []
    for name, digest in expected.items():
        file = run.path / name
        if not file.is_file():
            gone.append(name)
        elif sha256_of(file) != digest:
            changed.append(name)
    if not run.sealed and same_words(run):
        yield Check("seal", False, "seal.json is missing, which every run of this version has.")
    elif not run.sealed:
        yield Check("seal", None, "The run has no seal.json, as one of an older Foveal has none.")
    wrong = [f"{name} was changed" for name in changed] + [f"{name} is missing" for name in gone]
    if wrong:
        yield Check("sealed files", False, f"Of {len(expected)} files: {'; '.join(wrong)}.")
    else:
        yield Check("sealed files", True, f"{len(expected)} files have the SHA-256 that was written down.")


def _loaded(run: Run, device: str, trust: str | None, checks: list[Check]) -> Classifier | None:
    """Return the stored classifier, None where it cannot be loaded, which `checks` then says."""
    try:
        classifier = Classifier.load(run.classifier_dir, device=device, trust=trust)
    except FovealError as error:
        checks.append(Check("classifier", False, str(error)))
        return None
    checks.append(Check("classifier", True, f"Card and weights have the content hash {classifier.hash[:12]}."))
    return classifier


def _images(run: Run, source: object, progress: Progress, checks: list[Check]) -> Dataset | None:
    """Return the images of the run, None where they cannot be found, which `checks` then says."""
    recipe = read_recipe(run.recipe_file)
    try:
        if source is None and not recipe.source:
            raise DataError("the run was trained on arrays; give them")
        dataset = load_again(recipe, source, None, progress)
        return overlaid(dataset, recipe)
    except FovealError as error:
        checks.append(Check("predicted again", None, f"The images are not at hand: {str(error).splitlines()[0]}"))
        return None


def _predicted_again(run: Run, classifier: Classifier, dataset: Dataset, sample: int, progress: Progress) -> Check:
    """Return whether the stored classifier answers some test images as the stored predictions have it."""
    name = "predicted again"
    stored = {row["record_id"]: row for row in run.predictions("test")}
    row_of = {record_id: row for row, record_id in enumerate(dataset.record_ids.tolist())}
    missing = [one for one in stored if one not in row_of]
    if missing:
        return Check(name, None, f"{len(missing):,} test images are not in {dataset.name}, the first {missing[0]}.")
    ids = sorted(stored, key=lambda one: hashlib.sha256(one.encode("utf-8", "surrogateescape")).digest())[:sample]
    rows = np.array(sorted(row_of[one] for one in ids))
    taken = dataset.take(rows)
    digests = {row["record_id"]: row["sha256"] for row in run.splits}
    changed = [
        one for one, own in zip(taken.record_ids.tolist(), taken.scan.digests.tolist(), strict=True)
        if digests.get(one) != own
    ]  # fmt: skip
    if changed:
        return Check(name, False, f"{len(changed):,} of {len(rows)} images have changed since, the first {changed[0]}.")
    pixels, failures = decode_all(
        taken.images, np.arange(len(taken)), classifier.preprocess, memory_gib=4, scratch=run.path, progress=progress
    )
    if failures:
        return Check(name, False, f"{len(failures):,} of {len(rows)} images can no longer be read.")
    found = classifier.probabilities(pixels)
    named = [stored[one] for one in taken.record_ids.tolist()]
    told = np.array([[float(row[f"p:{one}"]) for one in classifier.classes] for row in named])
    off = float(np.abs(found - told).max())
    if off > ANSWER_TOLERANCE:
        worst = int(np.abs(found - told).max(axis=1).argmax())
        return Check(
            name, False, f"{taken.record_ids[worst]}: its probabilities differ by {off:.4f} from the stored ones."
        )
    return Check(
        name, True, f"{len(rows)} test images got the stored probabilities again (largest difference {off:.1e})."
    )


def _card(run: Run) -> str:
    return model_card(read_results(run))


def _report(run: Run, dataset: Dataset | None) -> Check:
    """Return whether the report tells what the stored results say."""
    pictures = pictures_of(dataset) if dataset is not None else lambda _: None
    return check_page(
        "report",
        run.report_file,
        lambda: render(read_results(run), pictures),
        pictured=dataset is not None,
        words=same_words(run),
    )
