"""From a source to everything that training needs: readable images, audited, split, decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foveal import audit
from foveal.audit.cheap import check_names
from foveal.audit.finding import Finding
from foveal.audit.names import NAMES
from foveal.audit.shortcuts import Told
from foveal.classifier.image_statistics import measure
from foveal.data.dataset import Dataset
from foveal.data.images import ImageArray
from foveal.data.pixels import decode_all, mean_and_std, pixel_digests
from foveal.data.splits import Split, find_units, make_split, refuse_absent_given
from foveal.errors import DataError, listed
from foveal.evaluation.operating_words import refuse_operating_words
from foveal.evaluation.predictions import refuse_reserved
from foveal.evaluation.slices import sliceable
from foveal.models.catalog import find
from foveal.preprocess import Preprocess
from foveal.progress import Progress
from foveal.run import SCHEMA_VERSION
from foveal.training.recipe import Recipe
from foveal.training.stage import TrainingData
from foveal.workflows.full_audit import full_audit
from foveal.workflows.start_weights import starting_preprocess, starting_weights
from foveal.workflows.started import Started, has_features, start

MOST_MARGIN = 4  # pixels a side up to which an image is framed rather than scaled
LARGEST_DEFAULT = 64  # side, for networks without a native size
SKIPPED = "unreadable-skipped"
MEASURED_AT_ONCE = 256  # images: they may lie on disk
MOST_UNASKED = 30_000  # images up to which a transfer makes the whole audit unasked: beyond, it takes minutes


@dataclass(frozen=True, eq=False)
class Prepared:
    """A dataset ready for training. Row i of `pixels`, and of the features of a transfer, is record i of `dataset`."""

    dataset: Dataset
    split: Split
    findings: Sequence[Finding]
    preprocess: Preprocess
    decoded: Callable[[np.ndarray | None], np.ndarray]  # of all images, or of those at some rows
    units: np.ndarray  # (N,) number of the group, exact copies joined, to which each image belongs
    started: Started | None = None  # a transfer's network and features
    told: Sequence[Told] = ()  # how well the class is told by what is not the subject, where that was measured

    @cached_property
    def pixels(self) -> np.ndarray:
        """The images as the network takes them (N, H, W, C) uint8; a transfer decodes them when they are asked for."""
        return self.decoded(None)

    def pixels_of(self, rows: np.ndarray) -> np.ndarray:
        """The images at `rows`, of which a transfer decodes no more than these."""
        of_rows: np.ndarray = self.pixels[rows] if "pixels" in self.__dict__ else self.decoded(rows)
        return of_rows

    def measured_of(self, rows: np.ndarray) -> np.ndarray:
        """The statistics (n, K) of the images at `rows`; a transfer keeps them for the next time, like its features."""
        if self.started is None:
            starts = range(0, max(1, len(rows)), MEASURED_AT_ONCE)
            return np.concatenate([measure(self.pixels_of(rows[start : start + MEASURED_AT_ONCE])) for start in starts])
        found = self.started.source.measure(self.dataset, rows)
        if found.failures:
            refuse_unreadable(self.dataset, found.failures)
        return found.values

    def training_data(self) -> TrainingData:
        """Return what the training loop takes: the test images are not in its reach."""
        return self.training_data_of(self.pixels)

    def training_data_of(self, inputs: np.ndarray) -> TrainingData:
        """Return the same with other `inputs`, one a record: the features of a transfer."""
        return TrainingData(
            inputs,
            self.dataset.labels,
            self.split.indices("train"),
            self.split.indices("validation"),
            len(self.dataset.classes),
        )


def prepare(
    dataset: Dataset, recipe: Recipe, scratch: Path, progress: Progress, *, kept_split: Mapping[str, str] | None = None
) -> Prepared:
    """Read, check, split and decode `dataset` by `recipe`. Nothing is written but scratch files.

    A resumed run hands over its stored split, record id → split, which is then kept and not drawn anew.
    Raises DataError listing every image that cannot be read (unless `skip_unreadable`), AuditError
    for findings that block.
    """
    refuse_unfit(dataset)
    if recipe.operating_point is not None:
        refuse_operating_words(recipe.operating_point, dataset.classes)
    refuse_unsliceable(dataset)
    audit.refuse_blocking(check_names(dataset), recipe.accept, NAMES)
    refuse_absent_given(dataset)
    for note in dataset.notes:
        progress.line(f"note: {note}")
    scan = dataset.scanned(progress)
    skipped = dict(scan.unreadable)
    readable = np.flatnonzero(~np.isin(np.arange(len(dataset)), list(skipped)))
    if not len(readable):
        refuse_unreadable(dataset, skipped)
    preprocess = choose_preprocess(scan.one_size(), 3 if (scan.channels == 3).any() else 1, recipe)
    seen = _looked_at(dataset, readable, preprocess, recipe, scratch, progress)
    skipped |= seen.failures
    if skipped and not recipe.skip_unreadable:
        refuse_unreadable(dataset, skipped)
    kept = np.flatnonzero(~np.isin(readable, list(seen.failures)))
    used = dataset if not skipped else dataset.take(readable[kept])
    copies = seen.copies(used, kept)
    started = seen.started and seen.started.take(kept)
    whole, near = None, None
    if started is not None and len(used) > MOST_UNASKED:
        progress.line(
            f"note: near duplicates, doubtful labels and shortcuts of {len(used):,} images: foveal data check"
        )
    elif started is not None:  # what the whole audit needs is computed anyway
        whole = full_audit(
            used, started.features.values, started.embedding, progress, memory_gib=recipe.memory_gib, scratch=scratch
        )
        near = whole.near(len(used))
    units = find_units(used, by_group=True, copies=copies, near=near)
    if kept_split is not None:
        split = _stored_split(used, kept_split)
    else:
        split = _drawn_split(used, recipe, copies, near, units)
    findings = audit.check(used, split.assigned, torn_on_purpose=recipe.split_by == "image", copies=copies)
    findings += whole.findings(used, split.assigned) if whole is not None else []
    findings = audit.refuse_blocking(findings, recipe.accept, NAMES)
    if skipped:
        findings.insert(0, _skipped(dataset, skipped))
    if recipe.pretrained is None:
        mean, std = mean_and_std(seen.pixels(used, kept), split.indices("train"), preprocess)
        preprocess = replace(preprocess, mean=mean, std=std)
    told = whole.told if whole is not None else ()
    return Prepared(used, split, findings, preprocess, lambda rows: seen.pixels(used, kept, rows), units, started, told)


@dataclass(eq=False)
class _Seen:
    """What came of looking at every image once: its pixels, or its features where the network below them is frozen."""

    preprocess: Preprocess
    failures: dict[int, str]  # image → why it cannot be used
    decoded: np.ndarray | None
    started: Started | None
    decode: Callable[[Dataset, np.ndarray | None], tuple[np.ndarray, dict[int, str]]]

    def copies(self, used: Dataset, kept: np.ndarray) -> np.ndarray:
        """Return a hash of what the network sees of each image; an array's own where it is framed and not scaled."""
        if self.started is not None:
            seen: np.ndarray = self.started.features.seen[kept]
            return seen
        box = (self.preprocess.content_height, self.preprocess.content_width, self.preprocess.channels)
        if isinstance(used.images, ImageArray) and used.images.pixels.shape[1:] == box:
            return used.scan.digests
        return pixel_digests(self.pixels(used, kept))

    def pixels(self, used: Dataset, kept: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the pixels of the images that are used, which are those at `kept` of all that were looked at.

        With `rows`, of those of them alone; where nothing is decoded yet, nothing else is then.
        """
        if self.decoded is None and rows is not None:
            some, failures = self.decode(used, rows)
            if failures:
                refuse_unreadable(used, failures)
            return some
        if self.decoded is None:
            self.decoded, failures = self.decode(used, None)
            if failures:
                refuse_unreadable(used, failures)
        elif len(kept) < len(self.decoded):
            self.decoded = _compacted(self.decoded, kept)
        return self.decoded if rows is None else self.decoded[rows]


def _looked_at(
    dataset: Dataset, rows: np.ndarray, preprocess: Preprocess, recipe: Recipe, scratch: Path, progress: Progress
) -> _Seen:
    """Look at the images at `rows` once: decode them all, or compute their features one batch after the other."""

    def decode(which: Dataset, places: np.ndarray | None = None) -> tuple[np.ndarray, dict[int, str]]:
        places = np.arange(len(which)) if places is None else places
        return decode_all(
            which.images, places, preprocess, memory_gib=recipe.memory_gib, scratch=scratch, progress=progress
        )

    if has_features(recipe):
        audited = len(dataset) <= MOST_UNASKED
        started = start(dataset, rows, preprocess, recipe, scratch, progress, audited=audited)
        return _Seen(preprocess, started.features.failures, None, started, decode)
    pixels, failures = decode(dataset, rows)
    return _Seen(preprocess, failures, pixels, None, decode)


def _drawn_split(
    dataset: Dataset, recipe: Recipe, copies: np.ndarray, near: np.ndarray | None, units: np.ndarray
) -> Split:
    return make_split(
        dataset,
        seed=recipe.seed if recipe.split_seed is None else recipe.split_seed,
        validation=recipe.validation,
        test=recipe.test,
        calibration=recipe.calibration,
        split_by=recipe.split_by,
        copies=copies,
        near=near,
        units=units,
    )


def _stored_split(dataset: Dataset, stored: Mapping[str, str]) -> Split:
    """Return the split that a run has written down; ClassifierError when its records are not those of `dataset`."""
    ids = dataset.record_ids.tolist()
    if set(ids) != set(stored):
        strange = sorted(set(ids) ^ set(stored))
        lines = [f"{one}: {'new' if one in ids else 'missing or unreadable'}" for one in strange]
        raise DataError(
            f"The images are not those that the run began with; restore them, or train anew:\n{listed(lines)}"
        )
    return Split(np.array([stored[one] for one in ids]), "given", ())


def _compacted(pixels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the rows `kept` of `pixels`, moved together in place: the array may be larger than memory."""
    for to, row in enumerate(kept.tolist()):
        if to != row:
            pixels[to] = pixels[row]
    return pixels[: len(kept)]


def describe_audit(prepared: Prepared) -> dict[str, Any]:
    """Return what audit.json holds: the dataset, its split, the findings."""
    dataset, split = prepared.dataset, prepared.split
    heights, widths = dataset.scan.heights, dataset.scan.widths
    groups = dataset.groups[dataset.groups != ""]
    one_size = dataset.scan.one_size()
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": {
            "name": dataset.name,
            "origin": dataset.origin,
            "notes": list(dataset.notes),
            "content_hash": dataset.content_hash,
            "n": len(dataset),
            "n_groups": len(np.unique(groups)) if len(groups) else None,
            "classes": dataset.class_counts(),
            "image_sizes": f"{one_size[0]}×{one_size[1]}"
            if one_size
            else f"{heights.min()} to {heights.max()} high, {widths.min()} to {widths.max()} wide",
            "channels": prepared.preprocess.channels,
        },
        "split": {
            "by": split.by,
            "sentences": list(split.sentences),
            "counts": {name: _class_counts(dataset, split.indices(name)) for name in split.names},
        },
        "findings": [finding.to_dict() for finding in prepared.findings],
        "told_without_the_subject": [one.to_dict() for one in prepared.told],
    }


