"""A published data set from a copy: training, resuming, evaluating and training anew know where it lies."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal.data.catalog import CATALOG
from foveal.data.sources.idx import is_idx_folder, read_idx_folder
from foveal.errors import DataError, UsageError
from foveal.progress import Progress

OPTIONS = {"model": "mlp", "epochs": 1, "threads": 1, "progress": False}


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for a copy of MNIST: 60 and 20 images of noise; it is the current folder's `copy`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    folder = tmp_path / "copy"
    folder.mkdir()
    for part, count in (("train", 60), ("t10k", 20)):
        for kind, values in (
            ("images-idx3", rng.integers(0, 256, (count, 12, 12), dtype=np.uint8)),
            ("labels-idx1", np.arange(count, dtype=np.uint8) % 2),
        ):
            header = b"".join(int(one).to_bytes(4, "big") for one in (0x0800 | values.ndim, *values.shape))
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())

    def read(place: Path, _: Progress) -> foveal.Dataset | None:
        return read_idx_folder(place, name="mnist", origin="mnist") if is_idx_folder(place) else None

    nowhere = tuple(dataclasses.replace(file, urls=("file:///nowhere/x",)) for file in CATALOG["mnist"].files)
    monkeypatch.setitem(CATALOG, "mnist", dataclasses.replace(CATALOG["mnist"], read=read, files=nowhere))
    return folder


def test_an_interrupted_run_finds_its_copy_again(copy: Path, tmp_path: Path) -> None:
    run = foveal.train("mnist", data_dir="copy", out="run", **OPTIONS)
    assert (run.recipe["source"], run.recipe["data_dir"]) == ("mnist", "copy")
    assert "copy" not in json.dumps(json.loads((run.classifier_dir / "classifier.json").read_text())["provenance"])
    page = run.report_file.read_bytes()
    run.report_file.unlink()
    foveal.train(resume="run", progress=False)
    assert len(run.report_file.read_bytes()) == len(page)

    run.report_file.unlink()
    copy.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"There is no folder copy .*foveal train --resume run --data-dir DIR"):
        foveal.train(resume="run", progress=False)
    foveal.train(resume="run", data_dir="moved", progress=False)
    assert run.is_finished
    with pytest.raises(UsageError, match="it takes no other options"):
        foveal.train(resume="run", data_dir="moved", epochs=3, progress=False)


def test_another_source_leaves_the_copy_behind(copy: Path, tmp_path: Path) -> None:
    foveal.train("mnist", data_dir=copy, out="first", **OPTIONS)
    again = foveal.train(recipe="first/recipe.toml", out="again", progress=False)
    same = foveal.train("mnist", recipe="first/recipe.toml", out="same", progress=False)
    assert again.recipe["data_dir"] == same.recipe["data_dir"] == str(copy)
    other = foveal.train("noise", recipe="first/recipe.toml", out="other", size=(12, 12), progress=False)
    assert "data_dir" not in other.recipe


def test_evaluating_on_a_copy(copy: Path) -> None:
    noise = foveal.load("noise")
    two = foveal.load(noise.images.pixels[:60], noise.labels[:60] % 2, name="noise")
    run = foveal.train(two, out="run", size=(12, 12), **OPTIONS)
    metrics = foveal.evaluate(run.path, "mnist", data_dir=copy, progress=False)
    assert metrics["n"] == 80
    with pytest.raises(DataError, match="mnist is not on this machine and cannot be downloaded"):
        foveal.evaluate(run.path, "mnist", name="cached", progress=False)
    with pytest.raises(UsageError, match="A data_dir goes with a name of the catalog"):
        foveal.evaluate(run.path, os.fspath(copy), data_dir=copy, name="folder", progress=False)


def test_what_a_source_did_to_the_values_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = foveal.load("noise")
    np.savez(
        tmp_path / "x.npz", X=noise.images.pixels[:60, ..., 0] / np.float32(255), Y=np.eye(2)[noise.labels[:60] % 2]
    )
    run = foveal.train(tmp_path / "x.npz", out=tmp_path / "run", model="mlp", epochs=1, threads=1)
    sentence = "The images are stored as float32 from 0 to 1, and all values are whole 255ths: multiplied by 255."
    assert f"note: {sentence}\n" in capsys.readouterr().err
    assert run.audit["dataset"]["notes"] == [sentence]
    foveal.evaluate(run.path, tmp_path / "x.npz", accept=("trained-on",))
    assert f"note: {sentence}\n" in capsys.readouterr().err
