"""Compare: finished runs side by side, and tested against each other on the images that they have in common."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from PIL import Image

from foveal.data.catalog import CATALOG, is_named
from foveal.data.dataset import Dataset
from foveal.data.images import picture_of, read_file
from foveal.data.load import load
from foveal.data.sources.manifest import Columns
from foveal.data.sources.tree import DICOM_SUFFIXES, IMAGE_SUFFIXES
from foveal.download import cache_folder
from foveal.errors import FovealError, OutputError, UsageError
from foveal.evaluation.comparison import PairedComparison, adjusted, compare_answers
from foveal.evaluation.paired_bootstrap import (
    MeasureDifference,
    Resampled,
    adjust_differences,
    compare_resampled,
    resampled,
)
from foveal.evaluation.pairing import Common, find_common
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress
from foveal.report.compared import ComparedPair, ComparedRun, Comparison, Disagreement, Said
from foveal.report.comparison_page import write_comparison
from foveal.report.folds import OUT_OF_FOLD
from foveal.report.wording import counted
from foveal.workflows.contender import OWN_EVALUATIONS, Contender, open_run, read_contender

MOST_RUNS = len(ascii_uppercase)


def compare(runs: Sequence[str | Path], *, evaluation: str = "test", out: str | Path | None = None) -> Comparison:
    """Compare finished runs and return what their stored results say.

    Runs are tested against each other, pair by pair, on the same images: those that both answered, by their
    content, and where neither learnt from the image or from others of its group. Nothing is computed anew.

    Args:
        runs: two or more run directories; one with the folds of a training answers with what each run said of
            the images that it had not seen.
        evaluation: ``test``, ``validation``, or the name of an evaluation that every run has.
        out: where to write the page, one HTML file; it must not exist. None: no page.

    Raises:
        UsageError: for fewer than two different runs, or runs that answer different classes.
        ClassifierError: when a run is missing, unfinished, damaged, or lacks the evaluation.
        OutputError: when the page exists already or cannot be written.
    """
    if out is not None and Path(out).exists():
        raise OutputError(f"{out} exists already; choose another --out.")
    contenders = _open_all([Path(run) for run in runs], evaluation)
    compared = tuple(one.compared for one in contenders)
    common, _ = _common(contenders)
    comparison = Comparison(
        evaluation=evaluation,
        runs=compared,
        pairs=tuple(_compare_pairs(contenders)),
        common=common.n,
        disagreements=tuple(_disagreements(common, compared)),
        notes=tuple(_notes(compared, evaluation)),
    )
    if out is None:
        return comparison
    page = write_comparison(comparison, Path(out), pictures_of_any(contenders))
    return dataclasses.replace(comparison, page=page)


def _open_all(paths: list[Path], evaluation: str) -> list[Contender]:
    if len(paths) < 2:
        raise UsageError("A comparison needs at least two runs: foveal compare runs/a runs/b")
    if len(paths) > MOST_RUNS:
        raise UsageError(f"At most {MOST_RUNS} runs can be compared at once, not {len(paths)}.")
    runs = [open_run(path) for path in paths]
    seen: dict[Path, Path] = {}
    for path, run in zip(paths, runs, strict=True):
        first = seen.setdefault(run.path.resolve(), path)
        if first is not path:
            raise UsageError(f"{path} is the same run as {first}; a run cannot be compared with itself.")
    contenders = [read_contender(run, ascii_uppercase[i], evaluation) for i, run in enumerate(runs)]
    classes = [set(one.compared.scores.classes) for one in contenders]
    for one, names in zip(contenders, classes, strict=True):
        if names != classes[0]:
            odd = ", ".join(sorted(names ^ classes[0])[:5])
            both = f"{one.run.path} and {contenders[0].run.path}"
            raise UsageError(f"{both} answer different classes ({odd}), so they cannot be compared.")
    return [_named_alike(one, contenders) for one in contenders]


def _named_alike(contender: Contender, contenders: Sequence[Contender]) -> Contender:
    """Return folds with the hash of the data of another that has the same images: a content hash knows the splits."""
    if not contender.compared.folds:
        return contender
    others = sorted(contenders, key=lambda one: one.compared.folds > 0)  # single runs first
    alike = next(one for one in others if one.images == contender.images)
    named = dataclasses.replace(contender.compared, dataset_hash=alike.compared.dataset_hash)
    return dataclasses.replace(contender, compared=named)


def _compare_pairs(contenders: Sequence[Contender]) -> Iterator[ComparedPair]:
    """Yield every pair of runs, the p-values adjusted for all of them."""
    pairs = list(combinations(contenders, 2))
    joined = [_common(pair) for pair in pairs]
    known = [(pair, common) for pair, (common, _) in zip(pairs, joined, strict=True) if common.n]
    results = iter(adjusted([_result(common) for _, common in known]))
    measures = iter(adjust_differences(list(_measures(known))))
    for (first, second), (common, related) in zip(pairs, joined, strict=True):
        letters = first.compared.letter, second.compared.letter
        sentences = tuple(_left_out(letters, common, related))
        if common.n:
            yield ComparedPair(*letters, next(results), sentences, next(measures))
        else:
            yield ComparedPair(*letters, None, sentences)


def _measures(
    pairs: Sequence[tuple[tuple[Contender, Contender], Common]],
) -> Iterator[tuple[MeasureDifference, ...]]:
    """Yield the differences of each pair; a run on the same images as in another pair is resampled once."""
    made: dict[tuple[str, bytes], Resampled] = {}
    for pair, common in pairs:
        labels, units = common.labels(pair[0].compared.scores.classes), common.units()
        both = []
        for place, one in enumerate(pair):
            asked = "".join(f"{row[place].digest}\0{row[place].record_id}\0{row[place].label}\0" for row in common.rows)
            images = hashlib.sha256(units.tobytes() + asked.encode("utf-8", "surrogatepass"))
            key = one.compared.letter, images.digest()
            if key not in made:
                made[key] = resampled(labels, common.probabilities(place), units)
            both.append(made[key])
        yield compare_resampled(both[0], both[1])


def _common(contenders: Sequence[Contender]) -> tuple[Common, int]:
    """Return the images that count, and how many more do not, since one run learnt from others of their groups.

    A name of a group means something only within one splits.csv: what any of the runs learnt is looked up there
    by its content. So a run that knows no groups, or calls them otherwise, is held to those that another knows.
    """
    common = find_common([one.answers for one in contenders])
    served = frozenset[str]().union(*(one.served for one in contenders))
    related: set[str] = set()
    for groups in (one.groups for one in contenders):
        learnt = frozenset[str]().union(*(groups[digest] for digest in served & groups.keys()))
        related |= {row[0].digest for row in common.rows if not learnt.isdisjoint(groups.get(row[0].digest, ()))}
        for folds in (one.fold_of for one in contenders if one.fold_of):
            related |= _in_several_folds(common, groups, folds)
    rows = tuple(row for row in common.rows if row[0].digest not in related)
    renamed = sum(len({one.record_id for one in row}) > 1 for row in rows)
    return dataclasses.replace(common, rows=rows, renamed=renamed), common.n - len(rows)


def _in_several_folds(common: Common, groups: Mapping[str, frozenset[str]], fold_of: Mapping[str, str]) -> set[str]:
    """Return the digests of images whose groups lie in several folds, so that the run that answered knows the group."""
    folds: defaultdict[str, set[str]] = defaultdict(set)
    for digest, fold in fold_of.items():
        for group in groups.get(digest, ()):
            folds[group].add(fold)
    torn = {group for group, where in folds.items() if len(where) > 1}
    return {row[0].digest for row in common.rows if not torn.isdisjoint(groups.get(row[0].digest, ()))}


def _result(common: Common) -> PairedComparison:
    return compare_answers(common.right(0), common.right(1), common.units())


def _left_out(letters: tuple[str, str], common: Common, related: int) -> Iterator[str]:
    """Yield what must be said of the images of one pair; nothing when both answered the same ones."""
    reasons = [
        *(
            f"{counted(count, 'image')} that only {letters[i]} was tested on"
            for i, count in enumerate(common.alone)
            if count
        ),
        *(
            f"{counted(count, 'image')} of {letters[i]}'s that served training or validation of one of the two"
            for i, count in enumerate(common.learnt)
            if count
        ),
    ]
    if common.relabelled:
        reasons.append(f"{counted(common.relabelled, 'image')} to which the two give different true classes")
    if related:
        reasons.append(f"{counted(related, 'image')} where one of the two learnt from other images of the same groups")
    if reasons:
        images = "the same images" if common.same_images else "different images"
        kept = "those that count for both" if common.n else "none, since none counts for both"
        yield f"{letters[0]} and {letters[1]} were tested on {images} and are compared on {kept}; left out: " + (
            ", ".join(reasons) + "."
        )
    if common.renamed:
        images = counted(common.renamed, "image")
        yield f"{images} lie under other record ids in the two runs, and were joined by content."


def _disagreements(common: Common, runs: Sequence[ComparedRun]) -> list[Disagreement]:
    """Return the images on which the runs differ: those that split them most evenly first, then confident mistakes."""
    found = [
        Disagreement(
            row[0].record_id,
            row[0].digest,
            row[0].label,
            tuple(
                Said(run.letter, one.predicted, one.probability, one.right) for run, one in zip(runs, row, strict=True)
            ),
        )
        for row in common.rows
        if len({one.predicted for one in row}) > 1
    ]

    def instructive(one: Disagreement) -> tuple[float, float, str]:
        worst = max(said.probability for said in one.said if not said.right)
        return (abs(one.right - len(one.said) / 2), -worst, one.record_id)

    return sorted(found, key=instructive)


def _notes(runs: Sequence[ComparedRun], evaluation: str) -> Iterator[str]:
    """Yield what must be said beside the figures."""
    if len({run.dataset_hash for run in runs}) > 1:
        names = "; ".join(f"{run.letter} {run.dataset}, content {run.dataset_hash[:8]}" for run in runs)
        yield f"The runs were trained on different data ({names})."
    if evaluation == "validation":
        yield "Each run chose its best epoch by validation images, so figures on them are too good."
    elif evaluation not in (*OWN_EVALUATIONS, OUT_OF_FOLD):
        yield f"The evaluation “{evaluation}” is of images that were not part of the runs' own data."
    for run in runs:
        if run.folds and evaluation in ("test", OUT_OF_FOLD):
            yield (
                f"{run.letter} is {run.folds} folds: each image was answered by the one of its {run.folds} runs that "
                f"had not seen it, so its figures are those of its recipe, not of one classifier."
            )
        if run.leak and evaluation in (*OWN_EVALUATIONS, OUT_OF_FOLD):
            yield f"{run.letter}: {run.leak}, so its figure is too good."
    for first, second in combinations(runs, 2):
        if first.classifier_hash == second.classifier_hash:
            yield f"{first.letter} and {second.letter} hold the same classifier, byte by byte."
    if len({run.machine for run in runs}) > 1:
        yield (
            "The times were not taken under the same conditions: "
            + "; ".join(f"{run.letter} {run.machine}" for run in runs)
            + "."
        )


def pictures_of_any(contenders: Sequence[Contender]) -> Callable[[str], Image.Image | None]:
    """Return a function from content hash to the picture, or None where no run's images can be found any more.

    A picture is shown only when its content is still what was tested.
    """
    places: defaultdict[str, list[tuple[Contender, str]]] = defaultdict(list)
    for contender in contenders:
        for answer in contender.answers.answers:
            places[answer.digest].append((contender, answer.record_id))
    loaded: dict[str, Dataset | None] = {}

    def picture(digest: str) -> Image.Image | None:
        for contender, record_id in places[digest]:
            try:
                found = _picture_at(Path(contender.paths.get(record_id, "")), digest)
                if found is None:
                    if contender.origin not in loaded:
                        loaded[contender.origin] = _source(contender)
                    found = _picture_in(loaded[contender.origin], record_id, digest)
            except (UnreadableImageError, OSError):
                continue
            if found is not None:
                return found
        return None

    return picture


def _picture_at(path: Path, digest: str) -> Image.Image | None:
    """Return the picture in an image file, when it is still there and the same."""
    if path.suffix.lower() not in IMAGE_SUFFIXES | DICOM_SUFFIXES or not path.is_file():
        return None
    content = read_file(path)
    return picture_of(content) if hashlib.sha256(content).hexdigest() == digest else None


def _source(contender: Contender) -> Dataset | None:
    """Return the dataset that the images come from, or None when it is not there any more. Nothing is downloaded."""
    recipe, origin = contender.run.recipe, contender.origin
    own = origin == recipe.get("source")
    data_dir = recipe.get("data_dir") if own else None
    try:
        if not origin:
            return None
        if is_named(origin) and data_dir is None and not Path(origin).exists():
            data_dir = _kept(origin)
        return load(origin, columns=_columns(recipe) if own else None, data_dir=data_dir)
    except FovealError:
        return None


def _columns(recipe: Mapping[str, Any]) -> Columns:
    path, label, group, source, split = (
        recipe.get(f"{name}_column") for name in ("path", "label", "group", "source", "split")
    )
    return Columns(path, label, group, source, split)


def _kept(name: str) -> Path | None:
    """Return where the files of a published data set were kept; None for one that needs no files."""
    entry = CATALOG[name.replace("-", "_").partition(":")[0]]
    return cache_folder() if entry.files else None


def _picture_in(dataset: Dataset | None, record_id: str, digest: str) -> Image.Image | None:
    if dataset is None:
        return None
    rows = (dataset.record_ids == record_id).nonzero()[0]
    if not len(rows) or dataset.images.take(rows).scan(Progress(silent=True)).digests[0] != digest:
        return None
    return dataset.images.picture(int(rows[0]))
