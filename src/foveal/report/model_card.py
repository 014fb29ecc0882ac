"""MODEL_CARD.md: what somebody must know who did not train the classifier, with front matter for Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from foveal.report import acting, doubtful, figures, reliability, wording
from foveal.report.results import Results
from foveal.web import asset
from foveal.web.svg import printable

HERE = "foveal.report"
TEMPLATE = "MODEL_CARD.md.jinja"
OUT_OF_FOLD = (
    "Out of fold: each image by the one of {} classifiers that had seen neither it nor any other of its group (what "
    "they answer together, by the mean of their probabilities, is not measured)"
)
MARKS = "\\`*_{}[]<>#|"  # of Markdown, and of HTML in it


def model_card(results: Results, folds: int = 0) -> str:
    """Return the card of a run as Markdown; every text that comes from outside is escaped in it.

    With `folds`, `results` are those of so many folds: what was tested are the answers out of fold.
    """
    return _template().render(
        results=results,
        test=results.test,
        measured=results.tested.measured,
        name=f"{results.architecture['name']} on {results.dataset['name']}{f', {folds} folds' if folds else ''}",
        asked=OUT_OF_FOLD.format(folds) if folds else "Test split, asked once",
        split="out of fold" if folds else "test",
        evaluation="out-of-fold" if folds else "test",
        say=wording,
        figures=figures,
        reliability=reliability,
        doubtful=doubtful,
        acting=acting,
        line=line,
        lines=lambda names: ", ".join(line(name) for name in names),
        front=lambda text: json.dumps(printable(str(text)), ensure_ascii=False),
        gate_sentence=_gate_sentence(results),
        limits=list(_limits(results)),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(lambda name: asset(HERE, name)),
        autoescape=False,  # it is no HTML; `line` escapes
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def line(text: object) -> str:
    """Return `text` as one line of Markdown that shows it as it is."""
    shown = printable(str(text))
    return "".join(f"\\{letter}" if letter in MARKS else letter for letter in shown)


def _gate_sentence(results: Results) -> str:
    if "gate" not in results.tested.measured:
        return "It answers with one of them whatever it is shown: it has no gate against foreign images."
    alarms = results.tested.measured["gate"]["share"]
    return (
        f"It abstains from images that do not resemble those it learnt from; of the test images, which do, it takes "
        f"{wording.percent(alarms['value'])} for foreign."
    )


def _limits(results: Results) -> Iterator[str]:
    """Yield what the figures do not say."""
    yield "The figures hold for images from where these come from. On those of another place they are not known."
    for finding in results.findings:
        yield finding.sentence
    if not results.dataset.get("n_groups"):
        yield "The source names no patients or other groups, so related images may lie on both sides of the split."
    small = [name for name, one in results.tested.measured["per_class"].items() if one.get("too_small")]
    if small:
        yield f"Too few independent test images to say anything of: {', '.join(small)}."
    if "robustness" not in results.tested.measured:
        yield "How it bears noise, blur and other corruption is not part of this card; see foveal robustness."
