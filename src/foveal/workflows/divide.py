"""Divide: a source into splits or folds, written as manifests to lay over it, and proved clean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from foveal import audit
from foveal.audit.finding import Finding
from foveal.data.dataset import SPLITS, Dataset, unknown
from foveal.data.load import load
from foveal.data.overlay import laid_over, write_overlay
from foveal.data.sources.dicom_folder import study_dates
from foveal.data.sources.manifest import Columns
from foveal.data.splits import find_units, hold_out, make_folds, make_split, refuse_shares
from foveal.errors import AuditError, DataError, UsageError, listed
from foveal.progress import Progress
from foveal.workflows.place import refuse_existing_file
from foveal.workflows.prepare import refuse_unfit, refuse_unreadable

WAYS = ("random", "time", "source")


@dataclass(frozen=True)
class Divided:
    """What was written: a manifest for each division, with how many images serve what."""

    files: tuple[Path, ...]
    counts: tuple[dict[str, int], ...]
    sentences: tuple[str, ...]  # what was proved
    findings: tuple[Finding, ...]  # what remains to be known, none of which blocks


def divide(
    source: object,
    out: str | Path,
    *,
    by: str = "random",
    folds: int | None = None,
    dates: str | Path | None = None,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    manifest: str | Path | None = None,
    columns: Columns | None = None,
    data_dir: str | Path | None = None,
    progress: bool = True,
) -> Divided:
    """Divide `source` and write the manifest `out`, or several called after it; no group or copy is ever torn.

    Args:
        source: anything that `foveal.load` takes; splits that it gives are not used.
        out: the CSV to write, for ``foveal train SOURCE --manifest``.
        by: ``random``, stratified by class; ``time``: the latest groups are tested, the latest of the others validate;
            ``source``: one manifest a source, which is its test set.
        folds: so many manifests in place of one, each tested on another part (``random`` only).
        dates: a CSV with the columns record_id and date (YYYY-MM-DD or YYYYMMDD), for ``time``; the study dates of
            DICOM files are known without.
        validation: share of the images for validation.
        test: share of the images for the test.
        seed: of the lot.
        manifest: one to lay over the source first, such as a cleaned one.
        columns: which column of a source's own manifest holds what.
        data_dir: a folder with the files of a published data set.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: one of its classes; AuditError where a division would not be clean.
    """
    if by not in WAYS:
        raise UsageError(f'A source is divided by {", ".join(WAYS)}, not by "{by}".')
    if folds is not None and (not isinstance(folds, int) or folds < 2):
        raise UsageError(f"Folds are two or more, not {folds}.")
    if folds is not None and by != "random":
        raise UsageError("Folds are drawn at random; leave --by out.")
    if dates is not None and by != "time":
        raise UsageError("Dates serve a division by time; give --by time, or leave --dates out.")
    refuse_shares(validation, test)
    target = Path(out)
    with Progress(silent=not progress) as display:
        dataset = load(source, columns=columns, data_dir=data_dir, progress=display)
        if manifest is not None:
            dataset = laid_over(dataset, Path(manifest))
        refuse_unfit(dataset)
        scan = dataset.scanned(display)
        if scan.unreadable:
            refuse_unreadable(dataset, scan.unreadable)
        plain = dataset.with_splits(unknown(len(dataset)))
        units = find_units(plain, by_group=True)
        if by == "source":
            made = _by_source(plain, units, validation, seed)
        elif by == "time":
            made = {"": _by_time(plain, units, _dates(plain, dates), validation, test)}
        elif folds is not None:
            made = _by_fold(plain, units, folds, validation, seed)
        else:
            drawn = make_split(plain, seed=seed, validation=validation, test=test, split_by="group", units=units)
            made = {"": drawn.assigned}
    files = _files(target, made)
    for file in files:
        refuse_existing_file(file)
    proofs = [_proved(plain, units, assigned) for assigned in files.values()]  # all, before any is written
    for file, assigned in files.items():
        write_overlay(file, _rows(plain, assigned))
    return Divided(
        tuple(files),
        tuple({name: int((assigned == name).sum()) for name in SPLITS} for assigned in files.values()),
        tuple(sentence for sentence, _ in proofs),
        tuple(proofs[0][1]),
    )


def _files(target: Path, made: Mapping[str, np.ndarray]) -> dict[Path, np.ndarray]:
    """Return the file of each division; DataError where two sources would be written to one."""
    names: dict[Path, str] = {}
    for name in made:
        file = _named(target, name)
        if file in names:
            raise DataError(
                f'The sources "{names[file]}" and "{name}" would both be written to {file}; give one another name.'
            )
        names[file] = name
    return {file: made[name] for file, name in names.items()}


def _named(target: Path, name: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return target if not name else target.with_name(f"{target.stem}-{plain}{target.suffix or '.csv'}")


def _by_fold(dataset: Dataset, units: np.ndarray, count: int, validation: float, seed: int) -> dict[str, np.ndarray]:
    folds = make_folds(dataset, units, count, seed)
    return {
        str(number): _with_validation(dataset, units, folds == number, validation, seed)
        for number in range(1, count + 1)
    }


def _by_source(dataset: Dataset, units: np.ndarray, validation: float, seed: int) -> dict[str, np.ndarray]:
    """Return source → the split that tests on it alone."""
    sources = sorted(set(dataset.sources.tolist()))
    if "" in sources or len(sources) < 2:
        raise DataError(
            f"{dataset.name}: to leave one source out, every image needs a source, and there are two or more."
        )
    made = {}
    for source in sources:
        tested = dataset.sources == source
        torn = np.intersect1d(units[tested], units[~tested])
        if len(torn):
            rows = dataset.record_ids[np.isin(units, torn)]
            raise DataError(
                f"{dataset.name}: {len(torn):,} groups or copies lie in {source} and in another source, so that it "
                f"cannot be left out:\n{listed(rows, 5)}"
            )
        absent = set(range(len(dataset.classes))) - set(dataset.labels[~tested].tolist())
        if absent:
            names = ", ".join(dataset.classes[label] for label in sorted(absent))
            raise DataError(f"{dataset.name}: without {source} there is no image of {names} to learn from.")
        made[source] = _with_validation(dataset, units, tested, validation, seed)
    return made


def _with_validation(
    dataset: Dataset, units: np.ndarray, tested: np.ndarray, validation: float, seed: int
) -> np.ndarray:
    """Return the split with `tested` as test, and of the others some held out for validation."""
    rest = np.flatnonzero(~tested)
    numbers = np.unique(units[rest], return_inverse=True)[1]
    held = hold_out(dataset.labels[rest], numbers, share=validation, seed=seed)
    splits = np.full(len(dataset), "test", "<U10")
    splits[rest] = np.where(held, "validation", "train")
    return splits


def _by_time(dataset: Dataset, units: np.ndarray, dates: np.ndarray, validation: float, test: float) -> np.ndarray:
    """Return the split in which the latest units are tested, and the latest of the others validate.

    A unit is as late as the first of its images: what a patient's later image shows may be known from an earlier one.
    """
    first = np.full(int(units.max()) + 1, 99_999_999)
    np.minimum.at(first, units, dates.astype(np.int64))
    order = np.argsort(first, kind="stable")
    sizes = np.bincount(units, minlength=len(first))
    gone = np.cumsum(sizes[order][::-1])[::-1] / len(dataset)  # share of the images from this unit on
    place = np.full(len(first), "train", "<U10")
    place[order[gone <= validation + test]] = "validation"
    place[order[gone <= test]] = "test"
    splits: np.ndarray = place[units]
    for name in SPLITS:
        absent = set(dataset.labels.tolist()) - set(dataset.labels[splits == name].tolist())
        if absent:
            names = ", ".join(dataset.classes[label] for label in sorted(absent))
            raise DataError(f"{dataset.name}: by time there is no image of {names} in {name}; take other shares.")
    return splits


def _dates(dataset: Dataset, file: str | Path | None) -> np.ndarray:
    """Return the date (N,) of each image as YYYYMMDD; DataError listing those that have none."""
    if file is None:
        found = study_dates(dataset.images)
    else:
        from foveal.run import read_csv

        if not Path(file).is_file():
            raise UsageError(f"There is no file of dates {file}.")
        rows = {row.get("record_id", ""): _date(row.get("date") or "") for row in read_csv(Path(file))}
        found = np.array([rows.get(record, "") for record in dataset.record_ids.tolist()])
    missing = dataset.record_ids[np.char.str_len(found) != 8]
    if len(missing):
        raise DataError(
            f"{dataset.name}: {len(missing):,} images have no date (YYYY-MM-DD or YYYYMMDD); give them with --dates:\n"
            f"{listed(missing, 5)}"
        )
    return found.astype("<U8")


def _date(text: str) -> str:
    """Return a date as YYYYMMDD; empty for what is none, or begins with its day or month: the order would be wrong."""
    parts = re.fullmatch(r"(\d{4})([-./]?)(\d\d)\2(\d\d)", text.strip(), re.ASCII)
    digits = parts[1] + parts[3] + parts[4] if parts else ""
    try:
        return digits if digits and date.fromisoformat(digits) else ""
    except ValueError:
        return ""


def _proved(dataset: Dataset, units: np.ndarray, assigned: np.ndarray) -> tuple[str, list[Finding]]:
    """Return a sentence that says what holds of the split, and what else is to be known; AuditError if torn."""
    torn = [unit for unit in np.unique(units) if len(set(assigned[units == unit].tolist())) > 1]
    findings = audit.check(dataset, assigned)
    blocking = [one for one in findings if one.severity == "block"]
    if torn or blocking:
        raise AuditError(f"This division is not clean: {blocking[0].sentence if blocking else 'a group is torn.'}")
    known = dataset.groups != ""
    groups = len(np.unique(dataset.groups[known]))
    sentence = (
        f"No group and no exact copy lies in two splits: {groups:,} groups, {int((~known).sum()):,} images without "
        f"one, {len(np.unique(units)):,} units in all; every class is in every split."
    )
    absent = [
        f"{dataset.classes[label]} in {name}"
        for name in SPLITS
        for label in np.unique(dataset.labels)
        if not ((assigned == name) & (dataset.labels == label)).any()
    ]
    if absent:
        sentence = sentence.replace("every class is in every split", f"absent are {', '.join(absent)}")
    return sentence, findings


def _rows(dataset: Dataset, assigned: np.ndarray) -> Sequence[dict[str, str]]:
    return [
        {
            "record_id": str(dataset.record_ids[row]),
            "label": dataset.classes[dataset.labels[row]],
            "group": str(dataset.groups[row]),
            "source": str(dataset.sources[row]),
            "split": str(assigned[row]),
            "sha256": str(dataset.scan.digests[row]),
        }
        for row in range(len(dataset))
    ]
