"""Verify: whether what a run tells still follows from what it stores."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.decisions import Decisions
from foveal.data.dataset import Dataset
from foveal.data.overlay import laid_over
from foveal.data.pixels import decode_all
from foveal.errors import ClassifierError, DataError, FovealError
from foveal.evaluation.full import measure_all
from foveal.evaluation.predictions import PREDICTIONS_FILE, Predictions
from foveal.evaluation.predictions_file import read_predictions
from foveal.files import sha256_of
from foveal.progress import Progress
from foveal.report.seal import same_report
from foveal.run import Run, read_json
from foveal.training.recipe import read_recipe
from foveal.workflows.plan import load_again

TOLERANCE = 1e-6  # relative, of recomputed figures: other versions of NumPy and SciPy sum in another order
SAMPLE = 50
ANSWER_TOLERANCE = 5e-3  # of a probability: engines differ in the last digits, and calibration widens it


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a run."""

    name: str
    holds: bool | None  # None: it could not be asked
    sentence: str


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
    columns, against the split; `sample` test images, predicted again by the stored classifier; the report, written
    again from the stored results. Nothing is changed.

    Args:
        run: a run directory that has finished.
        source: where its images are, when they are no longer where the recipe says.
        sample: how many test images to predict again; 0: none.
        device: where to compute.
        trust: as for `Classifier.load`.
        progress: whether to show progress on standard error.

    Raises:
        ClassifierError: when there is no finished run at `run`.
    """
    home = Run(Path(run))
    if not home.is_finished:
        raise ClassifierError(f"There is no finished run at {home.path}: it has no {home.report_file.name}.")
    with Progress(silent=not progress) as display:
        checks = [*_hashes(home)]
        classifier = _loaded(home, device, trust, checks)
        decisions = classifier.decisions if classifier is not None else None
        checks += _evaluations(home, decisions)
        dataset = _images(home, source, display, checks)
        if classifier is not None and dataset is not None and sample:
            checks.append(_predicted_again(home, classifier, dataset, sample, display))
        checks.append(_report(home, dataset))
    return Verification(home.path, tuple(checks))


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
    if not run.sealed:
        yield Check("sealed files", None, "The run has no seal.json, as one of an older Foveal has none.")
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


def _evaluations(run: Run, decisions: Decisions | None) -> Iterator[Check]:
    """Yield, of each evaluation, whether its figures follow from its predictions, and these from the split."""
    whole = run.metrics
    for folder in sorted(path for path in (run.path / "evaluations").iterdir() if path.is_dir()):
        name = folder.name
        try:
            stored = read_json(folder / "metrics.json")
            predictions = read_predictions(folder / PREDICTIONS_FILE, stored["classes"])
            found = measure_all(predictions, decisions)
        except (FovealError, KeyError, TypeError) as error:
            yield Check(f"evaluation {name}", False, f"Its figures cannot be computed: {error}")
            continue
        wrong = list(_contradictions(run, folder, predictions, name)) + list(differences(found, stored))
        if name in whole:
            wrong += [f"{line} (in the run's metrics.json)" for line in differences(found, whole[name])]
        if wrong:
            sentence = f"{len(wrong)} contradictions: {'; '.join(wrong[:5])}{'; …' if len(wrong) > 5 else ''}."
            yield Check(f"evaluation {name}", False, sentence)
        else:
            yield Check(
                f"evaluation {name}", True, f"Every figure follows from its {len(predictions):,} stored predictions."
            )


def differences(found: Any, stored: Any, path: str = "") -> Iterator[str]:
    """Yield each figure of `found` that `stored` has otherwise, in words."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            inner = f"{path}.{key}" if path else str(key)
            if key == "note":  # it also says what is no figure
                continue
            if not isinstance(stored, Mapping) or key not in stored:
                yield f"{inner} is missing"
            else:
                yield from differences(value, stored[key], inner)
    elif isinstance(found, list | tuple):
        if not isinstance(stored, list) or len(stored) != len(found):
            yield f"{path} has another length"
            return
        for at, value in enumerate(found):
            yield from differences(value, stored[at], f"{path}[{at}]")
    elif isinstance(found, float) and isinstance(stored, int | float) and not isinstance(stored, bool):
        if not math.isclose(found, stored, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{path} is {stored!r}, and should be {found!r}"
    elif found != stored:
        yield f"{path} is {stored!r}, and should be {found!r}"


def _contradictions(run: Run, folder: Path, predictions: Predictions, name: str) -> Iterator[str]:
    """Yield where the columns of predictions.csv contradict each other, or the split."""
    from foveal.run import read_csv

    rows = read_csv(folder / PREDICTIONS_FILE)
    for row, best in zip(rows, predictions.predicted.tolist(), strict=True):
        said = predictions.classes[best]
        if row["predicted"] != said:
            yield f'{row["record_id"]} is said to be predicted "{row["predicted"]}", and its probabilities say "{said}"'
        elif row["probability"] != row[f"p:{said}"]:
            yield f"{row['record_id']} has the probability {row['probability']} in one place, and another beside it"
    if name not in ("test", "validation"):
        return
    known = {row["record_id"]: row for row in run.splits}
    asked = {row["record_id"]: row for row in rows}
    expected = {record_id for record_id, row in known.items() if row["split"] == name}
    if expected != set(asked):
        yield f"{len(expected ^ set(asked)):,} images are not those of the split {name}"
    other = [one for one in expected & set(asked) if known[one]["label"] != asked[one]["label"]]
    if other:
        yield f"{len(other):,} labels are not those of splits.csv, the first {other[0]}"


def _images(run: Run, source: object, progress: Progress, checks: list[Check]) -> Dataset | None:
    """Return the images of the run, None where they cannot be found, which `checks` then says."""
    recipe = read_recipe(run.recipe_file)
    try:
        if source is None and not recipe.source:
            raise DataError("the run was trained on arrays; give them")
        dataset = load_again(recipe, source, None, progress)
        return laid_over(dataset, Path(recipe.manifest)) if recipe.manifest is not None else dataset
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


def _report(run: Run, dataset: Dataset | None) -> Check:
    """Return whether the report tells what the stored results say."""
    from foveal.workflows.evaluate import pictures_of

    name = "report"
    try:
        place = same_report(run, pictures_of(dataset) if dataset is not None else lambda _: None)
    except FovealError as error:
        return Check(name, False, f"It cannot be written again: {error}")
    if place is None:
        return Check(name, True, "Written again from the stored results, it says the same.")
    return Check(name, False, f"It says something else than the stored results: {place}")
