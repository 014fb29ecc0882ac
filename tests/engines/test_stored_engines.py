"""Engines in a classifier's folder: bound to it, used when asked, refused when anything does not fit."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

import numpy as np
import pytest
from noisy_fruit import draw_fruit

import foveal
from foveal.engines.capture import capture, write_onnx
from foveal.engines.kinds import KINDS, RUNNABLE
from foveal.engines.stored import MANIFEST, choose_stored, read_engines
from foveal.errors import ClassifierError, DataError, FovealError, MissingPartError, OutputError, UsageError
from foveal.workflows.export import export

pytestmark = pytest.mark.slow  # a training, and exports of some seconds each


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pictures(fruit):
    return sorted(fruit.rglob("*.png"))[::7]


def table(predictions):
    return np.array([list(one.probabilities.values()) for one in predictions])


def test_every_file_and_figure_is_stored(exported):
    folder = exported / "classifier"
    stored = json.loads((folder / MANIFEST).read_text())
    assert stored["classifier"] == foveal.Classifier.load(exported).hash
    assert set(stored["engines"]) == set(KINDS)
    for name, record in stored["engines"].items():
        assert set(record["files"]) == set(KINDS[name].files)
        parity = record["parity"]
        assert parity["n"] == 18
        assert parity["images"] == "validation images of the run"
        assert record["versions"]["torch"]
        assert record["hardware"]["processor"]
        if not KINDS[name].int8:
            assert 0 < parity["max_probability_difference"] <= 1e-4
            assert parity["label_agreement"] == 1
        else:
            assert record["calibration"] == {"n": 84, "images": "training images of the run"}
            accuracy = record["accuracy"]
            assert accuracy["fp32"] - accuracy["int8"] == pytest.approx(accuracy["loss"]["value"])
            assert accuracy["loss"]["low"] <= accuracy["loss"]["value"] <= accuracy["loss"]["high"]
            assert accuracy["fp32"] > 0.8
    assert not list(folder.glob(".*"))


def test_each_engine_answers_the_same_every_time_and_names_itself(exported, fruit):
    images = pictures(fruit)
    torch_s = table(foveal.Classifier.load(exported).predict(images))
    for name in RUNNABLE:
        loaded = foveal.Classifier.load(exported, engine=name)
        first, again = loaded.predict(images), foveal.Classifier.load(exported, engine=name).predict(images)
        assert {one.engine for one in first} == {name}
        assert (table(first) == table(again)).all()
        apart = np.abs(table(first) - torch_s).max()
        assert apart <= 1e-4 if not KINDS[name].int8 else 1e-4 < apart < 0.5
    assert {one.engine for one in foveal.Classifier.load(exported).predict(images)} == {"torch"}


def test_auto_takes_the_fastest_that_is_there_and_never_int8(run, monkeypatch):
    folder, classifier = run / "classifier", foveal.Classifier.load(run).hash
    stored = json.loads((folder / MANIFEST).read_text())

    def say(**engine_ms: float) -> None:
        for name, took in engine_ms.items():
            stored["engines"][name.replace("_", "-")]["latency_ms"] = {"engine": took, "torch": 1.0}
        (folder / MANIFEST).write_text(json.dumps(stored))

    say(onnx=0.5, openvino=0.4, onnx_int8=0.1, openvino_int8=0.1)
    assert choose_stored(folder, classifier) == "openvino"
    assert foveal.Classifier.load(run, engine="auto").engine == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose_stored(folder, classifier) == "onnx"
    monkeypatch.undo()
    say(onnx=1.5, openvino=1.2)
    assert foveal.Classifier.load(run, engine="auto").engine == "torch", "none is faster than torch"
    (folder / MANIFEST).unlink()
    assert foveal.Classifier.load(run, engine="auto").engine == "torch"


def test_a_missing_package_names_its_extra(run, plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPartError, match=r"onnxruntime is not installed: pip install 'foveal\[onnx\]'"):
        foveal.Classifier.load(run, engine="onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPartError, match=r"foveal\[openvino\]"):
        foveal.Classifier.load(run, engine="openvino-int8")
    assert foveal.Classifier.load(run, engine="auto").engine == "torch"
    before = listing(plain / "classifier")
    for to in ("onnx", "openvino"):
        with pytest.raises(MissingPartError, match=rf"foveal\[{to}\]"):
            export(plain, to=to, progress=False)
    assert listing(plain / "classifier") == before


@pytest.mark.parametrize("file", ["model.onnx", "model.xml", "model.bin"])
def test_a_file_that_was_changed_is_refused(run, file):
    place = run / "classifier" / file
    engine = "onnx" if file == "model.onnx" else "openvino"
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    with pytest.raises(ClassifierError, match=rf"{file} is damaged or was exchanged.*--engine torch\.$"):
        foveal.Classifier.load(run, engine=engine)
    place.unlink()
    with pytest.raises(ClassifierError, match=f"{file} cannot be read"):
        foveal.Classifier.load(run, engine=engine)
    assert foveal.Classifier.load(run).engine == "torch"


def test_an_engine_of_another_classifier_is_refused(run, fruit, tmp_path):
    other = foveal.train(fruit, model="simple_cnn", out=tmp_path / "other", epochs=1, seed=5, threads=1, progress=False)
    for name in ("classifier.json", "weights.safetensors", "gate.safetensors"):
        shutil.copy(other.classifier_dir / name, run / "classifier" / name)
    for engine in ("onnx", "auto"):
        with pytest.raises(ClassifierError, match="belongs to another classifier") as caught:
            foveal.Classifier.load(run, engine=engine)
        assert "\n" not in str(caught.value)
    export(run, to="onnx", data=fruit, progress=False)
    assert set(read_engines(run / "classifier", foveal.Classifier.load(run).hash)) == {"onnx"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1, "classifier": 3, "engines": []}'])
def test_a_damaged_manifest_is_refused(run, text):
    (run / "classifier" / MANIFEST).write_text(text)
    with pytest.raises(ClassifierError, match=r"engines\.json (is damaged|belongs)"):
        foveal.Classifier.load(run, engine="onnx")
    value = {"schema_version": 99, "classifier": "", "engines": {}}
    (run / "classifier" / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(ClassifierError, match="newer Foveal"):
        foveal.Classifier.load(run, engine="onnx")


def test_what_is_not_exported_says_how(plain):
    with pytest.raises(
        ClassifierError, match=r"has no engine openvino-int8; make it: foveal export \S+ --to openvino --int8"
    ):
        foveal.Classifier.load(plain, engine="openvino-int8")
    with pytest.raises(UsageError, match=r'no engine "onxx".*Did you mean "onnx"'):
        foveal.Classifier.load(plain, engine="onxx")


@pytest.mark.parametrize("where", ["write_onnx", "engine_logits", "keep_engine"])
def test_an_export_that_is_stopped_leaves_what_was(run, where, monkeypatch):
    import foveal.workflows.export as workflow

    before = listing(run / "classifier")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, where, stop)
    with pytest.raises(KeyboardInterrupt):
        export(run, to="onnx", progress=False)
    assert listing(run / "classifier") == before


def test_a_full_disk_leaves_what_was(run, monkeypatch):
    import errno

    from foveal.engines import stored

    before = listing(run / "classifier")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored.os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        export(run, to="onnx", progress=False)
    assert listing(run / "classifier") == before


def test_an_engine_that_differs_is_not_kept(plain, monkeypatch):
    import foveal.workflows.export as workflow

    before, ask = listing(plain / "classifier"), workflow.engine_logits
    monkeypatch.setattr(workflow, "engine_logits", lambda *a, **k: ask(*a, **k) * np.float32(1.01))
    with pytest.raises(FovealError, match="ONNX Runtime answers differently from torch"):
        export(plain, to="onnx", progress=False)
    assert listing(plain / "classifier") == before


def test_int8_that_loses_too_much_is_not_kept(plain, monkeypatch):
    import foveal.workflows.export as workflow

    before, ask = listing(plain / "classifier"), workflow.engine_logits
    monkeypatch.setattr(workflow, "engine_logits", lambda *a, **k: np.roll(ask(*a, **k), 1, axis=1))
    with pytest.raises(
        FovealError, match=r"int8 costs \d+\.\d\d points of accuracy .*95% interval.*more than 1; nothing was kept"
    ):
        export(plain, to="onnx", int8=True, progress=False)
    assert listing(plain / "classifier") == before


def test_an_engine_of_eight_bits_is_refused_where_its_sums_would_overflow(run, monkeypatch):
    from foveal.engines import stored

    record = json.loads((run / "classifier" / "engines.json").read_text())["engines"]["openvino-int8"]
    assert record["weight_bits"] == stored.weight_bits()
    monkeypatch.setattr(stored, "weight_bits", lambda: record["weight_bits"] - 1)
    with pytest.raises(ClassifierError, match=r"made on a processor with VNNI.*export again"):
        foveal.Classifier.load(run, engine="openvino-int8")


def test_int8_is_calibrated_on_training_images_only(plain, monkeypatch):
    import foveal.workflows.export_images as room

    drawn = {}

    def remember(dataset, rows, *_, **__):
        drawn.setdefault("ids", []).extend(dataset.record_ids[rows].tolist())
        raise InterruptedError

    monkeypatch.setattr(room, "decode_all", lambda images, rows, *a, **k: remember(drawn["dataset"], rows))
    taken = room.Dataset.take

    def take(self, rows):
        drawn["rows"], drawn["dataset"] = rows, taken(self, rows)
        return drawn["dataset"]

    monkeypatch.setattr(room.Dataset, "take", take)
    with pytest.raises(InterruptedError):
        export(plain, to="onnx", int8=True, progress=False)
    split = {row["record_id"]: row["split"] for row in foveal.Run(plain).splits}
    assert [split[one] for one in drawn["ids"]] == ["train"] * 84 + ["validation"] * 18


def test_evaluations_name_the_engine(run, tmp_path):

    other = draw_fruit(tmp_path / "others", 6, seed=99)
    by_torch = foveal.evaluate(run, other, name="torch", progress=False)
    by_onnx = foveal.evaluate(run, other, name="onnx", engine="onnx", progress=False)
    for name in ("torch", "onnx"):
        assert json.loads((run / "evaluations" / name / "metrics.json").read_text())["engine"] == name
    assert by_onnx["accuracy"] == by_torch["accuracy"]
    assert by_onnx["loss"] == pytest.approx(by_torch["loss"], abs=1e-4)


def test_a_classifier_without_its_run_needs_images(plain, fruit, tmp_path, engines_installed):
    bare = shutil.copytree(plain / "classifier", tmp_path / "bare")
    with pytest.raises(DataError, match=r"has no run beside it .*--data SOURCE"):
        export(bare, to="onnx", progress=False)
    done = export(bare, to="onnx", data=fruit, images=10, progress=False)
    assert done.record["parity"]["n"] == 10
    assert done.record["parity"]["images"] == "images of fruit"
    done = export(bare, to="onnx", int8=True, data=fruit, max_loss=20, progress=False)
    assert (done.record["calibration"]["n"], done.record["accuracy"]["n"]) == (60, 60), "halved by lot"


def test_images_that_moved_or_changed_are_told(plain, fruit, tmp_path, monkeypatch):
    import tomllib

    import tomli_w

    moved = shutil.copytree(fruit, tmp_path / "moved")
    recipe = tomllib.loads((plain / "recipe.toml").read_text())
    (plain / "recipe.toml").write_text(tomli_w.dumps({**recipe, "source": str(tmp_path / "gone")}))
    with pytest.raises(DataError, match="--data SOURCE"):
        export(plain, to="torch-export", progress=False)
    done = export(plain, to="torch-export", data=moved, progress=False)
    assert done.record["parity"]["n"] == 18, "the run's own validation images, told by their SHA-256"
    (plain / "recipe.toml").write_text(tomli_w.dumps({**recipe, "source": str(moved)}))
    split = {row["record_id"]: row["split"] for row in foveal.Run(plain).splits}
    ids = [one for one, kind in split.items() if kind == "validation"]
    shutil.copy(moved / ids[0], moved / ids[1])
    with pytest.raises(DataError, match="1 images are not those"):
        export(plain, to="torch-export", progress=False)


def forged(run, **changes: object) -> None:
    """Change the record of the engine onnx as somebody could who also recomputes its files' hashes."""
    folder = run / "classifier"
    stored = json.loads((folder / MANIFEST).read_text())
    stored["engines"]["onnx"].update(changes)
    stored["engines"]["onnx"]["files"] = {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in KINDS["onnx"].files
    }
    (folder / MANIFEST).write_text(json.dumps(stored))


