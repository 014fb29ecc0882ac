"""Robustness: a run's own test images, damaged more and more, and what its classifier then says of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from foveal.classifier import Classifier
from foveal.data.corruptions import Corruption, find_corruptions
from foveal.errors import UsageError
from foveal.evaluation.robustness import (
    PAGE,
    Case,
    Condition,
    Robustness,
    make_curve,
    measure_condition,
    share,
    turned_cases,
)
from foveal.files import locked, saying_why, write_json, write_text
from foveal.models.catalog import find
from foveal.preprocess import array_picture
from foveal.progress import Progress
from foveal.report.robustness import robustness_figure, robustness_page
from foveal.run import Run
from foveal.web.thumbnails import thumbnail
from foveal.workflows.evaluate import engine_of
from foveal.workflows.own_images import OwnImages, finished_run, own_test_images
from foveal.workflows.shift_check import DIRECTIONS, Asked, check_maps, check_shifts

FOLDER = "robustness"
AT_ONCE = 256  # images that are damaged and asked together
MOST_CASES = 12  # of each corruption
SHIFT_IMAGES, MAP_IMAGES = 500, 64


def robustness(
    run: str | Path | Run,
    source: object = None,
    *,
    corruptions: Iterable[str] | None = None,
    images: int = 2000,
    shifts: int = 4,
    data_dir: str | Path | None = None,
    engine: str = "torch",
    device: str = "auto",
    trust: str | None = None,
    network: nn.Module | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Robustness:
    """Ask the classifier of `run` about its test images under graded corruptions; written to ``<run>/robustness/``.

    The folder holds ``robustness.html``, ``robustness.json`` and ``robustness.svg``, and is replaced as a whole when
    it is made again. The images are damaged after the preprocessing's geometry, within its content box; the frame
    around it stays black.

    Args:
        run: the directory of a finished run.
        source: where the images of the run lie now, as for `foveal.train`; where its recipe says, by default.
        corruptions: names of `foveal.data.corruptions`; all ten by default.
        images: so many test images at most, drawn by lot where there are more.
        shifts: pixels up to which images are moved to see whether the answer stays; 0 leaves that out.
        data_dir: a folder with the files of a published data set, as for `foveal.load`.
        engine: what computes, as for `Classifier.load`.
        device: where to compute.
        trust: as for `Classifier.load`.
        network: as for `Classifier.load`, of a classifier whose network was handed over.
        seed: of the corruptions' chance, and of the draw of images.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: one of its classes, each saying what to do; DataError where the run has no test images, or where
            they are not those that it was tested on.
    """
    chosen = find_corruptions([corruptions] if isinstance(corruptions, str) else corruptions)
    for name, value, least in (("images", images, 1), ("shifts", shifts, 0), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{name} is a whole number from {least} on, not {value!r}.")
    home = finished_run(run.path if isinstance(run, Run) else Path(run))
    classifier = Classifier.load(home.classifier_dir, device=device, trust=trust, network=network, engine=engine)
    with Progress(silent=not progress) as display:
        test = own_test_images(home, source, data_dir, images, seed, classifier, display)
        passes = 1 + sum(len(one.strengths) for one in chosen)
        shift_rows = np.sort(np.random.default_rng(seed).permutation(len(test.labels))[:SHIFT_IMAGES])
        distances = range(1, min(shifts + 1, *test.pixels.shape[1:3]))
        total = passes * len(test.labels) + (1 + len(DIRECTIONS) * len(distances)) * len(shift_rows) * bool(distances)
        with display.stage("robustness", total) as stage:
            asked = Asked(classifier, stage)
            result = _measured(asked, test, chosen, seed, home)
            if distances:
                rows = check_shifts(asked, test, shift_rows, distances)
                maps = check_maps(classifier, test.pixels[shift_rows[:MAP_IMAGES]])
                result = replace(result, shift_images=len(shift_rows), shifts=rows, maps=maps)
            result = replace(result, asked=asked.count, images_per_s=round(asked.rate, 1))
        return _written(home, result)


def _measured(asked: Asked, test: OwnImages, chosen: Sequence[Corruption], seed: int, run: Run) -> Robustness:
    """Ask about the clean images once, and about those of every condition once."""
    clean, clean_abstained = _answers(asked, test, None, 0.0, seed)
    right = np.zeros(len(test.labels))  # of every image, in how many conditions it was answered rightly
    curves, cases = [], []
    for corruption in chosen:
        damaged: list[np.ndarray] = []
        conditions: list[Condition] = []
        for strength in corruption.strengths:
            answers, abstained = _answers(asked, test, corruption, strength, seed)
            known = abstained if asked.abstains else None
            conditions.append(measure_condition(test.labels, clean, answers, test.units, strength, known))
            damaged.append(answers)
            right += answers.argmax(axis=1) == test.labels
        turned = turned_cases(test.labels, clean, damaged)
        curves.append(make_curve(corruption, conditions, len(turned)))
        cases += _cases(asked.classifier, test, corruption, turned[:MOST_CASES], clean, damaged, seed)
    of_each = right / sum(len(one.conditions) for one in curves)
    return Robustness(
        run=run.path.resolve().name,
        model=find(asked.classifier.architecture).title,
        dataset=test.name,
        classifier=asked.classifier.hash,
        engine=engine_of(asked.classifier, run),
        n=len(test.labels),
        test_images=test.of,
        units=len(np.unique(test.units)),
        seed=seed,
        clean=share(clean.argmax(axis=1) == test.labels, test.units),
        clean_confidence=float(clean.max(axis=1).mean()),
        clean_abstained=float(clean_abstained.mean()) if asked.abstains else None,
        mean=share(of_each, test.units),
        mean_confidence=float(np.mean([one.mean_confidence for one in curves])),
        curves=tuple(curves),
        cases=tuple(cases),
        shift_images=0,
        shifts=(),
        maps=(),
        asked=0,
        images_per_s=0.0,
    )


def _answers(
    asked: Asked, test: OwnImages, corruption: Corruption | None, strength: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, C) and abstentions (N,) for all images under one condition, batch by batch."""
    doing = "clean" if corruption is None else f"{corruption.title} {corruption.written(strength)}"
    parts = []
    for start in range(0, len(test.labels), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        pixels = test.pixels[rows] if corruption is None else test.damaged(rows, corruption, strength, seed)
        parts.append(asked.answers(pixels, doing))
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])


