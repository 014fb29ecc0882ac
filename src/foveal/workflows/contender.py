"""One run of a comparison: opened, checked, and its stored answers read with the content of their images."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import ClassifierError, nearest
from foveal.evaluation.pairing import Answer, Answers, group_key
from foveal.evaluation.predictions import RECORDS_FILE
from foveal.report.compared import ComparedRun, recipe_in_words
from foveal.report.results import Results, Scores, read_results, scores_of
from foveal.run import Run, read_csv, read_json

OWN_EVALUATIONS = ("test", "validation")
LEAKS = {"group-across-splits", "duplicates-across-splits", "group-written-two-ways"}


@dataclass(frozen=True)
class Contender:
    """A run that takes part in a comparison."""

    run: Run
    compared: ComparedRun
    answers: Answers
    origin: str  # where the images of the evaluation come from, to show them
    paths: Mapping[str, str]  # record id → where the image lay; empty when it lies only in memory
    served: frozenset[str]  # digests of the images that served its training
    groups: Mapping[str, frozenset[str]]  # digest → its groups in splits.csv, for images that have one


def open_run(path: Path) -> Run:
    """Return the finished run at `path`, its folder or its classifier's; ClassifierError says what is amiss."""
    home = path.parent if path.name == "classifier" and (path.parent / "recipe.toml").is_file() else path
    run = Run(home)
    if not home.is_dir():
        raise ClassifierError(f"There is no run at {path}.")
    inside = sorted(file.parent for pattern in ("*", "repeats/*") for file in home.glob(f"{pattern}/recipe.toml"))
    if inside and not run.splits_file.is_file():
        raise ClassifierError(f"{path} holds several runs; name those to compare, as in {inside[0]}.")
    if not run.recipe_file.is_file():
        raise ClassifierError(f"{path} is no run: it holds no recipe.toml.")
    if not run.is_finished:
        raise ClassifierError(f"{path} is not finished; go on with: foveal train --resume {path}")
    files = run.environment.get("files")
    for name, digest in files.items() if isinstance(files, dict) else ():
        file = run.path / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise ClassifierError(f"{file} is missing or was changed after the run began; restore it.")
    return run


def read_contender(run: Run, letter: str, evaluation: str) -> Contender:
    """Return what a comparison on `evaluation` needs of `run`; ClassifierError when it is missing or damaged."""
    folder = run.evaluation_dir(evaluation)
    if not folder.is_dir() or evaluation in ("", ".", "..") or folder.parent != run.path / "evaluations":
        have = sorted(one.name for one in (run.path / "evaluations").glob("*") if one.is_dir())
        known = f"{', '.join(have) or 'none'}.{nearest(evaluation, have)}"
        raise ClassifierError(
            f'{run.path} has no evaluation "{evaluation}", only {known} '
            f"Make one with: foveal evaluate {run.path} SOURCE --name NAME"
        )
    results = read_results(run)
    stored = read_json(folder / "metrics.json")
    try:
        scores = scores_of(stored)
        bound = str(stored["classifier"])
        origin = str(stored["dataset"]["origin"])
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{folder / 'metrics.json'} is incomplete or damaged: {error!r}.") from error
    if bound != results.content_hash:
        raise ClassifierError(f"{folder} holds the answers of another classifier than {run.classifier_dir}.")
    records = _records(run, evaluation)
    answers = _answers(run, evaluation, records, scores)
    splits = run.splits
    served = _served(splits, evaluation)
    learnt = frozenset(str(row["sha256"]) for row in served) | _learnt_groups(served, evaluation)
    groups = len({one.group for one in answers if one.group})
    paths = {name: str(row["path"]) for name, row in records.items()}
    compared = _compared(run, letter, results, scores, groups)
    digests = frozenset(str(row["sha256"]) for row in served if row["sha256"])
    return Contender(run, compared, Answers(answers, learnt), origin, paths, digests, _groups(splits))


