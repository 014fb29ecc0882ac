"""What can be asked of stored results: whether figures follow from predictions, and pages from figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foveal.classifier.decisions import Decisions
from foveal.errors import FovealError
from foveal.evaluation.full import CalibratedBy, measure_all
from foveal.evaluation.predictions import PREDICTIONS_FILE, Predictions
from foveal.evaluation.predictions_file import read_predictions
from foveal.report.evaluation import EVALUATION_PAGE, render_evaluation
from foveal.report.mistakes import read_mistakes
from foveal.report.same import first_difference
from foveal.run import Run, read_csv, read_json

TOLERANCE = 1e-6  # relative, of recomputed figures: other versions of NumPy and SciPy sum in another order

Measured = Callable[[Predictions], Mapping[str, Any]]  # from predictions to the figures of metrics.json


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a run."""

    name: str
    holds: bool | None  # None: it could not be asked
    sentence: str


def same_words(run: Run) -> bool:
    """Whether `run` was written by this version of Foveal, so that not only its figures but its words can be compared.

    Another version may word a sentence otherwise. That nothing was changed since is then said by the seal alone.
    """
    return run.environment.get("foveal") == version("foveal")


def check_evaluations(
    run: Run,
    decisions: Decisions | None,
    special: Mapping[str, Measured],
    *,
    words: bool,
    calibrated: CalibratedBy | None = None,
) -> Iterator[Check]:
    """Yield, of each evaluation of `run`, whether its figures follow from its predictions, and its page from both.

    `special` names evaluations whose figures are found in another way than by `measure_all` with `decisions` and, of an
    ensemble, how it is `calibrated`. Sentences are compared where `words` says so, see `same_words`.
    """
    for folder in sorted(path for path in (run.path / "evaluations").glob("*") if (path / "metrics.json").is_file()):
        name = folder.name
        measured = special.get(name, lambda predictions: measure_all(predictions, decisions, calibrated=calibrated))
        yield _evaluation(run, folder, measured, words)
        if (folder / EVALUATION_PAGE).is_file():
            yield _evaluation_page(folder, words)


def _evaluation(run: Run, folder: Path, measured: Measured, words: bool) -> Check:
    name = folder.name
    try:
        stored = read_json(folder / "metrics.json")
        predictions = read_predictions(folder / PREDICTIONS_FILE, stored["classes"])
        found = measured(predictions)
        wrong = list(_contradictions(run, folder, predictions, name)) + list(differences(found, stored, words=words))
        whole = run.metrics if run.metrics_file.is_file() else {}
    except (FovealError, KeyError, TypeError) as error:
        return Check(f"evaluation {name}", False, f"Its figures cannot be computed: {error}")
    if name in whole:
        wrong += [f"{line} (in the run's metrics.json)" for line in differences(found, whole[name], words=words)]
    if wrong:
        count = "1 contradiction" if len(wrong) == 1 else f"{len(wrong)} contradictions"
        sentence = f"{count}: {'; '.join(wrong[:5])}{'; …' if len(wrong) > 5 else ''}."
        return Check(f"evaluation {name}", False, sentence)
    return Check(f"evaluation {name}", True, f"Every figure follows from its {len(predictions):,} stored predictions.")


def _evaluation_page(folder: Path, words: bool) -> Check:
    def render() -> str:
        measured, answered = read_json(folder / "metrics.json"), read_csv(folder / PREDICTIONS_FILE)
        return render_evaluation(measured, answered, lambda _: None, read_mistakes(folder))

    return check_page(f"page of {folder.name}", folder / EVALUATION_PAGE, render, pictured=False, words=words)


def check_page(name: str, file: Path, render: Callable[[], str], *, pictured: bool, words: bool) -> Check:
    """Return whether the page in `file` tells what `render` gives again, `pictured` with its images.

    Where the page is another version's, as `words` has it, and reads otherwise, the question stays open.
    """
    try:
        found = render().encode("utf-8", "replace").decode("utf-8")
        stored = file.read_text(encoding="utf-8")
    except (FovealError, OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        return Check(name, False, f"It cannot be written again: {error}")
    place = first_difference(stored, found, pictured=pictured)
    if place is None:
        but = "" if pictured else ", but for its pictures, which were not at hand"
        return Check(name, True, f"Written again from the stored results, it says the same{but}.")
    if not words:
        return Check(name, None, "Another version of Foveal wrote it, and this one words it otherwise.")
    return Check(name, False, f"It and the stored results differ: {place}")


def differences(found: Any, stored: Any, path: str = "", *, words: bool = True) -> Iterator[str]:
    """Yield, in words, each figure of `found` that `stored` has otherwise; with `words`, each text too."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            inner = f"{path}.{key}" if path else str(key)
            if key == "note":  # it also says what is no figure
                continue
            if not isinstance(stored, Mapping) or key not in stored:
                yield f"{inner} is missing"
            else:
                yield from differences(value, stored[key], inner, words=words)
    elif isinstance(found, list | tuple):
        if not isinstance(stored, list) or len(stored) != len(found):
            yield f"{path} has another length"
            return
        for at, value in enumerate(found):
            yield from differences(value, stored[at], f"{path}[{at}]", words=words)
    elif isinstance(found, float) and isinstance(stored, int | float) and not isinstance(stored, bool):
        if not math.isclose(found, stored, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{path} is {stored!r}, and should be {found!r}"
    elif found != stored and (words or not isinstance(found, str)):
        yield f"{path} is {stored!r}, and should be {found!r}"


def _contradictions(run: Run, folder: Path, predictions: Predictions, name: str) -> Iterator[str]:
    """Yield where the columns of predictions.csv contradict each other, or the split."""
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