def _class_counts(dataset: Dataset, rows: np.ndarray) -> dict[str, int]:
    counts = np.bincount(dataset.labels[rows], minlength=len(dataset.classes))
    return dict(zip(dataset.classes, counts.tolist(), strict=True))


def refuse_unfit(dataset: Dataset) -> None:
    """Raise DataError when an image has no label, or fewer than two classes have images."""
    if (dataset.labels < 0).any():
        rows = dataset.record_ids[dataset.labels < 0]
        raise DataError(f"{dataset.name}: {len(rows)} images have no label:\n{listed(rows, 5)}")
    present = [name for name, count in dataset.class_counts().items() if count]
    if len(present) < 2:
        name = f'only the class "{present[0]}"' if present else "no images"
        raise DataError(f"{dataset.origin or dataset.name} has {name}; a classifier needs at least two classes.")
    absent = sorted(set(dataset.classes) - set(present))
    if absent:
        raise DataError(f"{dataset.name}: these classes have no image:\n{listed(absent)}")


def refuse_unsliceable(dataset: Dataset) -> None:
    """Raise DataError where slices cannot be made of a column that they are asked of."""
    for name, values in dataset.columns.items():
        refuse_reserved(name)
        sliceable(name, values)


def refuse_unreadable(dataset: Dataset, reasons: Mapping[int, str]) -> None:
    """Raise DataError listing every image of `reasons`, row → why it cannot be used."""
    lines = [f"{dataset.record_ids[row]}: {reason}" for row, reason in sorted(reasons.items())]
    raise DataError(
        f"{len(lines)} of {len(dataset):,} images cannot be used:\n{listed(lines, 1_000)}\n"
        "Mend or remove them, or go on without them with --skip-unreadable."
    )


