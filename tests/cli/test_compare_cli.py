"""foveal compare on the command line: two real runs, the table, the page, and one sentence for what is wrong."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow  # two short trainings


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two short runs on the digits, which both evaluate the same other images."""
    import foveal

    folder = tmp_path_factory.mktemp("runs")
    options = {"epochs": 2, "threads": 1, "progress": False}
    foveal.train("digits", model="mlp", out=folder / "mlp", **options)
    foveal.train("digits", model="simple_cnn_p4", out=folder / "small", **options)
    return folder


def test_the_table_and_the_page(runs, tmp_path, foveal_cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    page = tmp_path / "compare.html"
    done = foveal_cli("compare", runs / "mlp", runs / "small", "--out", page)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["A", "mlp", "B", "small"]
    assert lines[1].split()[0] == "Network"
    assert any(line.startswith("recipe") and line.split() == ["recipe", "A", "B"] for line in lines)
    assert "McNemar's test, exact: p" in done.out
    assert "Of 270 images, only A is right on" in done.out
    assert "log loss (lower is better): " in done.out
    assert lines[-1] == f"page  {page}"
    html = page.read_text("utf-8")
    assert html.count("<img") >= 1  # pictures of the digits that they disagree on
    assert "picture cannot be found" not in html


def test_the_figures_as_json(runs, foveal_cli):
    stored = json.loads(foveal_cli("compare", runs / "mlp", runs / "small", "--json").out)
    (pair,) = stored["pairs"]
    assert [one["measure"] for one in pair["measures"]] == ["accuracy", "macro AUC", "log loss"]
    assert stored["runs"][0]["n"] == pair["mcnemar"]["n"] == 270


def test_a_narrow_terminal_gets_the_runs_below_each_other(runs, foveal_cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    done = foveal_cli("compare", runs / "mlp", runs / "small")
    table = done.out.split("\nrecipe")[0].splitlines()
    assert sum(line.startswith("Network") for line in table) == 2
    assert max(map(len, table)) <= 60


def test_evaluations_of_other_data_are_joined_by_content(runs, foveal_cli):
    """The digits that both tested, evaluated once more as other data: the same answers, so the same figures."""
    import numpy as np
    from sklearn.datasets import load_digits

    import foveal

    own = {row["record_id"] for row in foveal.Run(runs / "mlp").splits if row["split"] == "test"}
    rows = [int(one) for one in sorted(own)]
    digits = load_digits()
    images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
    source = foveal.load(images, [str(one) for one in digits.target[rows]], name="again")
    for name in ("mlp", "small"):
        foveal.evaluate(runs / name, source, progress=False)
    own_images, again = (foveal.compare([runs / "mlp", runs / "small"], evaluation=name) for name in ("test", "again"))
    assert again.pairs[0].result == own_images.pairs[0].result
    assert "not part of the runs' own data" in again.notes[0]


def test_one_sentence_for_what_is_wrong(runs, tmp_path, foveal_cli):
    for words, code, says in (
        ((runs / "mlp",), 2, "at least two runs"),
        ((runs / "mlp", runs / "mlp"), 2, "the same run"),
        ((runs / "mlp", tmp_path / "none"), 5, "There is no run"),
        ((runs / "mlp", runs / "small", "--evaluation", "spring"), 5, 'no evaluation "spring"'),
        ((runs / "mlp", runs / "small", "--out", runs / "mlp" / "report.html"), 6, "exists already"),
    ):
        done = foveal_cli("compare", *words)
        assert (done.code, done.out) == (code, "")
        assert says in done.err and len(done.err.splitlines()) == 1
