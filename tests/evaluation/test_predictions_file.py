"""predictions.csv, Foveal's own and another tool's: read as it is, or refused with every row at fault."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

import foveal
from foveal.errors import DataError
from foveal.evaluation.predictions import Predictions, write_predictions
from foveal.evaluation.predictions_file import read_predictions


def written(path: Path, n: int = 40) -> Predictions:
    rng = np.random.default_rng(1)
    p = np.round(rng.dirichlet(np.ones(3), n), 9)
    given = Predictions(
        ("a", "b", 'c, "d"'),
        tuple(f"r{row}" for row in range(n)),
        rng.integers(0, 3, n),
        p,
        raw=np.round(rng.dirichlet(np.ones(3), n), 9),
        units=np.array([f"u{row // 2}" for row in range(n)]),
        columns={"site": np.array(["x", "y"] * (n // 2))},
    )
    write_predictions(path, given)
    return given


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    given = written(tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv")
    assert found.classes == given.classes and found.record_ids == given.record_ids
    assert np.array_equal(found.labels, given.labels)
    assert np.allclose(found.probabilities, given.probabilities, atol=1e-12)
    assert found.raw is not None and given.raw is not None and np.allclose(found.raw, given.raw, atol=1e-12)
    assert found.units is not None and given.units is not None and found.units.tolist() == given.units.tolist()
    assert set(found.columns) == {"site"}


def table(tmp_path: Path, *rows: str, header: str = "image,target,cat,dog") -> Path:
    file = tmp_path / "other.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def test_another_tools_table_gives_scikit_learns_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    p, labels = rng.random(60).round(4), rng.integers(0, 2, 60)
    rows = [f"i{row},{['cat', 'dog'][labels[row]]},{1 - p[row]:.4f},{p[row]:.4f}" for row in range(60)]
    found = foveal.measure(table(tmp_path, *rows), classes=["cat", "dog"])
    both = np.stack([1 - p, p], axis=1)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(labels, both.argmax(axis=1)))
    assert found["loss"] == pytest.approx(log_loss(labels, both))
    assert found["per_class"]["dog"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, p))


def test_another_order_of_classes_changes_no_figure(tmp_path: Path) -> None:
    written(tmp_path / "p.csv")
    one = foveal.measure(tmp_path / "p.csv")
    other = foveal.measure(tmp_path / "p.csv", classes=['c, "d"', "a", "b"])
    for figure, same in (
        (one["accuracy"], other["accuracy"]),
        (one["per_class"]["a"]["auc"], other["per_class"]["a"]["auc"]),
    ):
        assert [figure[end] for end in ("value", "low", "high")] == pytest.approx(
            [same[end] for end in ("value", "low", "high")]
        )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("i,cat,,0.5", "line 3: a probability is missing"),
        ("i,cat,nan,0.5", "line 3: a probability is no finite number"),
        ("i,cat,x,0.5", "line 3: 'x' is no number"),
        ("i,cat,-0.1,1.1", "line 3: the probability -0.1 is below 0"),
        ("i,cat,0.5,0.6", "line 3: its probabilities sum to 1.1, not 1"),
        ("i,cow,0.5,0.5", 'labels that are none of its classes (cat, dog):\n  line 3: "cow"'),
        ("i,cat,50,50", "sum to 100, not 1"),
        ("first,cat,0.5,0.5", "names records more than once"),
        ("i,cat,0.5", "line 3: 3 cells"),
    ],
)
def test_a_row_at_fault_is_named_and_nothing_is_repaired(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_predictions(table(tmp_path, "first,dog,0.4,0.6", row), ["cat", "dog"])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("image,cat,dog,x", "no column for the true class"),
        ("image,label,cat,cow", "no probabilities of two or more classes"),
        ("image,label,cat,cat", "columns of the same name: cat"),
    ],
)
def test_a_table_that_lacks_something_says_what(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_predictions(table(tmp_path, "i,cat,0.5,0.5", header=header), ["cat", "dog"])


def test_missing_and_extra_classes_are_named(tmp_path: Path) -> None:
    written(tmp_path / "p.csv")
    with pytest.raises(DataError, match="lacks e and has also b"):
        read_predictions(tmp_path / "p.csv", ["a", "e", 'c, "d"'])


def test_one_group_only_and_one_image_give_figures_that_say_so(tmp_path: Path) -> None:
    rows = [f"i{row},{'cat' if row % 2 else 'dog'},0.5,0.5,p1" for row in range(6)]
    found = foveal.measure(table(tmp_path, *rows, header="image,target,cat,dog,patient"), classes=["cat", "dog"])
    assert found["units"] == 1 and found["too_small"]
    assert found["accuracy"]["low"] < 0.1 and found["accuracy"]["high"] > 0.9
    alone = foveal.measure(table(tmp_path, "i,cat,0.7,0.3"), classes=["cat", "dog"])
    assert alone["n"] == 1 and alone["per_class"]["dog"]["recall"] is None


def test_slices_of_a_column_that_is_not_there_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "p.csv")
    with pytest.raises(DataError, match='no column "sites"'):
        foveal.measure(tmp_path / "p.csv", by=["sites"])
    found = foveal.measure(tmp_path / "p.csv", by=["site"], prevalence={"a": 0.02})
    assert found["slices"][0]["column"] == "site"
    assert found["per_class"]["a"]["stated_prevalence"] == 0.02


def test_the_figures_follow_the_published_schema(tmp_path: Path) -> None:
    validation = pytest.importorskip("jsonschema")
    from importlib.resources import files

    schema = json.loads(files("foveal.evaluation").joinpath("metrics.schema.json").read_text("utf-8"))
    written(tmp_path / "p.csv")
    found = foveal.measure(tmp_path / "p.csv", by=["site"], out=tmp_path / "m.json")
    validation.validate(json.loads((tmp_path / "m.json").read_text()), schema)
    validation.validate(json.loads(json.dumps(found)), schema)
    wrong = {**found, "accuracy": {**found["accuracy"], "value": None}}
    with pytest.raises(validation.ValidationError):
        validation.validate(wrong, schema)