def _skipped(dataset: Dataset, reasons: dict[int, str]) -> Finding:
    lines = tuple(f"{dataset.record_ids[row]}: {reason}" for row, reason in sorted(reasons.items()))
    sentence = f"{len(lines):,} images cannot be read and were left out (--skip-unreadable)."
    return Finding(SKIPPED, "warn", sentence, len(lines), lines)


def choose_preprocess(own: tuple[int, int] | None, channels: int, recipe: Recipe) -> Preprocess:
    """Choose channels and sizes: what the recipe says, else the network's native size, else the images' own.

    `own` is (height, width) where all images have one size. Such images, at most 4 pixels a side smaller
    than the frame, are framed in black, not scaled: MNIST's 28×28 in LeNet-5's 32×32. Pretrained weights bring
    their own preprocessing, see `starting_preprocess`.
    """
    native = find(recipe.model).native_size
    channels = recipe.channels or channels
    if (weights := starting_weights(recipe)) is not None:
        return starting_preprocess(weights, recipe, channels)
    small = own if own and max(own) <= LARGEST_DEFAULT else None
    frame = recipe.size or native or small or (LARGEST_DEFAULT, LARGEST_DEFAULT)
    margins = [outer - inner for outer, inner in zip(frame, own, strict=True)] if own else [-1]
    content = own if own and all(0 <= margin <= 2 * MOST_MARGIN for margin in margins) else frame
    return Preprocess(channels, *frame, *content, recipe.fit or "letterbox", (0.0,) * channels, (1.0,) * channels)
