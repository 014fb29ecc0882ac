"""Check: everything that the audit can say of a source, as a page with pictures, as JSON, and as a cleaned manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from foveal import audit
from foveal.audit.cheap import check_absent
from foveal.audit.cleaning import clean
from foveal.audit.finding import Finding
from foveal.audit.looks import Looks, file_facts, look
from foveal.audit.odd_files import ODD_FILES, odd_files, odd_finding
from foveal.data.dataset import Dataset
from foveal.data.load import load
from foveal.data.overlay import laid_over, write_overlay
from foveal.data.sources.manifest import Columns
from foveal.data.splits import refuse_partly_given
from foveal.errors import DataError, FovealError, UsageError
from foveal.files import write_json, write_text
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress
from foveal.run import SCHEMA_VERSION
from foveal.training.recipe import Recipe
from foveal.web import asset, page, templates
from foveal.web.thumbnails import Thumbnail, thumbnail
from foveal.workflows.full_audit import FullAudit, full_audit
from foveal.workflows.place import free_page, refuse_existing_file
from foveal.workflows.prepare import choose_preprocess, refuse_unfit
from foveal.workflows.start_weights import starting_weights
from foveal.workflows.started import start

HERE = "foveal.workflows"
EMBEDDING = "efficientnet_lite0"
MEMORY_GIB = 4.0
SHOWN = 24  # exhibits of one finding
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Exhibit:
    """Images that show a finding, side by side, with what is said of each."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    thumbnails: tuple[Thumbnail | None, ...]
    words: str


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found, and where it was written."""

    name: str
    images: int
    findings: tuple[Finding, ...]
    whole: FullAudit
    page: Path
    json: Path
    cleaned: Path | None
    done: tuple[str, ...]  # to make the cleaned manifest
    still_blocking: tuple[str, ...] = ()  # findings that would stop a training with it


def check(
    source: object,
    *,
    out: str | Path | None = None,
    fix: str | Path | None = None,
    manifest: str | Path | None = None,
    embedding: str = EMBEDDING,
    columns: Columns | None = None,
    data_dir: str | Path | None = None,
    progress: bool = True,
) -> Checked:
    """Audit `source` as a whole and write ``<name>-check.html`` and, beside it, ``<name>-check.json``.

    Args:
        source: anything that `foveal.load` takes.
        out: the page; ``<name>-check.html`` in the current folder by default. It must not exist.
        fix: a CSV file to write: a manifest of what can be learned from, for ``foveal train SOURCE --manifest``.
        manifest: one that was written before, or by hand, to lay over the source first.
        embedding: the pretrained network whose activations tell near duplicates and doubtful labels; "none" without.
        columns: which column of a manifest holds what.
        data_dir: a folder with the files of a published data set.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: one of its classes, each saying what to do.
    """
    with Progress(silent=not progress) as display:
        dataset = load(source, columns=columns, data_dir=data_dir, progress=display)
        if manifest is not None:
            dataset = laid_over(dataset, Path(manifest))
        refuse_unfit(dataset)
        refuse_partly_given(dataset)
        target = Path(out) if out is not None else free_page(dataset.name, "check", also=".json")
        if fix is not None and Path(fix).absolute() in {target.absolute(), target.with_suffix(".json").absolute()}:
            raise UsageError(f"The cleaned manifest cannot be {fix}: there go the page and its numbers.")
        for file in (target, target.with_suffix(".json"), *([Path(fix)] if fix is not None else [])):
            refuse_existing_file(file, "--out or --fix")
        readable, unreadable, looks = _readable(dataset, display)
        facts = file_facts(readable, display)
        assigned = _assigned(readable)
        embeddings, name = _embeddings(readable, embedding, display)
        whole = full_audit(
            readable, embeddings, name, display, memory_gib=MEMORY_GIB, scratch=target.parent, seen=(looks, facts)
        )
        odd = odd_files(readable, looks, facts)
        findings = [
            *_unreadable_finding(dataset, unreadable),
            *audit.check(readable, assigned),
            *([] if assigned is None else check_absent(readable, assigned)),
            *whole.findings(readable, assigned),
            *odd_finding(readable, odd),
        ]
        exhibits = _exhibits(readable, whole, odd)
        _write(target, readable, findings, whole, exhibits)
        done: tuple[str, ...] = ()
        still_blocking: tuple[str, ...] = ()
        if fix is not None:
            cleaned = clean(readable, whole.pairs)
            if not cleaned.rows:
                raise DataError(f"{readable.name}: no image is left to learn from, so {fix} is not written.")
            write_overlay(Path(fix), cleaned.rows)
            left_out = [f"{len(unreadable):,} images cannot be read: left out"] if unreadable else []
            done = (*left_out, *cleaned.done)
            still_blocking = _still_blocking(readable, Path(fix))
    return Checked(
        readable.name, len(dataset), tuple(findings), whole, target, target.with_suffix(".json"),
        Path(fix) if fix is not None else None, done, still_blocking,
    )  # fmt: skip


def _still_blocking(dataset: Dataset, cleaned: Path) -> tuple[str, ...]:
    """Return the names of what blocks a training on `dataset` with the manifest `cleaned`, in order."""
    dataset = laid_over(dataset, cleaned)
    assigned = _assigned(dataset)
    findings = [*audit.check(dataset, assigned), *([] if assigned is None else check_absent(dataset, assigned))]
    return tuple(sorted({one.name for one in findings if one.severity == "block"}))


def _assigned(dataset: Dataset) -> np.ndarray | None:
    """Return the given splits (N,), or None where none are given."""
    return dataset.given_splits if (dataset.given_splits != "").all() else None


def _readable(dataset: Dataset, progress: Progress) -> tuple[Dataset, dict[int, str], Looks]:
    """Return the images that can be decoded, image → reason for the others, and how the former look."""
    scan = dataset.scanned(progress)
    reasons = dict(scan.unreadable)
    rows = np.flatnonzero(~np.isin(np.arange(len(dataset)), list(reasons)))
    looks = look(dataset, rows, progress, memory_gib=MEMORY_GIB, scratch=Path())
    reasons |= {int(rows[at]): why for at, why in looks.failures.items()}
    kept = np.flatnonzero(~np.isin(np.arange(len(dataset)), list(reasons)))
    if not len(kept):
        raise UsageError(f"{dataset.name} holds no image that can be read.")
    seen = np.flatnonzero(np.isin(rows, kept))
    own = Looks(looks.thumbnails[seen], looks.marks[seen], {})
    return (dataset if len(kept) == len(dataset) else dataset.take(kept)), reasons, own


def _embeddings(dataset: Dataset, network: str, progress: Progress) -> tuple[np.ndarray | None, str]:
    """Return the activations of the pretrained `network`, and its name; None where its weights cannot be had."""
    if network == "none":
        return None, ""
    recipe = Recipe(model=network, pretrained="default", transfer="feature_extraction")
    try:
        starting_weights(recipe)
        preprocess = choose_preprocess(dataset.scan.one_size(), 3 if (dataset.scan.channels == 3).any() else 1, recipe)
        started = start(dataset, np.arange(len(dataset)), preprocess, recipe, Path(), progress, announce=False)
    except FovealError as error:
        if network != EMBEDDING:
            raise
        progress.line(f"note: labels are not doubted, and near duplicates told by pixels alone: {error}")
        return None, ""
    return started.features.values, started.embedding


def _unreadable_finding(dataset: Dataset, reasons: dict[int, str]) -> list[Finding]:
    lines = tuple(f"{dataset.record_ids[row]}: {why}" for row, why in sorted(reasons.items()))
    sentence = f"{len(lines):,} of {len(dataset):,} images cannot be read."
    return [Finding(UNREADABLE, "block", sentence, len(lines), lines[:20])] if lines else []


def _exhibits(dataset: Dataset, whole: FullAudit, odd: dict[str, list[int]]) -> dict[str, list[Exhibit]]:
    """Return name of a finding → the images that show it, the clearest first."""
    shown: dict[str, list[Exhibit]] = {}

    def exhibit(name: str, rows: Sequence[int], words: str) -> None:
        if len(shown.setdefault(name, [])) < SHOWN:
            shown[name].append(_exhibit(dataset, rows, words))

    same: dict[str, list[int]] = {}
    for row, digest in enumerate(dataset.scan.digests.tolist()):
        same.setdefault(digest, []).append(row)
    for rows in same.values():
        if len(rows) > 1:
            exhibit("duplicates", rows[:4], "the same file")
            if len({int(dataset.labels[row]) for row in rows}) > 1:
                exhibit("same-image-two-labels", rows[:4], "the same file")
    for pair in whole.pairs:
        two = dataset.labels[pair.row] != dataset.labels[pair.other]
        name = "near-duplicates-two-labels" if two else "near-duplicates"
        exhibit(name, (pair.row, pair.other), f"by {pair.by}, distance {pair.distance:.4f}")
    for one in whole.suspects:
        words = f"looks like {dataset.classes[one.looks_like]} ({one.probability:.2f}, its label {one.own:.2f})"
        exhibit("label-errors", (one.row,), words)
    for what, rows in odd.items():
        for row in rows:
            exhibit(ODD_FILES, (row,), what)
    return shown


def _exhibit(dataset: Dataset, rows: Sequence[int], words: str) -> Exhibit:
    def drawn(row: int) -> Thumbnail | None:
        try:
            return thumbnail(dataset.images.picture(row))
        except UnreadableImageError:
            return None

    return Exhibit(
        tuple(str(dataset.record_ids[row]) for row in rows),
        tuple(dataset.classes[dataset.labels[row]] for row in rows),
        tuple(drawn(row) for row in rows),
        words,
    )


def _write(
    target: Path,
    dataset: Dataset,
    findings: Sequence[Finding],
    whole: FullAudit,
    exhibits: dict[str, list[Exhibit]],
) -> None:
    body = templates(HERE).get_template("check.html.jinja").render(
        name=dataset.name,
        origin=dataset.origin,
        images=len(dataset),
        classes=dataset.class_counts(),
        findings=sorted(findings, key=lambda one: one.severity != "block"),
        exhibits=exhibits,
        told=sorted(whole.told, key=lambda one: -one.auc),
        embedded_by=whole.embedded_by.partition(" ")[0],
    )  # fmt: skip
    style = asset("foveal.web", "card.css") + asset(HERE, "show.css") + asset(HERE, "check.css")
    html = page(f"{dataset.name}: check · Foveal", Markup(body), style=style, closed=True)
    write_text(target, html.encode("utf-8", "replace").decode("utf-8"))
    value = {
        "schema_version": SCHEMA_VERSION,
        "dataset": {
            "name": dataset.name,
            "origin": dataset.origin,
            "n": len(dataset),
            "content_hash": dataset.content_hash,
        },
        "findings": [finding.to_dict() for finding in findings],
        "told_without_the_subject": [one.to_dict() for one in whole.told],
        "near_duplicates": [
            {
                "records": dataset.record_ids[[one.row, one.other]].tolist(),
                "by": one.by,
                "distance": one.distance,
            }
            for one in whole.pairs
        ],
        "label_errors": [
            {
                "record": str(dataset.record_ids[one.row]),
                "label": dataset.classes[one.label],
                "looks_like": dataset.classes[one.looks_like],
                "probability": one.probability,
                "own": one.own,
            }
            for one in whole.suspects
        ],
        "embedded_by": whole.embedded_by,
    }
    write_json(target.with_suffix(".json"), value)
