"""foveal weights, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from foveal.cli.app import app
from foveal.cli.parsing import with_values
from foveal.errors import ClassifierError, FovealError, MissingPartError, OutputError, UsageError
from foveal.models.catalog import create_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file(create_model("squeezenet1_1").state_dict(), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def run(*words: object) -> str:
    """Return what a command prints; its error is raised."""
    result = CliRunner().invoke(app, ["weights", *map(str, words)])
    if result.exception is not None and isinstance(result.exception, FovealError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_says_what_there_is_how_large_and_how_good(file):
    lines = run("list", "resnet50.imagenet1k*").splitlines()
    assert [line.split()[0] for line in lines] == ["name", "resnet50.imagenet1k_v2", "resnet50.imagenet1k_v1", "*"]
    assert "*  -       102 MB   80.9   95.4  ImageNet-1k validation, one crop, short side 232, centre 224" in lines[1]
    assert len(run("list").splitlines()) == 199
    assert "non-commercial licence" in run("list", "swsl")
    with pytest.raises(UsageError, match='No weights are called like "resnet51"'):
        run("list", "resnet51")


def test_from_a_file_to_a_prediction(file, tmp_path):
    assert run("add", file, "--as", "squeezenet1_1.mine").startswith(
        "here     squeezenet1_1.mine (4.9 MB), file SHA-256 "
    )
    assert "weights        squeezenet1_1.mine, mine.safetensors" in run(
        "classifier", "squeezenet1_1.mine", tmp_path / "c"
    )
    with pytest.raises(OutputError, match="exists already"):
        run("classifier", "squeezenet1_1.mine", tmp_path / "c")
    Image.new("RGB", (300, 260), "red").save(tmp_path / "red.png")
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "c"), str(tmp_path / "red.png")])
    assert result.exit_code == 0 and "%" in result.output


def test_the_list_and_a_wrong_tag_name_what_was_added_by_hand(file):
    run("add", file, "--as", "squeezenet1_1.mine")
    line = run("list", "squeezenet1_1.m*").splitlines()[1]
    assert line.split()[:2] == ["squeezenet1_1.mine", "yes"]
    assert line.endswith("no accuracy given; added by hand; preprocessing as squeezenet1_1.imagenet1k_v1")
    assert len(run("list").splitlines()) == 200
    with pytest.raises(UsageError, match=r'Did you mean "mine"\? There are: imagenet1k_v1, mine\.'):
        run("fetch", "squeezenet1_1.mien")


def test_a_bundle_carries_them_elsewhere(file, tmp_path, monkeypatch):
    run("add", file, "--as", "squeezenet1_1.mine")
    out = run("bundle", "squeezenet1_1.mine", "--out", tmp_path / "b.zip")
    assert out == f"bundle   {tmp_path / 'b.zip'} (4.9 MB): squeezenet1_1.mine\n"
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "elsewhere"))
    assert "here     squeezenet1_1.mine" in (said := run("add", tmp_path / "b.zip"))
    assert said.endswith("; from a bundle: its maker vouches for it\n")
    assert "here     squeezenet1_1.mine" in run("fetch", "squeezenet1_1.mine")
    made = run("classifier", "squeezenet1_1.mine", tmp_path / "c")
    assert "\ncaveat         from a bundle: its maker vouches for it\n" in made


def test_the_list_says_what_came_in_a_bundle(tmp_path, monkeypatch):
    name = "mobilenet_v3_small.lamb_in1k"
    torch.manual_seed(0)
    save_file(create_model("mobilenet_v3_small").state_dict(), tmp_path / "hub.safetensors")
    assert run("add", tmp_path / "hub.safetensors", "--as", name).endswith("not compared with the published file\n")
    run("bundle", name, "--out", tmp_path / "b.zip")
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "elsewhere"))
    assert "bundle" not in run("list", name)
    run("add", tmp_path / "b.zip")
    line = run("list", name).splitlines()[1]
    assert " yes " in line and line.endswith("from a bundle: its maker vouches for it")


def test_what_cannot_be(file, tmp_path, monkeypatch):
    from foveal import download
    from foveal.models.weights import fetching

    def unreachable(url: str) -> tuple[int, str]:
        raise download.NotFetchedError("Name or service not known")

    monkeypatch.setattr(fetching, "offered", unreachable)
    with pytest.raises(MissingPartError, match=r"cannot be fetched .*resnet18-f37072fd\.pth.* foveal weights add"):
        run("fetch", "resnet18")
    with pytest.raises(UsageError, match="--as"):
        run("add", file)
    with pytest.raises(UsageError, match="one by one"):
        run("add", file, file, "--as", "squeezenet1_1.mine")
    (tmp_path / "some.pth").write_bytes(b"no weights")
    with pytest.raises(UsageError, match="leave --as out"):
        run("add", tmp_path / "some.pth", "--as", "squeezenet1_1.mine")
    with pytest.raises(ClassifierError, match="is not a file of the catalog"):
        run("add", tmp_path / "some.pth")


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ([], []),
        (["train", "x", "--pretrained"], ["train", "x", "--pretrained=default"]),
        (["train", "x", "--pretrained", "--epochs", "1"], ["train", "x", "--pretrained=default", "--epochs", "1"]),
        (["train", "x", "--pretrained", "tf_in1k"], ["train", "x", "--pretrained", "tf_in1k"]),
        (["train", "x", "--pretrained=tf_in1k", "-e", "1"], ["train", "x", "--pretrained=tf_in1k", "-e", "1"]),
    ],
)
def test_pretrained_may_stand_alone(words, read):
    assert with_values(words) == read
