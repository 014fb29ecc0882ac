"""One run of a comparison: opened, checked, and its stored answers read with the content of their images.

The folds of one training take part as one: its answers are those out of fold, of every image by the run that has not
seen it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foveal.errors import ClassifierError, nearest
from foveal.evaluation.pairing import Answer, Answers, group_key
from foveal.evaluation.predictions import RECORDS_FILE
from foveal.files import sha256_of
from foveal.report.compared import ComparedRun, recipe_in_words
from foveal.report.folds import FOLDS, OUT_OF_FOLD
from foveal.report.results import Results, Scores, read_results, scores_of
from foveal.run import Run, read_csv, read_json

OWN_EVALUATIONS = ("test", "validation")
LEAKS = {"group-across-splits", "duplicates-across-splits", "group-written-two-ways"}
LEAK = "the audit found images of the same groups, or the same images, in training too"


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
    fold_of: Mapping[str, str]  # digest → the fold whose run answered it and has not seen it; empty for a single run
    images: frozenset[tuple[str, str]]  # digest and label of every image of its data


def open_run(path: Path) -> Run:
    """Return the finished run at `path`, its folder or its classifier's; ClassifierError says what is amiss."""
    home = path.parent if path.name == "classifier" and (path.parent / "recipe.toml").is_file() else path
    run = Run(home)
    if not home.is_dir():
        raise ClassifierError(f"There is no run at {path}.")
    if _holds_folds(home):
        return _open_folds(run)
    inside = sorted(
        file.parent for pattern in ("*", "repeats/*", "sizes/*") for file in home.glob(f"{pattern}/recipe.toml")
    )
    if inside and not run.splits_file.is_file():
        raise ClassifierError(f"{path} holds several runs; name those to compare, as in {inside[0]}.")
    if not run.recipe_file.is_file():
        raise ClassifierError(f"{path} is no run: it holds no recipe.toml.")
    if not run.is_finished:
        raise ClassifierError(f"{path} is not finished; go on with: foveal train --resume {path}")
    files = run.environment.get("files")
    for name, digest in files.items() if isinstance(files, dict) else ():
        file = run.path / name
        if sha256_of(file) != digest:
            raise ClassifierError(f"{file} is missing or was changed after the run began; restore it.")
    return run


def _holds_folds(path: Path) -> bool:
    return (path / FOLDS).is_file()


def _open_folds(run: Run) -> Run:
    """Return the folder of folds, all of them finished and as they were when training began."""
    plan = read_json(run.path / FOLDS)
    folds = fold_runs(run)
    if "out_of_fold" not in plan or not all(one.is_finished for one in folds):
        raise ClassifierError(f"{run.path} is not finished; go on with: foveal train --resume {run.path}")
    for file, key in ((run.recipe_file, "recipe_sha256"), (run.splits_file, "splits_sha256")):
        if sha256_of(file) != plan.get(key):
            raise ClassifierError(f"{file} is missing or was changed after the folds began; restore it.")
    return run


def fold_runs(run: Run) -> list[Run]:
    """Return the runs of a folder of folds; ClassifierError where it does not say how many there are."""
    count = read_json(run.path / FOLDS).get("folds")
    if not isinstance(count, int) or count < 2:
        raise ClassifierError(f"{run.path / FOLDS} is damaged: it does not say how many folds there are.")
    return [Run(run.path / "folds" / str(number)) for number in range(1, count + 1)]


def read_contender(run: Run, letter: str, evaluation: str) -> Contender:
    """Return what a comparison on `evaluation` needs of `run`; ClassifierError when it is missing or damaged.

    Where `run` is a folder of folds, its ``test`` is what was said out of fold.
    """
    folds = fold_runs(run) if _holds_folds(run.path) else []
    if folds and evaluation == "test":
        evaluation = OUT_OF_FOLD
    folder = run.evaluation_dir(evaluation)
    if not folder.is_dir() or evaluation in ("", ".", "..") or folder.parent != run.path / "evaluations":
        have = sorted(one.name for one in (run.path / "evaluations").glob("*") if one.is_dir())
        known = f"{', '.join(have) or 'none'}.{nearest(evaluation, have)}"
        raise ClassifierError(
            f'{run.path} has no evaluation "{evaluation}", only {known} '
            f"Make one with: foveal evaluate {run.path} SOURCE --name NAME"
        )
    results = [read_results(one) for one in folds or [run]]
    stored = read_json(folder / "metrics.json")
    own = stored if evaluation != OUT_OF_FOLD else read_json(folds[0].evaluation_dir("test") / "metrics.json")
    content_hash = _content_hash([one.content_hash for one in results])
    try:
        scores = scores_of(stored)
        bound = str(stored["classifier"]) if evaluation != OUT_OF_FOLD else content_hash
        origin = str(own["dataset"]["origin"])
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{folder / 'metrics.json'} is incomplete or damaged: {error!r}.") from error
    if bound != content_hash:
        raise ClassifierError(f"{folder} holds the answers of another classifier than {run.classifier_dir}.")
    records = _records(run, evaluation)
    answers = _answers(run, evaluation, records, scores)
    if evaluation == OUT_OF_FOLD:
        _refuse_others(folder, folds, answers)
    splits = run.splits
    served = _served(splits, evaluation)
    learnt = frozenset(str(row["sha256"]) for row in served) | _learnt_groups(served, evaluation)
    groups = len({one.group for one in answers if one.group})
    paths = {name: str(row["path"]) for name, row in records.items()}
    compared = _compared(run, letter, results[0], scores, groups)
    if folds:
        compared = _of_folds(compared, run, results, content_hash)
    digests = frozenset(str(row["sha256"]) for row in served if row["sha256"])
    fold_of = {str(row["sha256"]): str(row["fold"]) for row in splits} if evaluation == OUT_OF_FOLD else {}
    images = frozenset((str(row["sha256"]), str(row["label"])) for row in splits)
    return Contender(run, compared, Answers(answers, learnt), origin, paths, digests, _groups(splits), fold_of, images)