def _compared(run: Run, letter: str, results: Results, scores: Scores, groups: int) -> ComparedRun:
    environment, seed = results.environment, results.recipe.get("seed")
    threads = environment.get("threads")
    machine = [environment.get("processor"), environment.get("device"), f"{threads} threads" if threads else None]
    leak = any(finding.name in LEAKS for finding in results.findings)
    return ComparedRun(
        letter=letter,
        name=run.path.resolve().name,
        path=str(run.path),
        model=str(results.architecture["name"]),
        title=str(results.architecture["title"]),
        dataset=str(results.dataset["name"]),
        dataset_hash=str(results.dataset["content_hash"]),
        training=results.training,
        macs=sum(layer.macs for layer in results.layers) or None,
        seed=seed if isinstance(seed, int) else None,
        machine=", ".join(str(part) for part in machine if part),
        classifier_hash=results.content_hash,
        scores=scores,
        groups=groups,
        leak="the audit found images of the same groups, or the same images, in training too" if leak else "",
        history=results.history,
        recipe=recipe_in_words(results.recipe),
    )


def _records(run: Run, evaluation: str) -> dict[str, dict[str, Any]]:
    """Return record id → its row in splits.csv, or in the evaluation's own list of images."""
    file = run.splits_file
    if evaluation not in OWN_EVALUATIONS:
        file = run.evaluation_dir(evaluation) / RECORDS_FILE
        if not file.is_file():
            raise ClassifierError(
                f"{file} is missing, so it is not known which images these were; evaluate again under a new --name."
            )
    rows = read_csv(file)
    if rows and not {"record_id", "path", "group", "sha256"} <= set(rows[0]):
        raise ClassifierError(f"{file} is damaged: it lacks columns.")
    return {row["record_id"]: row for row in rows}


def _answers(run: Run, evaluation: str, records: Mapping[str, dict[str, Any]], scores: Scores) -> tuple[Answer, ...]:
    """Return the stored answers; ClassifierError when they are not those of the figures."""
    file = run.evaluation_dir(evaluation) / "predictions.csv"
    answers = []
    try:
        for row in run.predictions(evaluation):
            record = records[row["record_id"]]
            answers.append(
                Answer(
                    row["record_id"],
                    record["sha256"],
                    record["group"] or "",
                    row["label"],
                    row["predicted"],
                    float(row["probability"]),
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{file} is damaged, or its images are not those of the run: {error!r}.") from error
    strange = {name for one in answers for name in (one.label, one.predicted)} - set(scores.classes)
    right = sum(one.right for one in answers)
    told = scores.accuracy.value if scores.accuracy else None
    if strange or not answers or len(answers) != scores.n or told is None or abs(told * scores.n - right) > 1e-6:
        raise ClassifierError(f"{file} is damaged: its answers are not those of the figures in metrics.json.")
    if len({one.record_id for one in answers}) != len(answers) or not all(one.digest for one in answers):
        raise ClassifierError(f"{file} is damaged: an image stands in it twice, or without its content hash.")
    return tuple(answers)


def _served(splits: Sequence[Mapping[str, Any]], evaluation: str) -> list[Mapping[str, Any]]:
    """Return the rows of splits.csv that served training; for validation images these are the training images alone."""
    return [row for row in splits if row["split"] != "test" and (evaluation != "validation" or row["split"] == "train")]


def _learnt_groups(served: Sequence[Mapping[str, Any]], evaluation: str) -> frozenset[str]:
    """Return the groups that served training, for other data, which names them alike, as `foveal evaluate` does.

    The runs' own images come with groups of splits.csv, which two runs need not name alike: `Contender.groups`.
    """
    if evaluation in OWN_EVALUATIONS:
        return frozenset()
    return frozenset(group_key(row["group"]) for row in served if row["group"])


def _groups(splits: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Return digest → groups; copies of one image may lie in several."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row in splits:
        if row["group"] and row["sha256"]:
            groups[str(row["sha256"])].add(str(row["group"]))
    return {digest: frozenset(names) for digest, names in groups.items()}
