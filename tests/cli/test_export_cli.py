"""foveal export, and --engine of predict and evaluate, on the command line."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

pytestmark = pytest.mark.slow  # a training and exports


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits, a few images for predicting beside it."""
    import foveal

    folder = tmp_path_factory.mktemp("cli")
    foveal.train("digits", model="lenet5", out=folder / "run", epochs=2, threads=1, progress=False)
    images = foveal.load("digits")
    (folder / "images").mkdir()
    for row in range(5):
        images.images.picture(row).save(folder / "images" / f"{row}.png")
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_export_then_predict_and_evaluate(here, foveal_cli):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed (make test-all installs it)")
    done = foveal_cli("export", "run", "--to", "onnx", "--images", "100")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("parity     probabilities differ by at most ")
    assert lines[0].endswith("same class on 100.00% of 100 validation images of the run")
    assert lines[1].startswith("one image  ")
    assert lines[-1] == "written    run/classifier/model.onnx"
    done = foveal_cli("export", "run", "--to", "onnx", "--int8", "--max-loss", "5")
    assert done.code == 0, done.err
    assert "points lost (95% interval" in done.out
    assert done.out.splitlines()[-1] == "written    run/classifier/model.int8.onnx"

    answers = {}
    for engine in ("torch", "onnx", "onnx-int8"):
        out = here / f"{engine}.csv"
        done = foveal_cli("predict", "run", "images", "--engine", engine, "--format", "csv", "--out", out)
        assert done.code == 0, done.err
        rows = list(csv.DictReader(out.read_text("utf-8").splitlines()))
        assert {row["engine"] for row in rows} == {engine}
        answers[engine] = [float(row["p:3"]) for row in rows]
    assert answers["onnx"] == pytest.approx(answers["torch"], abs=1e-4)
    assert answers["onnx-int8"] != pytest.approx(answers["torch"], abs=1e-6)
    done = foveal_cli("predict", "run", "images", "--threads", "1", "--format", "jsonl")
    assert {json.loads(line)["engine"] for line in done.out.splitlines()} <= {"onnx", "torch"}

    done = foveal_cli("evaluate", "run", "digits", "--accept", "trained-on", "--engine", "onnx", "--name", "again")
    assert done.code == 0, done.err
    assert json.loads((here / "run" / "evaluations" / "again" / "metrics.json").read_text())["engine"] == "onnx"


def test_what_is_wrong_is_said_in_one_sentence(here, foveal_cli):
    for arguments, code, says in (
        (
            ("predict", "run", "images", "--engine", "onnx"),
            5,
            "has no engine onnx; make it: foveal export run --to onnx",
        ),
        (("predict", "run", "images", "--engine", "onxx"), 2, 'There is no engine "onxx"'),
        (("evaluate", "run", "digits", "--engine", "openvino"), 5, "foveal export run --to openvino"),
        (("export", "run", "--to", "torch-export", "--int8"), 2, "There is no int8 for torch-export"),
        (("export", "run/classifier/weights.safetensors", "--to", "onnx"), 5, "is neither a run nor a classifier"),
        (("export", "nowhere", "--to", "onnx"), 5, "There is no run or classifier at nowhere"),
        (("export", "run", "--to", "torch-export", "--data", "nowhere"), 3, "nowhere"),
    ):
        done = foveal_cli(*arguments)
        assert done.code == code, (arguments, done)
        assert says in done.err
        assert "Traceback" not in done.err
    shutil.move("run/classifier", "bare")
    done = foveal_cli("export", "bare", "--to", "torch-export")
    assert (done.code, done.out) == (3, "")
    assert "name some to compare on: foveal export bare --data SOURCE" in done.err
    assert not (here / "bare" / "engines.json").exists()


def test_engines_that_do_not_compute_where_told(here, foveal_cli):
    done = foveal_cli("predict", "run", "images", "--engine", "onnx", "--device", "meta")
    assert done.code == 2
    assert "meta" in done.err