def _content_hash(hashes: Sequence[str]) -> str:
    """Return the hash of a classifier, or of several that answer together, as `classifier.ensemble` has it."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _refuse_others(folder: Path, folds: Sequence[Run], answers: Sequence[Answer]) -> None:
    """Raise ClassifierError unless the answers out of fold are those that the folds gave to their test images."""
    given = {row["record_id"]: row["predicted"] for one in folds for row in one.predictions("test")}
    if given != {one.record_id: one.predicted for one in answers}:
        raise ClassifierError(f"{folder} holds other answers than those of the folds; train them anew.")


def _of_folds(first: ComparedRun, run: Run, results: Sequence[Results], content_hash: str) -> ComparedRun:
    """Return what is told of folds: their recipe, the sum of their times, the size of each one's network."""
    findings = read_json(run.path / FOLDS).get("findings", [])
    training = replace(
        first.training,
        epochs=sum(one.training.epochs for one in results),
        seconds=sum(one.training.seconds for one in results),
        images_per_s=None,
    )
    return replace(
        first,
        title=f"{first.title}, {len(results)} folds",
        training=training,
        classifier_hash=content_hash,
        folds=len(results),
        history=(),
        leak=LEAK if any(one.get("name") in LEAKS for one in findings) else "",
        recipe={**first.recipe, "folds": str(len(results))},  # of the first, with what was left open chosen
    )


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
        leak=LEAK if leak else "",
        history=results.history,
        recipe=recipe_in_words(results.recipe),
    )


def _records(run: Run, evaluation: str) -> dict[str, dict[str, Any]]:
    """Return record id → its row in splits.csv, or in the evaluation's own list of images."""
    file = run.splits_file
    if evaluation not in (*OWN_EVALUATIONS, OUT_OF_FOLD):
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
    names = sorted(scores.classes)
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
                    tuple(float(row[f"p:{name}"]) for name in names),
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ClassifierError(f"{file} is damaged, or its images are not those of the run: {error!r}.") from error
    strange = {name for one in answers for name in (one.label, one.predicted)} - set(scores.classes)
    right = sum(one.right for one in answers)
    told = scores.accuracy.value if scores.accuracy else None
    if strange or not answers or len(answers) != scores.n or told is None or abs(told * scores.n - right) > 1e-6:
        raise ClassifierError(f"{file} is damaged: its answers are not those of the figures in metrics.json.")
    if not all(0 <= share <= 1 for one in answers for share in one.probabilities):
        raise ClassifierError(f"{file} is damaged: a probability in it is not between 0 and 1.")
    if len({one.record_id for one in answers}) != len(answers) or not all(one.digest for one in answers):
        raise ClassifierError(f"{file} is damaged: an image stands in it twice, or without its content hash.")
    return tuple(answers)


def _served(splits: Sequence[Mapping[str, Any]], evaluation: str) -> list[Mapping[str, Any]]:
    """Return the rows of splits.csv that served training; for validation images these are the training images alone.

    What was said out of fold was said by a run that the image did not serve.
    """
    if evaluation == OUT_OF_FOLD:
        return []
    return [row for row in splits if row["split"] != "test" and (evaluation != "validation" or row["split"] == "train")]


def _learnt_groups(served: Sequence[Mapping[str, Any]], evaluation: str) -> frozenset[str]:
    """Return the groups that served training, for other data, which names them alike, as `foveal evaluate` does.

    The runs' own images come with groups of splits.csv, which two runs need not name alike: `Contender.groups`.
    """
    if evaluation in (*OWN_EVALUATIONS, OUT_OF_FOLD):
        return frozenset()
    return frozenset(group_key(row["group"]) for row in served if row["group"])


def _groups(splits: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Return digest → groups; copies of one image may lie in several."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row in splits:
        if row["group"] and row["sha256"]:
            groups[str(row["sha256"])].add(str(row["group"]))
    return {digest: frozenset(names) for digest, names in groups.items()}