def _cases(
    classifier: Classifier,
    test: OwnImages,
    corruption: Corruption,
    turned: Sequence[tuple[int, int]],
    clean: np.ndarray,
    damaged: Sequence[np.ndarray],
    seed: int,
) -> list[Case]:
    """Return the images that `turned` names (row, number of the strength), clean beside damaged."""
    found = []
    for row, number in turned:
        strength, answers = corruption.strengths[number], damaged[number][row]
        broken = test.damaged(slice(row, row + 1), corruption, strength, seed)[0]
        found.append(
            Case(
                corruption=corruption.name,
                strength=float(strength),
                record_id=test.record_ids[row],
                label=classifier.classes[test.labels[row]],
                answer=classifier.classes[int(answers.argmax())],
                confidence=float(answers.max()),
                clean_confidence=float(clean[row].max()),
                clean=thumbnail(array_picture(test.pixels[row])).address,
                corrupted=thumbnail(array_picture(broken)).address,
            )
        )
    return found


def _written(run: Run, result: Robustness) -> Robustness:
    """Write the folder under a temporary name, then put it in the place of an older one."""
    folder = run.path / FOLDER
    part, old = (folder.with_name(f".{FOLDER}.{os.getpid()}.{kind}") for kind in ("part", "old"))
    try:
        with saying_why(folder):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
        write_json(part / "robustness.json", result.to_dict())
        write_text(part / "robustness.svg", robustness_figure(result))
        write_text(part / PAGE, robustness_page(result))
        with locked(run.path), saying_why(folder):
            if folder.exists():
                folder.rename(old)
            try:
                part.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return replace(result, path=folder)
