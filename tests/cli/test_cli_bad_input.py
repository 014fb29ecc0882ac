"""A user's mistake on the command line: one sentence, its exit code, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLI = Callable[..., object]
TRAIN = ("--epochs", "1", "--size", "16")


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def only_one_class(root: Path) -> None:
    shutil.rmtree(root / "lime")
    shutil.rmtree(root / "plum")


def two_images_of_plum(root: Path) -> None:
    for path in sorted((root / "plum").iterdir())[2:]:
        path.unlink()


def broken_files(root: Path) -> None:
    whole = (root / "apple" / "00.png").read_bytes()
    (root / "apple" / "empty.jpg").write_bytes(b"")
    (root / "lime" / "letter.jpg").write_text("Dear Ana, …")
    (root / "plum" / "half.png").write_bytes(whole[: len(whole) // 2])


def one_label_two_ways(root: Path) -> None:
    (root / "Apple ").mkdir()
    for number in range(3):
        Image.fromarray(np.full((9, 9), number * 40, np.uint8)).save(root / "Apple " / f"{number}.png")


def leak_between_given_splits(root: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("apple", "lime"):
            shutil.copytree(root / name, root / split / name)
    for name in ("apple", "lime", "plum"):
        shutil.rmtree(root / name)


def loose_images(root: Path) -> None:
    shutil.copy(root / "apple" / "00.png", root / "stray.png")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (empty, 3, ["holds no images", "<class>"]),
        (only_one_class, 3, ["only the class", "at least two classes"]),
        (two_images_of_plum, 3, ["plum: 2 images", "at least 3"]),
        (broken_files, 3, ["empty.jpg: ", "letter.jpg: ", "half.png: ", "3 of 39", "--skip-unreadable"]),
        (one_label_two_ways, 4, ["Apple ", "apple", "--accept label-written-two-ways"]),
        (leak_between_given_splits, 4, ["more than one split", "--accept duplicates-across-splits"]),
        (loose_images, 3, ["stray.png", "no label"]),
    ],
)
def test_bad_folders_are_refused(class_folders, foveal_cli, tmp_path, spoil, code, words):
    spoil(class_folders)
    outcome = foveal_cli("train", class_folders, "--out", tmp_path / "runs" / "x", *TRAIN)
    assert outcome.code == code
    assert outcome.err.startswith("foveal: ") or "\nfoveal: " in outcome.err
    assert "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert not list(tmp_path.glob("runs/*")) and not list(tmp_path.glob("runs/.*"))


def test_bad_files_can_be_left_out_and_the_report_says_so(class_folders, foveal_cli, tmp_path):
    broken_files(class_folders)
    outcome = foveal_cli("train", class_folders, "--out", tmp_path / "x", "--skip-unreadable", *TRAIN)
    assert outcome.code == 0, outcome.err
    assert "3 images cannot be read and were left out" in outcome.out
    splits = (tmp_path / "x" / "splits.csv").read_text()
    assert len(splits.splitlines()) == 1 + 36 and "letter.jpg" not in splits
    assert "letter.jpg" in (tmp_path / "x" / "report.html").read_text()


def test_findings_can_be_accepted_by_name(class_folders, foveal_cli, tmp_path):
    leak_between_given_splits(class_folders)
    outcome = foveal_cli(
        "train", class_folders, "--out", tmp_path / "x", "--accept", "duplicates-across-splits", *TRAIN
    )
    assert outcome.code == 0, outcome.err
    assert "(accepted)" in outcome.out
    wrong = foveal_cli("train", class_folders, "--out", tmp_path / "y", "--accept", "duplicate-across-splits", *TRAIN)
    assert wrong.code == 2 and 'Did you mean "duplicates-across-splits"?' in wrong.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "lenet"], ['"lenet"', 'Did you mean "lenet5"?']),
        (["-o", "activaton=relu"], ["activaton", 'Did you mean "activation"?']),
        (["-o", "activation=relo"], ["relo", "relu"]),
        (["-o", "activation"], ["NAME=VALUE"]),
        (["--model", "simple_cnn", "-o", "spec=conv8 rellu"], ["rellu", 'Did you mean "relu"?']),
        (["--epoch", "3"], ["--epochs"]),
        (["--optimizer", "adamx"], ["adamw"]),
        (["--size", "0"], ["--size"]),
        (["--size", "8"], ["16×16"]),
        (["--channels", "2"], ["channels"]),
        (["--epochs", "0"], ["epochs"]),
        (["--validation", "0.7", "--test", "0.5"], ["validation", "test"]),
        (["--learning-rate", "-1"], ["learning_rate"]),
        (["--device", "gpu"], ["gpu", "cuda"]),
        (["--model", "simple_cnn", "--batch-size", "1"], ["Batch normalisation", "--batch-size 2"]),
        (["--recipe", "nowhere.toml"], ["nowhere.toml"]),
    ],
)
def test_wrong_options_name_the_nearest_right_one(class_folders, foveal_cli, tmp_path, arguments, words):
    outcome = foveal_cli("train", class_folders, "--out", tmp_path / "x", *arguments)
    assert outcome.code in (2, 5), outcome
    assert "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert not (tmp_path / "x").exists()


def test_unknown_source_and_verb(foveal_cli):
    outcome = foveal_cli("train", "digit")
    assert outcome.code == 3 and 'Did you mean "digits"?' in outcome.err
    assert "train" in foveal_cli("trian").err


def test_a_recipe_with_an_unknown_or_wrong_field_is_refused(foveal_cli, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('source = "digits"\nepoch = 3\n')
    outcome = foveal_cli("train", "--recipe", recipe, "--out", tmp_path / "x")
    assert outcome.code == 2 and 'Did you mean "epochs"?' in outcome.err and "recipe.toml" in outcome.err
    recipe.write_text("source = digits\n")
    assert foveal_cli("train", "--recipe", recipe, "--out", tmp_path / "x").code in (2, 5)
    assert not (tmp_path / "x").exists()


def test_existing_and_impossible_output(foveal_cli, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    outcome = foveal_cli("train", "digits", "--out", tmp_path / "full")
    assert outcome.code == 6 and "not empty" in outcome.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]
    outcome = foveal_cli("train", "digits", "--out", tmp_path / "full" / "letter.txt" / "x")
    assert outcome.code == 6 and "letter.txt" in outcome.err


def test_full_disk_is_said_and_leaves_no_half_run(foveal_cli, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        outcome = foveal_cli("train", "digits", "--out", disk / "x", "--epochs", "1")
        assert outcome.code == 6 and "disk is full" in outcome.err, outcome.err
        assert "Traceback" not in outcome.err
        assert not list(disk.rglob("*.part"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import foveal

    return foveal.train("digits", out=tmp_path_factory.mktemp("runs") / "d", epochs=1, progress=False).path


def test_resume_of_nothing_and_of_a_finished_run(foveal_cli, finished_run, tmp_path):
    outcome = foveal_cli("train", "--resume", tmp_path / "nowhere")
    assert outcome.code == 5 and "recipe.toml" in outcome.err
    before = (finished_run / "report.html").stat().st_mtime_ns
    outcome = foveal_cli("train", "--resume", finished_run)
    assert outcome.code == 0 and "is finished" in outcome.err
    assert (finished_run / "report.html").stat().st_mtime_ns == before
    assert foveal_cli("train", "--resume", finished_run, "--epochs", "3").code == 2
    outcome = foveal_cli("train", "digits", "--out", finished_run)
    assert outcome.code == 6 and "--resume" in outcome.err


def test_a_damaged_classifier_is_not_believed(foveal_cli, finished_run, class_folders, tmp_path):
    image = class_folders / "apple" / "00.png"
    copy = tmp_path / "copy"
    shutil.copytree(finished_run / "classifier", copy)
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-100] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    outcome = foveal_cli("predict", copy, image)
    assert outcome.code == 5 and "weights.safetensors" in outcome.err and outcome.out == ""
    (copy / "weights.safetensors").unlink()
    assert foveal_cli("predict", copy, image).code == 5
    assert foveal_cli("predict", tmp_path / "nowhere", image).code == 5


def test_predict_says_all_it_can_and_lists_the_rest(foveal_cli, finished_run, class_folders, tmp_path):
    broken_files(class_folders)
    outcome = foveal_cli("predict", finished_run, class_folders, "--format", "jsonl")
    assert outcome.code == 3
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(lines) == 36 and abs(sum(lines[0]["probabilities"].values()) - 1) < 1e-6
    assert "3 of 39" in outcome.err and "letter.jpg" in outcome.err
    assert foveal_cli("predict", finished_run, class_folders, "--skip-unreadable").code == 0
    table = tmp_path / "table.csv"
    assert (
        foveal_cli("predict", finished_run, class_folders / "plum" / "00.png", "--format", "csv", "--out", table).code
        == 0
    )
    assert table.read_text().startswith("input,label,probability,p:0,")
    assert foveal_cli("predict", finished_run, class_folders, "--out", table).code == 6


def test_evaluate_refuses_unknown_classes_and_images_that_were_trained_on(foveal_cli, finished_run, class_folders):
    outcome = foveal_cli("evaluate", finished_run, class_folders)
    assert outcome.code == 3 and "apple" in outcome.err
    outcome = foveal_cli("evaluate", finished_run, "digits")
    assert outcome.code == 4 and "--accept trained-on" in outcome.err
    outcome = foveal_cli("evaluate", finished_run, "digits", "--accept", "trained-on", "--name", "again")
    assert outcome.code == 0 and "served training" in outcome.out
    assert foveal_cli("evaluate", finished_run, "digits", "--accept", "trained-on", "--name", "again").code == 6
    assert foveal_cli("evaluate", finished_run, "digits", "--name", "test").code == 6
    assert foveal_cli("evaluate", finished_run, "digits", "--name", "../x").code == 2
