"""foveal data split: by lot, by time, by source and into folds; proved clean, laid over, refused where it cannot be."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import foveal
from foveal.cli.app import app
from foveal.data.overlay import laid_over
from foveal.errors import DataError, OutputError, UsageError
from foveal.workflows.divide import divide

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def clinic() -> foveal.Dataset:
    """200 images of 50 patients, two classes, two sites."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(50), 4)
    images = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    return foveal.load(
        images,
        patients % 2,
        groups=[f"p{one}" for one in patients],
        sources=[f"site {one % 3}" for one in patients // 2],
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def groups_of(file: Path) -> dict[str, set[str]]:
    return {split: {row["group"] for row in rows(file) if row["split"] == split} for split in SPLITS}


def test_by_lot_no_group_is_torn_and_the_shares_are_met(clinic, tmp_path):
    made = divide(clinic, tmp_path / "s.csv", seed=1, test=0.2, progress=False)
    groups = groups_of(tmp_path / "s.csv")
    assert sum(map(len, groups.values())) == 50 and made.counts[0]["test"] == pytest.approx(40, abs=4)
    assert "No group and no exact copy lies in two splits: 50 groups" in made.sentences[0]
    laid = laid_over(clinic, tmp_path / "s.csv")
    assert (laid.given_splits == "test").sum() == made.counts[0]["test"]
    assert foveal.train(laid, model="mlp", epochs=1, out=tmp_path / "run", progress=False).is_finished


def test_folds_test_every_image_once(clinic, tmp_path):
    made = divide(clinic, tmp_path / "f.csv", folds=5, progress=False)
    assert [file.name for file in made.files] == [f"f-{number}.csv" for number in range(1, 6)]
    tested = [row["record_id"] for file in made.files for row in rows(file) if row["split"] == "test"]
    assert sorted(tested) == sorted(clinic.record_ids.tolist())


def test_each_source_is_left_out_once(clinic, tmp_path):
    made = divide(clinic, tmp_path / "s.csv", by="source", progress=False)
    assert [file.name for file in made.files] == ["s-site-0.csv", "s-site-1.csv", "s-site-2.csv"]
    for number, file in enumerate(made.files):
        assert {row["source"] for row in rows(file) if row["split"] == "test"} == {f"site {number}"}
        assert f"site {number}" not in {row["source"] for row in rows(file) if row["split"] != "test"}


def test_by_time_the_latest_groups_are_tested(clinic, tmp_path):
    with (tmp_path / "dates.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record_id", "date"])
        for row, record in enumerate(clinic.record_ids.tolist()):
            writer.writerow([record, f"2024-{1 + row // 20:02d}-{1 + row % 20:02d}"])
    divide(clinic, tmp_path / "t.csv", by="time", dates=tmp_path / "dates.csv", test=0.2, progress=False)
    groups = {split: {int(name[1:]) for name in names} for split, names in groups_of(tmp_path / "t.csv").items()}
    assert max(groups["train"]) < min(groups["validation"]) <= max(groups["validation"]) < min(groups["test"])
    assert groups["test"] == set(range(40, 50))


def dated(clinic: foveal.Dataset, file: Path, pattern: str) -> Path:
    """Write a date for each record, a day later every four images, as `pattern` has it."""
    days = [date(2023, 12, 1) + timedelta(days=row // 4) for row in range(len(clinic))]
    lines = [f"{record},{day:{pattern}}\n" for record, day in zip(clinic.record_ids.tolist(), days, strict=True)]
    file.write_text("record_id,date\n" + "".join(lines))
    return file


@pytest.mark.parametrize("pattern", ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d"])
def test_dates_that_begin_with_the_year_put_the_latest_into_the_test(clinic, tmp_path, pattern):
    divide(clinic, tmp_path / "t.csv", by="time", dates=dated(clinic, tmp_path / "d.csv", pattern), progress=False)
    groups = {split: {int(name[1:]) for name in names} for split, names in groups_of(tmp_path / "t.csv").items()}
    assert max(groups["train"]) < min(groups["validation"]) and max(groups["validation"]) < min(groups["test"])


@pytest.mark.parametrize("pattern", ["%d/%m/%Y", "%m-%d-%Y", "%d%m%Y", "%Y3%m%d", "%Y-13-%d", "%y-%m-%d12"])
def test_dates_of_another_kind_are_refused_and_not_put_into_a_wrong_order(clinic, tmp_path, pattern):
    dates = dated(clinic, tmp_path / "d.csv", pattern)
    with pytest.raises(DataError, match=r"200 images have no date \(YYYY-MM-DD or YYYYMMDD\)"):
        divide(clinic, tmp_path / "t.csv", by="time", dates=dates, progress=False)
    assert not (tmp_path / "t.csv").exists()


def test_what_cannot_be_divided_is_refused_and_nothing_written(clinic, tmp_path):
    out = tmp_path / "s.csv"
    with pytest.raises(DataError, match="200 images have no date"):
        divide(clinic, out, by="time", progress=False)
    with pytest.raises(UsageError, match='not by "tiem"'):
        divide(clinic, out, by="tiem", progress=False)
    for count in (1, 0, 2.5):
        with pytest.raises(UsageError, match="Folds are two or more"):
            divide(clinic, out, folds=count, progress=False)
    with pytest.raises(UsageError, match="no file of dates"):
        divide(clinic, out, by="time", dates=tmp_path / "none.csv", progress=False)
    with pytest.raises(UsageError, match="Folds are drawn at random"):
        divide(clinic, out, by="time", folds=3, progress=False)
    with pytest.raises(DataError, match="at least 26 different images"):
        divide(clinic, out, folds=26, progress=False)
    plain = foveal.load(np.asarray(clinic.images.pixels), clinic.labels)
    with pytest.raises(DataError, match="every image needs a source"):
        divide(plain, out, by="source", progress=False)
    assert not list(tmp_path.iterdir())
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        divide(clinic, out, progress=False)


@pytest.mark.parametrize("how", [{"folds": 3}, {"by": "source"}, {"by": "time"}, {}])
@pytest.mark.parametrize("share", [0.0, -0.2, 0.9, 1.5])
def test_a_share_that_is_none_is_refused_however_the_source_is_divided(clinic, tmp_path, how, share):
    with pytest.raises(UsageError, match="are shares above 0 that leave some for training"):
        divide(clinic, tmp_path / "s.csv", validation=share, progress=False, **how)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [{}, {"folds": 3}, {"by": "source"}])
def test_dates_that_nothing_asks_for_are_refused(clinic, tmp_path, how):
    with pytest.raises(UsageError, match="give --by time, or leave --dates out"):
        divide(clinic, tmp_path / "s.csv", dates=tmp_path / "d.csv", progress=False, **how)


def test_two_sources_whose_manifests_would_have_one_name_are_refused_and_none_is_lost(clinic, tmp_path):
    sources = np.where(clinic.sources == "site 1", "site-0", clinic.sources)
    with pytest.raises(DataError, match=r'"site 0" and "site-0" would both be written to .*s-site-0\.csv'):
        divide(replace(clinic, sources=sources), tmp_path / "s.csv", by="source", progress=False)
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_what_it_wrote_and_proved(class_folders, tmp_path):
    told = CliRunner().invoke(
        app, ["data", "split", str(class_folders), "--out", str(tmp_path / "s.csv"), "--seed", "3"]
    )
    assert told.exit_code == 0 and "proved" in told.output and "test" in told.output
    assert len(rows(tmp_path / "s.csv")) == 36
