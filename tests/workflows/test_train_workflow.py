"""Training from end to end, on small real data: what a run holds, and that the same choices give the same bytes."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import foveal
from foveal.errors import AuditError, ClassifierError, DataError, OutputError, TrainingError, UsageError

FILES = [
    "recipe.toml",
    "environment.json",
    "audit.json",
    "splits.csv",
    "history.csv",
    "metrics.json",
    "report.html",
    "checkpoints/last/checkpoint.safetensors",
    "checkpoints/best/checkpoint.safetensors",
    "classifier/classifier.json",
    "classifier/weights.safetensors",
    "evaluations/test/predictions.csv",
    "evaluations/test/metrics.json",
    "evaluations/validation/predictions.csv",
    "figures/learning_curves.svg",
    "figures/confusion.svg",
]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> foveal.Run:
    """LeNet-5 on the embedded digits by the default recipe: the run of `make demo`."""
    return foveal.train("digits", out=tmp_path_factory.mktemp("runs") / "digits", progress=False)


def weights_of(run: foveal.Run) -> bytes:
    return (run.classifier_dir / "weights.safetensors").read_bytes()


def test_the_default_recipe_reads_digits(digits_run):
    accuracy = digits_run.metrics["test"]["accuracy"]
    assert accuracy["value"] >= 0.97
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]


def test_a_run_holds_what_the_design_says(digits_run):
    assert [name for name in FILES if not (digits_run.path / name).is_file()] == []
    assert not list(digits_run.path.rglob("*.part"))
    for name in ("environment.json", "audit.json", "metrics.json", "classifier/classifier.json"):
        assert json.loads((digits_run.path / name).read_text())["schema_version"] == 1
    assert tomllib.loads((digits_run.path / "recipe.toml").read_text())["schema_version"] == 1


def test_metrics_are_those_of_the_stored_predictions(digits_run):
    test, rows = digits_run.metrics["test"], digits_run.predictions("test")
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert test["n"] == len(rows) == len({row["record_id"] for row in rows})
    assert test["accuracy"]["value"] == right / len(rows)
    losses = [-np.log(max(float(row[f"p:{row['label']}"]), 1e-9)) for row in rows]
    assert test["loss"] == pytest.approx(np.mean(losses), abs=1e-12)
    assert sum(map(sum, test["confusion"])) == len(rows)


def test_splits_name_every_image_once_and_the_predictions_are_the_test_split(digits_run):
    splits = digits_run.splits
    assert len(splits) == 1797 == len({row["record_id"] for row in splits})
    of_test = {row["record_id"] for row in splits if row["split"] == "test"}
    assert of_test == {row["record_id"] for row in digits_run.predictions("test")}


def test_the_stored_classifier_gives_the_stored_predictions(digits_run):
    classifier = foveal.Classifier.load(digits_run.path)
    digits = foveal.load("digits")
    rows = digits_run.predictions("test")[:40]
    images = [np.asarray(digits.images.picture(int(row["record_id"]))) for row in rows]
    for row, prediction in zip(rows, classifier.predict(images), strict=True):
        assert prediction.label == row["predicted"]
        assert prediction.probability == pytest.approx(float(row["probability"]), abs=1e-6)
        assert prediction.classifier_hash == classifier.hash


@pytest.mark.parametrize("model", ["lenet5", "simple_cnn", "mlp"])
def test_same_recipe_seed_and_machine_same_bytes(tmp_path, model):
    first = foveal.train("digits", out=tmp_path / "a", model=model, epochs=2, seed=3, progress=False)
    torch.rand(5)  # whatever the caller draws does not matter
    again = foveal.train(recipe=first.recipe_file, out=tmp_path / "b", progress=False)
    other = foveal.train("digits", out=tmp_path / "c", model=model, epochs=2, seed=4, progress=False)
    assert weights_of(first) == weights_of(again) != weights_of(other)
    assert first.predictions() == again.predictions()


def test_images_on_disk_train_the_same_as_in_memory(tmp_path):
    in_memory = foveal.train("digits", out=tmp_path / "a", epochs=2, progress=False)
    on_disk = foveal.train("digits", out=tmp_path / "b", epochs=2, memory_gib=0.0001, progress=False)
    assert weights_of(in_memory) == weights_of(on_disk)
    assert not list(tmp_path.glob(".pixels*"))


def test_training_leaves_the_callers_random_state_and_threads_alone(tmp_path):
    torch.manual_seed(5)
    np.random.seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    foveal.train("digits", out=tmp_path / "a", epochs=1, threads=1, progress=False)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_class_folders_in_colour_of_mixed_sizes(class_folders, tmp_path):
    Image.new("RGB", (64, 30), (200, 40, 30)).save(class_folders / "apple" / "wide.png")
    run = foveal.train(class_folders, out=tmp_path / "r", model="simple_cnn", epochs=3, batch_size=8, progress=False)
    assert run.audit["dataset"]["image_sizes"] == "20 to 30 high, 24 to 64 wide"
    assert run.recipe["size"] == [64, 64] and run.recipe["channels"] == 3
    predictions = foveal.Classifier.load(run.path).predict(sorted((class_folders / "lime").iterdir()))
    assert {len(prediction.probabilities) for prediction in predictions} == {3}


def patients(folder: Path) -> Path:
    """A manifest of 40 patients with 3 images each, of two labels."""
    rng = np.random.default_rng(1)
    rows = []
    for patient in range(40):
        for view in range(3):
            name = f"p{patient}v{view}.png"
            level = 60 + 90 * (patient % 2)
            pixels = np.clip(rng.normal(level, 30, (18, 18)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name)
            rows.append([name, ["well", "ill"][patient % 2], f"patient-{patient}", "ward"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "patient_id", "site"], *rows])
    return folder / "manifest.csv"


def test_patients_are_never_torn_and_intervals_draw_whole_patients(tmp_path):
    run = foveal.train(patients(tmp_path), out=tmp_path / "r", epochs=2, progress=False)
    sides: dict[str, set[str]] = {}
    for row in run.splits:
        sides.setdefault(row["group"], set()).add(row["split"])
    assert len(sides) == 40 and all(len(split) == 1 for split in sides.values())
    assert run.audit["split"]["by"] == "group"
    assert run.metrics["test"]["accuracy"]["method"] in ("Wilson for groups", "Wilson over groups")


def test_splitting_patients_by_image_is_said_in_the_report(tmp_path):
    run = foveal.train(patients(tmp_path), out=tmp_path / "r", epochs=1, split_by="image", progress=False)
    assert run.audit["split"]["by"] == "image"
    assert "likely too good" in run.report_file.read_text()
    assert any(finding["name"] == "group-across-splits" for finding in run.audit["findings"])


def test_arrays_from_python_resume_only_with_the_arrays(tmp_path):
    digits = foveal.load("digits")
    images = np.stack([np.asarray(digits.images.picture(row)) for row in range(300)])
    dataset = foveal.load(images, digits.labels[:300], name="few")
    run = foveal.train(dataset, out=tmp_path / "r", epochs=2, progress=False)
    whole = weights_of(run)
    run.report_file.unlink()
    with pytest.raises(UsageError, match="give them again"):
        foveal.train(resume=run.path, progress=False)
    assert weights_of(foveal.train(dataset, resume=run.path, progress=False)) == whole
    run.report_file.unlink()
    other = foveal.load(images[:299], digits.labels[:299])
    with pytest.raises(DataError, match="000299: missing"):
        foveal.train(other, resume=run.path, progress=False)


def test_evaluate_on_new_images_is_kept_apart(digits_run, tmp_path):
    rng = np.random.default_rng(0)
    digits = foveal.load("digits")
    rows = [int(row["record_id"]) for row in digits_run.splits if row["split"] == "test"]
    images = np.stack([np.asarray(digits.images.picture(row)) for row in rows])
    noisy = np.clip(images + rng.normal(0, 10, images.shape), 0, 255).astype(np.uint8)
    result = foveal.evaluate(digits_run.path, foveal.load(noisy, digits.labels[rows], name="noisy"), progress=False)
    assert 0.8 < result["accuracy"]["value"] <= 1 and result["n"] == len(rows)
    assert (digits_run.evaluation_dir("noisy") / "predictions.csv").is_file()
    assert digits_run.metrics["test"]["n"] == len(rows)


@pytest.mark.slow
def test_mnist_by_the_default_recipe(real_data, tmp_path):
    run = foveal.train(real_data / "mnist", out=tmp_path / "mnist", model="lenet5", progress=False)
    assert run.metrics["test"]["n"] == 10_000
    assert run.metrics["test"]["accuracy"]["value"] >= 0.989


@pytest.mark.slow
def test_cifar_folders_train_the_simple_cnn(real_data, tmp_path):
    import tarfile

    counts: dict[str, int] = {}
    with tarfile.open(real_data / "cifar10.tar.xz") as archive:
        for member in archive:
            folder = str(Path(member.name).parent)
            counts[folder] = counts.get(folder, 0) + member.isfile()
            if member.isfile() and counts[folder] <= (150 if folder.startswith("train") else 40):
                archive.extract(member, tmp_path / "cifar", filter="data")
    run = foveal.train(tmp_path / "cifar", out=tmp_path / "r", model="simple_cnn", epochs=8, progress=False)
    assert run.metrics["test"]["n"] == 400
    assert run.metrics["test"]["accuracy"]["value"] > 0.3
    assert run.report_file.stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["recipe.toml", "splits.csv", "audit.json"])
def test_a_run_whose_record_was_changed_does_not_go_on(digits_run, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(digits_run.path, copy)
    (copy / "report.html").unlink()
    text = (copy / name).read_text()
    (copy / name).write_text(text.replace("validation", "test", 1))
    with pytest.raises(ClassifierError, match=f"{name} is missing or was changed"):
        foveal.train(resume=copy, progress=False)
    (copy / name).unlink()
    with pytest.raises(ClassifierError, match=name):
        foveal.train(resume=copy, progress=False)


def test_a_run_may_not_lie_among_its_classes(class_folders):
    with pytest.raises(OutputError, match="lies inside"):
        foveal.train(class_folders, out=class_folders / "runs" / "x", epochs=1, progress=False)
    assert sorted(path.name for path in class_folders.iterdir()) == ["apple", "lime", "plum"]


def test_a_classifier_is_not_saved_over_another(digits_run, tmp_path):
    other = foveal.train("digits", out=tmp_path / "o", model="mlp", epochs=1, progress=False)
    with pytest.raises(OutputError, match="another classifier"):
        foveal.Classifier.load(other.path).save(digits_run.classifier_dir)
    assert (
        foveal.Classifier.load(digits_run.path).save(tmp_path / "copy") == foveal.Classifier.load(digits_run.path).hash
    )


def test_moved_images_are_asked_for(class_folders, tmp_path):
    run = foveal.train(class_folders, out=tmp_path / "r", epochs=2, progress=False)
    whole = weights_of(run)
    run.report_file.unlink()
    class_folders.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="foveal train SOURCE --resume"):
        foveal.train(resume=run.path, progress=False)
    assert weights_of(foveal.train(tmp_path / "moved", resume=run.path, progress=False)) == whole


def test_test_images_reach_nothing_that_is_chosen(digits_run, tmp_path):
    """Noise in place of the test images changes neither preprocessing, history nor weights: only the test figures."""
    digits = foveal.load("digits")
    images = np.stack([np.asarray(digits.images.picture(row)) for row in range(len(digits))])
    splits = np.array([row["split"] for row in digits_run.splits])
    noise = images.copy()
    noise[splits == "test"] = np.random.default_rng(0).integers(0, 256, noise[splits == "test"].shape)
    runs = [
        foveal.train(
            foveal.load(pixels, digits.labels, splits=splits), out=tmp_path / name, epochs=4, patience=1, progress=False
        )
        for name, pixels in (("true", images), ("noise", noise))
    ]
    cards = [json.loads((run.classifier_dir / "classifier.json").read_text())["preprocess"] for run in runs]
    histories = [[(row["train_loss"], row["validation_loss"]) for row in run.history] for run in runs]
    assert weights_of(runs[0]) == weights_of(runs[1])
    assert cards[0] == cards[1] and histories[0] == histories[1]
    assert runs[0].metrics["test"]["accuracy"]["value"] > runs[1].metrics["test"]["accuracy"]["value"] + 0.3


@pytest.mark.parametrize("split", ["train", "validation"])
def test_evaluate_refuses_images_and_patients_that_training_saw(tmp_path, split):
    manifest = patients(tmp_path)
    run = foveal.train(manifest, out=tmp_path / "r", epochs=1, progress=False)
    rows = [row for row in run.splits if row["split"] == split][:2]
    header = "path,label,patient_id\n"
    same = tmp_path / "same.csv"
    same.write_text(header + "".join(f"{row['record_id']},{row['label']},\n" for row in rows))
    with pytest.raises(AuditError, match="2 of these 2 images"):
        foveal.evaluate(run.path, same, progress=False)
    other = tmp_path / "other.csv"  # a new picture of the same patient
    Image.new("L", (18, 18), 77).save(tmp_path / "new.png")
    other.write_text(header + f"new.png,{rows[0]['label']},{rows[0]['group']}\n")
    with pytest.raises(AuditError, match="others of the same groups"):
        foveal.evaluate(run.path, other, progress=False)
    own = [row for row in run.splits if row["split"] == "test"]
    again = tmp_path / "again.csv"
    again.write_text(header + "".join(f"{row['record_id']},{row['label']},{row['group']}\n" for row in own))
    assert "own test images" in foveal.evaluate(run.path, again, progress=False)["note"]


def test_changed_images_do_not_go_on(class_folders, tmp_path):
    run = foveal.train(class_folders, out=tmp_path / "r", epochs=1, progress=False)
    run.report_file.unlink()
    Image.new("RGB", (24, 20), "navy").save(class_folders / "apple" / "00.png")
    with pytest.raises(DataError, match="have changed since it began"):
        foveal.train(resume=run.path, progress=False)


def test_two_processes_do_not_work_on_one_run(digits_run):
    from foveal.files import locked

    with locked(digits_run.path), pytest.raises(OutputError, match="Another process"):
        foveal.train(resume=digits_run.path, progress=False)


def test_copies_are_found_by_their_pixels_and_never_torn(class_folders, tmp_path):
    for path in sorted(class_folders.rglob("*.png")):
        path.with_name(path.stem + "-copy.png").write_bytes(path.read_bytes() + b"\0")
    run = foveal.train(class_folders, out=tmp_path / "r", epochs=1, progress=False)
    split = {row["record_id"]: row["split"] for row in run.splits}
    assert all(split[name] == split[name.replace(".png", "-copy.png")] for name in split if "-copy" not in name)
    duplicates = next(one for one in run.audit["findings"] if one["name"] == "duplicates")
    assert duplicates["count"] == 36
    assert "Wilson" in (method := run.metrics["test"]["accuracy"]["method"]) and "groups" in method


def test_a_run_that_failed_before_its_first_checkpoint_leaves_its_name_free(tmp_path):
    with pytest.raises(TrainingError, match="diverged"):
        foveal.train("digits", out=tmp_path / "r", epochs=1, optimizer="sgd", learning_rate=1e30, progress=False)
    assert not (tmp_path / "r").exists()


def test_a_class_of_one_source_is_named(tmp_path):
    manifest = patients(tmp_path)
    lines = manifest.read_text().splitlines()
    told = [lines[0], *(line.replace("ward", "clinic") if ",ill," in line else line for line in lines[1:])]
    manifest.write_text("\n".join(told))
    run = foveal.train(manifest, out=tmp_path / "r", epochs=1, progress=False)
    finding = next(one for one in run.audit["findings"] if one["name"] == "class-in-one-source")
    assert "ill: clinic" in finding["sentence"] and "well: ward" in finding["sentence"]
    assert "tell them by the source" in run.report_file.read_text()


def test_patient_columns_are_known_however_they_are_written(tmp_path):
    manifest = patients(tmp_path)
    text = manifest.read_text()
    manifest.write_text(text.replace("patient_id", "Patient ID", 1))
    assert len(set(foveal.load(manifest).groups.tolist())) == 40
    manifest.write_text(text.replace("site", "PatientID", 1))
    with pytest.raises(DataError, match="several columns that may be the group"):
        foveal.load(manifest)
    manifest.write_text(text.replace("patient-7,", "Patient 7,", 1))
    with pytest.raises(AuditError, match="group-written-two-ways"):
        foveal.train(manifest, out=tmp_path / "r", epochs=1, progress=False)
