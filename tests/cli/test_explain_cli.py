"""foveal explain on the command line."""

from __future__ import annotations

import json

import pytest

from foveal.cli.completion import METHODS, complete_method
from foveal.explanation.methods import METHODS as EXPLAINERS
from small_classifiers import make_classifier


@pytest.fixture
def here(tmp_path, class_folders, monkeypatch):
    make_classifier(channels=3).save(tmp_path / "clf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_pictures_figures_and_a_page(foveal_cli, here):
    said = foveal_cli("explain", "clf", "fruit/apple/00.png", "fruit/lime", "-m", "gradcam", "-m", "hirescam")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert sum("Grad-CAM at block3" in line for line in lines) == 13
    assert lines[-1].startswith("explanations    explanations (29 files; begin with explain.html)")
    assert "of 26 maps" in lines[-2]
    value = json.loads((here / "explanations" / "explanations.json").read_text())
    assert {one["method"] for one in value["explanations"]} == {"gradcam", "hirescam"}
    warned = sum(bool(one["warnings"]) for one in value["explanations"])
    assert lines[-2] == f"doubted         {warned} of 26 maps; nothing was found against the others"
    again = foveal_cli("explain", "clf", "fruit/lime")
    assert (again.code, again.err) == (6, "foveal: explanations exists already; choose another --out.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fruit/lime", "-m", "gradcamm"], 2, 'no method "gradcamm"; choose gradcam, gradcam++'),
        (["fruit/lime", "--class", "pear"], 2, 'no class "pear"; the classifier knows apple, lime, plum'),
        (["fruit/lime", "--stage", "block9"], 2, 'no stage or module "block9" in this network; choose block1'),
        (["fruit/lime", "--stage", "9"], 2, "There is no stage 9; choose 0 block1"),
        (["fruit/lime", "--stage", "fc"], 2, 'no stage or module "fc"'),
        (["fruit/lime", "-m", "occlusion", "--window", "40"], 2, "A window of 40 pixels does not fit"),
        (["fruit/lime/99.png"], 3, "fruit/lime/99.png: "),
        (["nowhere"], 3, "nowhere: "),
        (["fruit/lime", "--engine", "onnx"], 5, "onnx"),
        (["fruit/lime", "-m", "occlusion", "--stride", "9"], 2, "leaves gaps between windows"),
        (["fruit/lime", "--window", "5"], 2, "Grad-CAM has no window to choose; it is of occlusion"),
        (["fruit/lime", "-m", "rise", "--stage", "block1"], 2, "RISE has no stage to choose; it is of gradcam"),
        (["fruit/lime", "--seed", "99999999999999999999"], 2, "--seed"),
        (["fruit/lime", "--class", "LIME"], 2, 'Did you mean "lime"'),
        (["fruit/lime", "--out", "clf/classifier.json/x"], 6, "cannot be made"),
        (["fruit", "--shortcuts", "--class", "lime"], 2, "--shortcuts takes one source and one method"),
        (["fruit/lime", "--class", "lime", "--against", "lime"], 2, "cannot be explained against itself"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(foveal_cli, here, arguments, code, words):
    said = foveal_cli("explain", "clf", *arguments)
    assert said.code == code, said.err
    assert words in said.err
    assert "Traceback" not in said.err
    assert not (here / "explanations").exists()


def test_the_shortcut_view(foveal_cli, here):
    said = foveal_cli("explain", "clf", "fruit", "--shortcuts", "--out", "seen")
    assert said.code == 0, said.err
    assert "of what spoke for it lies in the outer border" in said.out
    assert sorted(file.name for file in (here / "seen").iterdir()) == ["shortcuts.json", "shortcuts.png"]


def test_the_tab_key_offers_the_methods_there_are():
    assert {method.name: method.title for method in EXPLAINERS} == METHODS
    assert complete_method("rise")[0][0] == "rise"
