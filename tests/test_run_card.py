"""A run in a notebook: finished, unfinished, damaged, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from card_reading import Card
from foveal.files import write_csv, write_json, write_text
from foveal.run import Run

COLUMNS = (
    "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds",
    "images_per_s", "images", "best",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run of three epochs with a hostile name."""
    made = Run(tmp_path / "<b>a run")
    made.path.mkdir(parents=True)
    write_text(made.recipe_file, 'model = "lenet5"\nepochs = 5\n')
    write_json(made.audit_file, {"dataset": {"name": "<script>x</script>", "n": 1200, "classes": {"a": 1, "b": 2}}})
    rows = [(epoch, 2 / epoch, 0.3 * epoch, 2.1 / epoch, 0.2 * epoch, 0.1, 1, 9, 9, 1) for epoch in (1, 2, 3)]
    write_csv(made.history_file, COLUMNS, rows)
    accuracy = {"value": 0.975, "low": 0.96, "high": 0.985, "level": 0.95, "method": "Wilson"}
    training = {"epochs": 3, "best_epoch": 3, "stopped_early": False, "seconds": 4.2, "parameters": 61706}
    write_json(made.metrics_file, {"test": {"n": 400, "accuracy": accuracy}, "training": training})
    write_text(made.report_file, "the report")
    return made


def test_a_finished_run_shows_its_figures_and_its_report(run):
    card = Card(run._repr_html_())
    for words in ("97.50%", "95% interval 96.00% to 98.50%, Wilson", "400 test images", "3, best 3", "4.2 s", "1,200"):
        assert words in card.text, words
    assert "<b>a run" in card.text
    assert "<script>x</script>" in card.text
    assert card.links == [run.report_file.as_uri()]
    assert [words.split(" over ")[0] for words in card.drawings] == ["Loss", "Accuracy"]
    assert "Best epoch 3" in card.drawings[0]
    assert "Not finished" not in card.text


def test_a_link_is_relative_where_the_run_was_named_so(run, monkeypatch):
    monkeypatch.chdir(run.path.parent)
    assert Card(Run(Path(run.path.name))._repr_html_()).links == ["%3Cb%3Ea%20run/report.html"]


def test_an_unfinished_run_shows_what_there_is(run):
    run.report_file.unlink()
    run.metrics_file.unlink()
    card = Card(run._repr_html_())
    assert "Not finished: 3 of 5 epochs so far" in card.text
    assert "foveal train --resume" in card.text
    assert len(card.drawings) == 2
    assert not card.links


@pytest.mark.parametrize("name", ["history.csv", "metrics.json", "audit.json", "recipe.toml"])
@pytest.mark.parametrize("content", ["", "{", "epoch,best\nx,y\n", '{"test": 3, "training": []}', "model = 1"])
def test_a_damaged_file_takes_only_its_own_part_with_it(run, name, content):
    (run.path / name).write_text(content)
    card = Card(run._repr_html_())
    assert "Report:" in card.text
    assert ("97.50%" in card.text) == (name != "metrics.json")
    assert (len(card.drawings) == 2) == (name != "history.csv")


def test_no_run_at_all(tmp_path):
    card = Card(Run(tmp_path / "nowhere")._repr_html_())
    assert "There is no run at" in card.text
