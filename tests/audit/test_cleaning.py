"""A cleaned manifest: what is left out and why, and that a training can be laid over it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import foveal
from foveal.cli.app import app
from foveal.data.overlay import laid_over
from foveal.errors import AuditError, DataError, UsageError
from foveal.progress import Progress
from foveal.run import read_json
from foveal.workflows.check import check
from foveal.workflows.full_audit import full_audit


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dirty(class_folders: Path) -> Path:
    """The three fruits, with a copy, a copy under another label, a near duplicate, a damaged file and an odd one."""
    shutil.copy(class_folders / "apple" / "00.png", class_folders / "apple" / "copy.png")
    shutil.copy(class_folders / "apple" / "01.png", class_folders / "lime" / "other.png")
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = coarse.resize((160, 120), Image.Resampling.BICUBIC)
    smooth.save(class_folders / "plum" / "smooth.png")
    smooth.resize((80, 60)).save(class_folders / "plum" / "smooth-small.png")
    (class_folders / "lime" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.new("RGB", (400, 30), (9, 9, 9)).save(class_folders / "plum" / "line.jpg", "PNG")
    return class_folders


@pytest.mark.parametrize("fix", ["page.html", "page.json"])
def test_the_cleaned_manifest_does_not_take_the_place_of_the_page_or_its_numbers(class_folders, tmp_path, fix):
    with pytest.raises(UsageError, match="cannot be"):
        check(class_folders, out=tmp_path / "page.html", fix=tmp_path / fix, embedding="none", progress=False)
    assert not list(tmp_path.glob("page.*"))


def test_the_check_names_everything_and_the_page_shows_it(dirty, tmp_path):
    checked = check(dirty, out=tmp_path / "page.html", fix=tmp_path / "clean.csv", embedding="none", progress=False)
    found = {one.name: one for one in checked.findings}
    assert {"unreadable", "duplicates", "same-image-two-labels", "near-duplicates", "odd-files"} <= set(found)
    assert found["unreadable"].records[0].startswith("lime/broken.png: ")
    assert found["near-duplicates"].count == 1 and "smooth-small.png" in found["near-duplicates"].records[0]
    odd = " ".join(found["odd-files"].records)
    assert "more than 4 times as long" in odd and "called .jpg but PNG" in odd and "of one colour" in odd
    html = (tmp_path / "page.html").read_text()
    assert all(word in html for word in ("smooth-small.png", "lime/other.png", "image size", "95 % interval"))
    assert "default-src &#39;none&#39;" in html and "http://" not in html and "https://" not in html
    stored = read_json(tmp_path / "page.json")
    assert stored["near_duplicates"][0]["records"] == ["plum/smooth-small.png", "plum/smooth.png"]
    assert {one["kind"] for one in stored["told_without_the_subject"]} >= {"image size", "border pixels"}

    with (tmp_path / "clean.csv").open(newline="") as file:
        rows = {row["record_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 36 + 6 - 1 - 1 - 2  # broken, the copy, both of two labels
    assert {"apple/copy.png", "apple/01.png", "lime/other.png", "lime/broken.png"}.isdisjoint(rows)
    assert rows["plum/smooth.png"]["group"] == rows["plum/smooth-small.png"]["group"] != ""
    assert any("under two labels: left out" in line for line in checked.done)
    assert sorted(one.name for one in dirty.rglob("*") if one.is_file()).count("copy.png") == 1  # nothing was touched


def test_a_second_check_reads_what_the_first_one_kept(dirty, tmp_path, monkeypatch):
    first = check(dirty, out=tmp_path / "a.html", embedding="none", progress=False)
    monkeypatch.setattr("foveal.workflows.full_audit.near_duplicates", lambda *_: pytest.fail("made again"))
    again = check(dirty, out=tmp_path / "b.html", embedding="none", progress=False)
    assert again.whole.pairs == first.whole.pairs and again.whole.told == first.whole.told
    for kept in (tmp_path / "cache" / "audits").iterdir():
        kept.write_text(kept.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        check(dirty, out=tmp_path / "c.html", embedding="none", progress=False)


def test_a_training_takes_the_cleaned_manifest_and_a_resumed_one_too(dirty, tmp_path):
    check(dirty, out=tmp_path / "page.html", fix=tmp_path / "clean.csv", embedding="none", progress=False)
    run = foveal.train(
        dirty, manifest=tmp_path / "clean.csv", model="mlp", size=16, epochs=1, out=tmp_path / "run", progress=False
    )
    assert len(run.splits) == 38 and run.recipe["manifest"] == str(tmp_path / "clean.csv")
    split_of = {row["record_id"]: row["split"] for row in run.splits}
    assert split_of["plum/smooth.png"] == split_of["plum/smooth-small.png"]
    run.report_file.unlink()
    assert foveal.train(resume=run.path, progress=False).is_finished


WRONG = {
    'there is no record "x.png"': "record_id,label\nx.png,apple\n",
    "is listed twice": "record_id,label\napple/00.png,apple\napple/00.png,apple\n",
    "has no label": "record_id,label\napple/00.png,\n",
    'the split "tset" is none of': "record_id,label,split\napple/00.png,apple,tset\n",
    "it has no column label": "record_id\napple/00.png\n",
    "a header and no rows": "record_id,label\n",
    "another number of columns": "record_id,label\napple/00.png\n",
    "images have changed since": f"record_id,label,sha256\napple/00.png,apple,{'0' * 64}\n",
}


@pytest.mark.parametrize("said", WRONG)
def test_a_manifest_that_does_not_fit_is_refused(class_folders, tmp_path, said):
    (tmp_path / "m.csv").write_text(WRONG[said])
    with pytest.raises(DataError, match=said):
        laid_over(foveal.load(class_folders), tmp_path / "m.csv")


def test_a_manifest_may_choose_correct_and_group(class_folders, tmp_path):
    (tmp_path / "m.csv").write_text(
        "record_id,label,group,split\nlime/03.png,lemon,p1,train\napple/00.png,apple,p2,test\napple/01.png,lemon,,train\n"
    )
    dataset = laid_over(foveal.load(class_folders), tmp_path / "m.csv")
    assert dataset.classes == ("apple", "lemon") and dataset.record_ids[0] == "lime/03.png"
    assert dataset.labels.tolist() == [1, 0, 1] and dataset.groups.tolist() == ["p1", "p2", ""]
    assert dataset.given_splits.tolist() == ["train", "test", "train"]


def test_a_split_for_some_images_only_is_refused_as_training_does_and_not_passed_as_if_there_were_none(dirty, tmp_path):
    rows = [f"{name}/{number:02d}.png,{name},{'' if number > 9 else ('train', 'test')[number % 2]}\n"
            for name in ("apple", "lime") for number in range(2, 12)]  # fmt: skip
    (tmp_path / "m.csv").write_text("record_id,label,split\n" + "".join(rows))
    words = {"manifest": tmp_path / "m.csv", "out": tmp_path / "p.html", "fix": tmp_path / "f.csv"}
    with pytest.raises(DataError, match="4 images have no split while others have one"):
        check(dirty, embedding="none", progress=False, **words)
    assert not (tmp_path / "p.html").exists() and not (tmp_path / "f.csv").exists()


def test_what_blocks_ends_the_command_with_its_exit_code_and_says_what_a_manifest_cannot_mend(dirty, tmp_path):
    told = CliRunner().invoke(
        app, ["data", "check", str(dirty), "--embedding", "none", "--out", str(tmp_path / "p.html")]
    )
    assert told.exit_code == 4 and "blocks  unreadable" in told.output
    (tmp_path / "m.csv").write_text(
        "record_id,label,group,split\n"
        + "".join(f"{name}/{number:02d}.png,{name},p{number},{('train', 'test')[name == 'lime']}\n"
                  for name in ("apple", "lime") for number in range(2, 12))
    )  # fmt: skip
    words = ["--manifest", str(tmp_path / "m.csv"), "--embedding", "none", "--fix", str(tmp_path / "f.csv")]
    told = CliRunner().invoke(app, ["data", "check", str(dirty), "--out", str(tmp_path / "q.html"), *words])
    assert told.exit_code == 4 and "group-across-splits" in told.output
    assert "it still blocks training: class-absent-from-split, group-across-splits" in told.output


def test_kept_doubts_name_the_image_and_the_classes_that_were_doubted(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (61, 16, 16), dtype=np.uint8)
    images[60] = images[0]  # of "left" by its look, and filed there; its copy stands under "right"
    labels = np.array([*(np.arange(60) % 2), 1])
    embeddings = rng.normal(0, 0.1, (61, 4)) + np.array([*(np.arange(60) % 2), 0])[:, None]
    embeddings[60] = embeddings[0]

    def doubted(names: list[str]) -> list[tuple[str, str, str]]:
        dataset = foveal.load(images, np.array(["left", "right"])[labels], classes=names)
        made = full_audit(dataset, embeddings, "stand-in", Progress(silent=True), memory_gib=1.0, scratch=tmp_path)
        return [
            (str(dataset.record_ids[one.row]), dataset.classes[one.label], dataset.classes[one.looks_like])
            for one in made.suspects
        ]

    made = doubted(["left", "right"])
    assert made == [("000060", "right", "left")]
    assert doubted(["left", "right"]) == made and len(list((tmp_path / "cache" / "audits").iterdir())) == 1
    assert doubted(["right", "left"]) == made  # the classes in another order


def test_near_duplicates_of_two_patients_make_one_group_of_both_so_that_no_split_tears_them(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32), dtype=np.uint8)
    images[1] = images[0] // 2  # the same picture, darker, under the next patient
    images[3] = images[2] // 2  # and one where neither says a patient
    patients = [f"p{one // 2}" for one in range(40)]
    patients[1], patients[2], patients[3] = "p9", "", ""
    dataset = foveal.load(images, np.repeat([0, 1], 20), groups=patients)
    checked = check(dataset, out=tmp_path / "p.html", fix=tmp_path / "f.csv", embedding="none", progress=False)
    groups = laid_over(dataset, tmp_path / "f.csv").groups.tolist()
    assert groups[0] == groups[1] == groups[18] == groups[19] == "p0"  # the last two are of the patient p9, too
    assert groups[2] == groups[3] and groups[2].startswith("near-duplicates-")
    assert [groups[row] for row in range(4, 18)] == patients[4:18] and groups[20:] == patients[20:]
    assert "2 images were given a group, as near duplicates of others" in checked.done
    assert "3 images were put into another group, which near duplicates join to theirs" in checked.done


def test_what_a_cleaned_manifest_is_said_to_block_is_what_blocks_a_training_with_it(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 32, 32), dtype=np.uint8)
    images[1] = images[0]  # a copy in another split, which a cleaned manifest leaves out
    splits = np.tile(["train", "test", "train", "validation"], 10)
    labels = np.repeat([0, 1], 20)
    words = {"embedding": "none", "progress": False}
    dataset = foveal.load(images, labels, splits=splits)
    checked = check(dataset, out=tmp_path / "p.html", fix=tmp_path / "f.csv", **words)
    assert [one.name for one in checked.findings if one.severity == "block"] == ["duplicates-across-splits"]
    assert checked.still_blocking == ()
    laid = laid_over(dataset, tmp_path / "f.csv")
    assert foveal.train(laid, model="mlp", epochs=1, out=tmp_path / "run", progress=False).is_finished

    images[1] = images[0] // 2  # a near duplicate there: no split tears the group that both get, and this one does
    dataset = foveal.load(images, labels, splits=splits)
    checked = check(dataset, out=tmp_path / "q.html", fix=tmp_path / "g.csv", **words)
    assert all(one.severity == "warn" for one in checked.findings)
    assert checked.still_blocking == ("group-across-splits",)
    with pytest.raises(AuditError, match="1 groups"):
        foveal.train(laid_over(dataset, tmp_path / "g.csv"), model="mlp", epochs=1, out=tmp_path / "no", progress=False)


def test_where_no_image_is_left_no_manifest_is_written(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    dataset = foveal.load(np.concatenate([images, images]), np.repeat([0, 1], 4))  # every image under both labels
    with pytest.raises(DataError, match="no image is left to learn from"):
        check(dataset, out=tmp_path / "p.html", fix=tmp_path / "f.csv", embedding="none", progress=False)
    assert not (tmp_path / "f.csv").exists()
