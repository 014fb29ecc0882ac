"""The page of a comparison: whole, closed, escaped, and drawn where it says."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluation.comparison import adjusted, compare_answers
from foveal.evaluation.interval import Estimate
from foveal.evaluation.paired_bootstrap import MeasureDifference
from foveal.report import comparison_wording as say
from foveal.report.compared import ComparedPair, ComparedRun, Comparison, Disagreement, Said
from foveal.report.comparison_figures import Scale, forest_row, logarithmic_ticks, overlays, scale_of
from foveal.report.comparison_page import MOST_IN_A_GROUP, disagreement_groups, render_comparison, write_comparison
from foveal.report.results import Scores, Training
from foveal.training.history import EpochRow

TRAINED = {"epochs": 12, "best_epoch": 12, "seconds": 18.0, "parameters": 61706, "images_per_s": 900.0}
TRAINING = Training(**dict.fromkeys(Training.__dataclass_fields__, False) | TRAINED)


def history(last: float) -> tuple[EpochRow, ...]:
    values = np.linspace(2.0, last, 12)
    fields = {"learning_rate": 0.01, "seconds": 1.5, "images_per_s": 900.0, "best": 0}
    return tuple(
        EpochRow(**{name: fields.get(name, 0.0) for name in EpochRow.__dataclass_fields__} | row)
        for row in (
            {
                "epoch": epoch,
                "train_loss": float(loss),
                "train_accuracy": 0.9,
                "validation_loss": float(loss),
                "validation_accuracy": 1 - float(loss) / 4,
            }
            for epoch, loss in enumerate(values, 1)
        )
    )


def run(letter: str, name: str = "", accuracy: float = 0.9, **changes: object) -> ComparedRun:
    made = ComparedRun(
        letter=letter,
        name=name or f"run-{letter.lower()}",
        path=f"runs/{letter}",
        model="lenet5",
        title="LeNet-5",
        dataset="pets",
        dataset_hash="d",
        training=TRAINING,
        macs=416520,
        seed=0,
        machine="cpu",
        classifier_hash=letter * 12,
        scores=Scores(
            100, Estimate(accuracy, accuracy - 0.05, accuracy + 0.04, 0.95, "Wilson"), 0.3, 0.9, (), (), (), ""
        ),
        groups=0,
        leak="",
        history=history(0.2),
        recipe={"model": "lenet5", "seed": str(ord(letter))},
    )
    return replace(made, **changes)


def comparison(*runs: ComparedRun, disagreements: int = 3, label: str = "cat") -> Comparison:
    first, second = np.arange(100) < 90, (np.arange(100) < 80) | (np.arange(100) > 97)
    letters = [one.letter for one in runs]
    pairs = [(a, b) for i, a in enumerate(letters) for b in letters[i + 1 :]]
    results = adjusted([compare_answers(first, second) for _ in pairs])
    said = [Said(one, label if one == "A" else "dog", 0.7, one == "A") for one in letters]
    found = tuple(Disagreement(f"i{n}", f"content {n}", label, tuple(said)) for n in range(disagreements))
    together = tuple(ComparedPair(a, b, one, ()) for (a, b), one in zip(pairs, results, strict=True))
    return Comparison("test", runs, together, 100, found, ())


class Parts(HTMLParser):
    """Counts of elements; the addresses that anything would be loaded from."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href") and tag != "a"]


def test_the_page_loads_nothing_and_runs_nothing(picture):
    parts = Parts(render_comparison(comparison(run("A"), run("B")), picture))
    assert all(address.startswith("data:") for address in parts.addresses)
    assert "script" not in parts.counts
    assert parts.counts["img"] == 3


def test_names_are_escaped(picture, hostile):
    names = [run("A", hostile[0]), run("B", hostile[2], recipe={hostile[1]: hostile[4]})]
    html = render_comparison(comparison(*names, label=hostile[0]), picture)
    parts = Parts(html)
    assert "script" not in parts.counts
    assert html.count("<img") == 3
    assert "&lt;script&gt;" in html


def test_what_two_runs_say(picture):
    html = render_comparison(comparison(run("A"), run("B", accuracy=0.8)), picture)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "+8.00 points of accuracy" in text
    assert "Of 100 images, only A is right on 10 and only B on 2." in text
    assert "McNemar&#39;s test, exact: p = 0.039" in text
    assert "not their recipes" in text
    assert "Only A is right: 3 images" in text


def test_more_than_two_runs_are_warned_of_selection(picture):
    two = render_comparison(comparison(run("A"), run("B")), picture)
    three = render_comparison(comparison(run("A"), run("B"), run("C")), picture)
    assert "is a selection on these images" not in two
    assert "3 runs were compared. Taking the best" in three
    assert three.count('class="fourfold"') == 3
    assert "for 3 pairs (Holm) p = 0.12" in three


