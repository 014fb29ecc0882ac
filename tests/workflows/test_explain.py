"""Explaining images to the end, and what lies in the folder afterwards."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from jsonschema import validate
from PIL import Image

import foveal
from foveal.classifier.ensemble import together
from foveal.errors import DataError, OutputError, UsageError
from foveal.workflows.explain import see_stages, write_explanations
from foveal.workflows.shortcuts import find_shortcuts
from small_classifiers import make_classifier

ENTRY = {
    "type": "object",
    "required": ["file", "input", "input_hash", "method", "stage", "parameters", "class", "probability", "warnings"],
    "properties": {
        "stage": {"type": ["object", "null"], "required": ["name", "module", "map"]},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "map": {"type": "object", "required": ["smallest", "largest", "grid"]},
        "faithfulness": {"type": ["object", "null"], "required": ["deletion", "moved_deletion", "randomised"]},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier():
    return replace(make_classifier(channels=3), hash="0" * 64)


@pytest.fixture
def images(class_folders):
    return [class_folders / "apple" / "00.png", class_folders / "lime" / "03.png"]


def test_images_methods_and_classes_in_order(classifier, images):
    found = foveal.explain(classifier, images, method=["gradcam", "Occlusion"], target="all", seed=3)
    order = [(one.input, one.method, one.target) for one in found]
    assert order == [
        (str(image), method, name)
        for image in images
        for method in ("gradcam", "occlusion")
        for name in classifier.classes
    ]
    predicted = classifier.predict(images)
    for one in found:
        said = predicted[[str(image) for image in images].index(one.input)]
        assert one.probability == said.probabilities[one.target]
        assert one.answered == said.label
        assert one.input_hash == said.input_hash
        assert one.map.shape == (20, 18)
        assert one.overlay().shape == (20, 18, 3)
        assert one.faithfulness is not None
        assert (one.faithfulness.randomised is None) == (one.method == "occlusion")
    again = foveal.explain(classifier, images, method=["gradcam", "Occlusion"], target="all", seed=3)
    assert all(np.array_equal(a.map, b.map) and a.to_dict() == b.to_dict() for a, b in zip(found, again, strict=True))
    (single, *_) = foveal.explain(classifier, images[1])
    assert single.target == predicted[1].label
    np.testing.assert_allclose(
        single.map,
        next(one.map for one in found if (one.input, one.target) == (single.input, single.target)),
        atol=1e-5,
    )


def test_an_ensemble_is_the_mean_of_its_members(images):
    members = [make_classifier(channels=3, seed=seed) for seed in (0, 1)]
    whole = together(members)
    found = foveal.explain(whole, images, target="lime")
    each = [foveal.explain(member, images, target="lime", judged=False) for member in members]
    for at, one in enumerate(found):
        own = [member[at].grid / member[at].grid.max() if member[at].grid.any() else member[at].grid for member in each]
        np.testing.assert_allclose(one.grid, np.mean(own, axis=0), atol=1e-5)
        assert one.parameters["members"] == 2
        assert one.faithfulness.randomised is not None
        assert one.probability == pytest.approx(np.mean([member[at].probability for member in each]), abs=1e-6)
    seen = foveal.explain(whole, images, method="occlusion", judged=False)
    assert all(np.isfinite(one.map).all() for one in seen)


def test_the_folder(classifier, images, tmp_path):
    found = foveal.explain(classifier, images, method=["gradcam", "guided-backprop"])
    files = write_explanations(found, tmp_path / "out", see_stages(classifier, found))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in files}
    assert [file.name for file in files[:3]] == ["explain.html", "sheet.png", "explanations.json"]
    value = json.loads(files[2].read_text())
    assert len(value["explanations"]) == 4
    for entry in value["explanations"]:
        validate(entry, ENTRY)
        with Image.open(tmp_path / "out" / entry["file"]) as picture:
            assert picture.width > 600
    page = files[0].read_text()
    assert "default-src" in page
    assert "http" not in page.replace("http-equiv", "")
    with pytest.raises(OutputError, match="exists already"):
        write_explanations(found, tmp_path / "out")


def test_a_map_of_zeros_says_so_and_shows_the_picture(classifier, images):
    (one,) = foveal.explain(classifier, images[0], judged=False)
    empty = replace(one, grid=np.zeros_like(one.grid))
    assert empty.warnings == (
        f"The map is zero everywhere: nothing here spoke for {one.target}, so that there is nothing to show.",
    )
    assert np.array_equal(empty.overlay(), empty.picture)
    assert np.array_equal(empty.drawn(), empty.picture)
    assert "zero everywhere" in empty._repr_html_()
    flat = replace(one, grid=np.full_like(one.grid, 0.3))
    assert flat.warnings[0].startswith("The map has the same value everywhere")
    assert np.array_equal(flat.drawn(), flat.picture)


def test_the_figures_of_a_map_are_its_own(classifier, images):
    """They do not depend on the other images or methods of the same command."""
    together_ = foveal.explain(classifier, images, method=["gradcam", "guided-backprop"])
    for image in images:
        for method in ("gradcam", "guided-backprop"):
            (alone,) = foveal.explain(classifier, image, method=method)
            (beside,) = [one for one in together_ if (one.input, one.method) == (str(image), method)]
            figures = alone.faithfulness.to_dict()
            for name, value in beside.faithfulness.to_dict().items():
                assert figures[name] == (pytest.approx(value, abs=2e-3) if isinstance(value, float) else value)
            assert alone.faithfulness.agreement_with == "Occlusion"


def test_what_is_known_against_a_method_is_said_of_every_map(classifier, images):
    found = foveal.explain(classifier, images[0], method=["eigencam", "guided-backprop", "gradcam"], judged=False)
    cautions = [one.to_dict()["caution"] for one in found]
    assert "the same for every class" in cautions[0]
    assert "depends little on what was learned" in cautions[1]
    assert cautions[2] is None


def test_names_cannot_break_out_of_the_card_or_the_folder(classifier, tmp_path):
    evil = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(np.full((20, 18, 3), 90, np.uint8)).save(evil)
    found = foveal.explain(classifier, evil, judged=False)
    assert "<img src=x" not in found._repr_html_()
    files = write_explanations(found, tmp_path / "out")
    assert "<img src=x" not in files[0].read_text()
    assert all(file.parent == tmp_path / "out" for file in files)


def test_matplotlib_figures(classifier, images):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (make test-all installs it)")
    found = foveal.explain(classifier, images, method=["gradcam", "occlusion"], judged=False)
    assert [axes.get_title() for axes in found[0].figure().axes][2] == found[0].title
    assert len(found.figure().axes) == 6


def test_what_is_refused(classifier, images, tmp_path):
    with pytest.raises(
        UsageError, match=r'no class "limes"; the classifier knows apple, lime, plum.*Did you mean "lime"'
    ):
        foveal.explain(classifier, images, target="limes")
    with pytest.raises(UsageError, match=r'"lime" cannot be explained against itself'):
        foveal.explain(classifier, images, target="lime", against="lime")
    label = classifier.predict(images[:1])[0].label
    with pytest.raises(UsageError, match="against itself; name the class to explain"):
        foveal.explain(classifier, images[:1], against=label)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 3 images cannot be used:\n.*bad.png: it is not an image"):
        foveal.explain(classifier, [*images, bad])
    assert len(foveal.explain(classifier, [*images, bad], skip_unreadable=True, judged=False)) == 2
    with pytest.raises(DataError, match="1 of 1 images cannot be used"):
        foveal.explain(classifier, bad, skip_unreadable=True)
    engine = replace(classifier, runner=lambda x: np.zeros((len(x), 3), np.float32), engine="onnx")
    with pytest.raises(
        UsageError, match=r"Grad-CAM needs the gradients of a network, which the engine onnx does not give"
    ):
        foveal.explain(engine, images)
    assert foveal.explain(engine, images, method="occlusion")[0].faithfulness.randomised is None
    with pytest.raises(UsageError, match="Name at least one method"):
        foveal.explain(classifier, images, method=[])


def test_the_shortcut_view_of_a_source(classifier, class_folders, tmp_path):
    view = find_shortcuts(classifier, class_folders)
    assert view.images == 36
    assert sum(one.n for one in view.shortcuts.classes) == 36
    files = view.save(tmp_path / "out")
    value = json.loads(files[1].read_text())
    assert value["images"] == 36
    assert {zone["zone"] for one in value["classes"] for zone in one["zones"]} >= {"border", "corners"}
    with Image.open(files[0]) as picture:
        assert picture.width > 600
    assert view.picture().tobytes() == find_shortcuts(classifier, class_folders).picture().tobytes()
    (class_folders / "apple" / "00.png").write_bytes(b"cut")
    with pytest.raises(DataError, match="apple/00"):
        find_shortcuts(classifier, foveal.load(class_folders))


def test_gradients_of_the_users_own_code_go_on(classifier, images):
    with torch.no_grad():
        first = foveal.explain(classifier, images, judged=False)
    with torch.inference_mode():
        assert len(foveal.explain(classifier, images, method="occlusion", judged=False)) == len(first)


def test_maps_beside_known_subjects(classifier, images, tmp_path):
    """A mask and a box of the same place give the same figures, brought to the frame that the network sees."""
    masks = tmp_path / "masks"
    masks.mkdir()
    drawn = np.zeros((20, 24), np.uint8)
    drawn[5:15, 6:18] = 255
    Image.fromarray(drawn).save(masks / "00.png")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,left,top,right,bottom\n00.png,6,5,18,15\n")
    by_mask = foveal.explain(classifier, images, judged=False, masks=masks)
    by_box = foveal.explain(classifier, images, judged=False, boxes=boxes)
    assert by_mask[0].located == by_box[0].located
    assert by_mask[1].located is None  # no mask is called 03
    own = classifier.preprocess.geometry(Image.fromarray(np.stack([drawn] * 3, axis=-1)))[:, :, 0] > 127
    positive = np.maximum(by_mask[0].map, 0)
    assert by_mask[0].located.inside == pytest.approx(positive[own].sum() / positive.sum())
    assert by_mask[0].located.area == own.mean()
    files = write_explanations(by_mask, tmp_path / "out")
    stored = json.loads(files[2].read_text())
    assert stored["located"]["Grad-CAM"]["inside"]["n"] == 1
    for text, words in {
        "image,left,top,right,bottom\n00.png,6,5,30,15\n": "does not lie in .*00.png, which has 24×20 pixels",
        "image,left,top,right\n00.png,6,5,30\n": "has no column bottom",
        "image,left,top,right,bottom\n00.png,6,5,x,15\n": "line 2: a box is four numbers",
        "image,left,top,right,bottom\n77.png,6,5,8,15\n": "None of these 2 images has a mask or a box",
    }.items():
        boxes.write_text(text)
        with pytest.raises(DataError, match=words):
            foveal.explain(classifier, images, boxes=boxes)
    Image.fromarray(drawn[:10]).save(masks / "00.png")
    with pytest.raises(DataError, match=r"is 24×10 pixels, its image .* 24×20"):
        foveal.explain(classifier, images, masks=masks)
    with pytest.raises(UsageError, match="masks or boxes, not both"):
        foveal.explain(classifier, images, masks=masks, boxes=boxes)


def test_the_report_shows_why_the_worst_mistakes_were_made(tmp_path):
    run = foveal.train("digits", model="lenet5", epochs=1, out=tmp_path / "run", threads=1, progress=False)
    stored = json.loads((run.evaluation_dir("test") / "mistakes.json").read_text())["maps"]
    wrong = {row["record_id"]: row for row in run.predictions("test") if row["label"] != row["predicted"]}
    worst = sorted(wrong.values(), key=lambda row: (-float(row["probability"]), row["record_id"]))[:24]
    assert [one["record_id"] for one in stored] == [row["record_id"] for row in worst]
    assert all(one["predicted"] == wrong[one["record_id"]]["predicted"] for one in stored)
    page = run.report_file.read_text()
    assert all(one["address"] in page for one in stored)
    assert "Grad-CAM at C3" in page
    assert all(check.holds is not False for check in foveal.verify(run.path, progress=False).checks)
    plain = foveal.train("digits", model="mlp", epochs=1, out=tmp_path / "plain", threads=1, progress=False)
    assert not (plain.evaluation_dir("test") / "mistakes.json").exists()  # it has no map