def test_an_engine_of_another_network_is_refused_though_its_hash_fits(run, engines_installed):
    network = foveal.create_model("simple_cnn", classes=5, channels=3, size=(20, 24))
    write_onnx(capture(network, (3, 20, 24)), run / "classifier" / "model.onnx")
    forged(run)
    with pytest.raises(ClassifierError, match="it is of another network"):
        foveal.Classifier.load(run, engine="onnx")


def test_a_parity_beyond_the_tolerance_is_not_believed(run):
    forged(run, parity={"n": 9, "max_probability_difference": 0.9})
    with pytest.raises(ClassifierError, match="a parity within the tolerance"):
        foveal.Classifier.load(run, engine="onnx")


def test_auto_is_not_misled_by_a_slow_moment_of_torch(run):
    folder, classifier = run / "classifier", foveal.Classifier.load(run).hash
    stored = json.loads((folder / MANIFEST).read_text())
    stored["engines"]["onnx"]["latency_ms"] = {"engine": 0.1, "torch": 0.4}
    stored["engines"]["openvino"]["latency_ms"] = {"engine": 2.4, "torch": 28.7}
    (folder / MANIFEST).write_text(json.dumps(stored))
    assert choose_stored(folder, classifier) == "onnx"


def test_an_evaluation_names_the_files_of_its_engine(run, tmp_path):
    other = draw_fruit(tmp_path / "fresh", 6, seed=77)
    foveal.evaluate(run, other, name="fresh", engine="onnx", progress=False)
    told = json.loads((run / "evaluations" / "fresh" / "metrics.json").read_text())
    assert told["engine_files"]["model.onnx"] == sha256_of(run / "classifier" / "model.onnx")
    assert told["engine_version"]


def sha256_of(file) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