def test_measures_beside_accuracy_stand_in_one_table(picture):
    loss = Estimate(-0.031, -0.05, -0.012, 0.95, "percentiles")
    measures = (
        MeasureDifference("macro AUC", 0.9, 0.9, None, None, None),
        MeasureDifference("log loss", 0.3, 0.331, loss, 0.004, 0.012),
    )
    base = comparison(run("A"), run("B"), run("C"))
    html = render_comparison(replace(base, pairs=tuple(replace(one, measures=measures) for one in base.pairs)), picture)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert html.count('class="measures"') == 1 and text.count("log loss (lower is better)") == 3
    assert "0.3000 0.3310 −0.0310 −0.0500 to −0.0120 0.012" in text
    assert "A − B: macro AUC: no interval, since a class has too few images" in text
    assert "2,000 paired resamples" in text and "Accuracy, AUC and loss" not in render_comparison(base, picture)


def test_a_pair_without_images_and_missing_pictures(tmp_path):
    base = comparison(run("A"), run("B"))
    empty = replace(base, pairs=(ComparedPair("A", "B", None, ("nothing in common",)),), common=0, disagreements=())
    html = write_comparison(empty, tmp_path / "page.html", lambda digest: None).read_text("utf-8")
    assert "nothing can be said of a difference" in html
    assert "nothing in common" in html
    assert "pictures cannot be found from here" in render_comparison(base, lambda digest: None)


def test_a_run_without_epochs_and_one_that_diverged(picture):
    diverged = tuple(replace(row, validation_loss=float("nan")) for row in history(0.5))
    html = render_comparison(comparison(run("A", history=()), run("B", history=diverged)), picture)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", html).split("<main")[1].lower().replace("finance", "")
    assert render_comparison(comparison(run("A", history=()), run("B", history=())), picture)


def test_many_runs(picture):
    letters = "ABCDEFGHIJ"
    html = render_comparison(comparison(*(run(one) for one in letters)), picture)
    assert "<h1>10 runs</h1>" in html
    assert html.count('class="fourfold"') == 45


def test_long_lists_of_images_are_cut():
    ((heading, members),) = disagreement_groups(comparison(run("A"), run("B"), disagreements=60))
    assert len(members) == MOST_IN_A_GROUP
    assert heading == "Only A is right: the first 24 of 60 images"


# --- drawings ---


def test_an_interval_lies_where_its_numbers_are():
    scale = Scale((0.9, 1.0))
    drawn = str(forest_row(Estimate(0.95, 0.92, 0.98, 0.95, "Wilson"), scale, "run-0"))
    low, high = (float(one) for one in re.search(r"M([\d.]+) 13H([\d.]+)", drawn).groups())
    centre = float(re.search(r'cx="([\d.]+)"', drawn).group(1))
    assert low < centre < high
    assert centre == pytest.approx((scale.x(0.9) + scale.x(1.0)) / 2)


shares = st.floats(0, 1)


@given(st.lists(st.tuples(shares, shares, shares).map(sorted), min_size=1, max_size=5), st.booleans())
def test_a_scale_holds_every_interval(triples, through_zero):
    estimates = [Estimate(value, low, high, 0.95, "") for low, value, high in triples]
    scale = scale_of(estimates, through_zero=through_zero)
    assert len(scale.ticks) >= 2
    for one in estimates:
        assert (
            scale.x(scale.ticks[0]) - 0.01 <= scale.x(one.low) <= scale.x(one.high) <= scale.x(scale.ticks[-1]) + 0.01
        )


@given(st.floats(1e-7, 1e6), st.floats(1, 1e7))
def test_logarithmic_ticks_enclose(low, factor):
    ticks = logarithmic_ticks(low, low * factor)
    assert ticks[0] <= max(low, 1e-6) * 1.001
    assert ticks[-1] >= low * factor * 0.999
    assert list(ticks) == sorted(set(ticks))
    assert 2 <= len(ticks) <= 20


def test_curves_end_at_their_last_epoch():
    loss, accuracy, timed = overlays([run("A"), run("B", history=history(0.1)[:6])])
    assert [curve.points[-1][0] for curve in loss.curves] == [12, 6]
    assert timed.curves[0].points[-1] == (pytest.approx(18.0), accuracy.curves[0].points[-1][1])
    assert loss.at((0, 1.0))[1] > loss.at((0, 2.0))[1]


# --- words ---


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.00001, "p < 0.0001"),
        (0.0002, "p = 0.0002"),
        (0.0312, "p = 0.031"),
        (0.04996, "p = 0.0500"),
        (0.5, "p = 0.50"),
    ],
)
def test_p_values(p, said):
    assert say.p_value(p) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.0123, "+1.23"), (-0.0123, "−1.23"), (0.0, "0.00"), (0.00001, "+<0.01"), (-0.00001, "−<0.01")]
)
def test_points(value, said):
    assert say.points(value) == said


def test_a_share_is_never_rounded_to_all_or_nothing():
    assert say.share(0.99999).startswith(">99.99")
    assert say.share(0.00001).startswith("<0.01")
    assert say.share(1.0) == "100.00\N{NO-BREAK SPACE}%"


def test_an_interval_without_0_beside_a_test_that_does_not_reject_is_explained():
    first, second = np.array([True] * 5 + [False] * 5), np.zeros(10, bool)
    result = compare_answers(first, second)
    assert result.p_value > 0.05 and result.difference.low > 0
    pair = ComparedPair("A", "B", result, ())
    assert "leaves 0 out" in say.strictness(pair)
    assert "do not tell the two apart" in say.verdict(pair)
