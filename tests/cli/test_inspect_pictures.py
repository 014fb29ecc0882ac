"""foveal inspect --filters, --maps, --maximise, --excite, --similarity and --embed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from small_classifiers import make_classifier


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small classifier and an image."""
    folder = tmp_path_factory.mktemp("inside")
    make_classifier(3).save(folder / "fruit")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    return folder


def test_filters_and_maps_are_written_and_named(foveal_cli, place, tmp_path):
    done = foveal_cli("inspect", place / "fruit", "--filters", "--maps", place / "image.png", "--out", tmp_path / "new")
    assert done.code == 0, done.err
    files = [tmp_path / "new" / name for name in ("filters.png", "maps.png")]
    assert done.out.splitlines() == [f"written         {file}" for file in files]
    for file in files:
        with Image.open(file) as page:
            assert page.width > 1000
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == ["filters.png", "maps.png"]
    again = foveal_cli("inspect", place / "fruit", "--maps", place / "image.png", "--out", tmp_path / "new")
    assert (again.code, again.err) == (6, f"foveal: {files[1]} exists already; choose another --out.\n")


def test_a_later_stage_takes_more_pages(foveal_cli, place, tmp_path):
    done = foveal_cli("inspect", place / "fruit", "--filters", "--stage", "block2", "--out", tmp_path)
    assert done.code == 0, done.err
    names = [line.rsplit("/", 1)[1] for line in done.out.splitlines()]
    assert names[:3] == ["filters.png", "filters-2.png", "filters-3.png"]
    assert sorted(names) == sorted(one.name for one in tmp_path.iterdir())


def test_units_are_maximised(foveal_cli, place, tmp_path):
    done = foveal_cli("inspect", place / "fruit", "--maximise", "0-1,3", "--stage", "block1", "--out", tmp_path)
    assert (done.code, done.out) == (0, f"written         {tmp_path / 'maximise.png'}\n")


def test_exciting_images_are_found_and_damaged_ones_said(foveal_cli, place, tmp_path):
    source = tmp_path / "data"
    for at, label in enumerate("ab"):
        (source / label).mkdir(parents=True)
        Image.new("RGB", (9, 9), (90 * at, 40, 200)).save(source / label / "image.png")
    (source / "a" / "damaged.png").write_bytes(b"no picture")
    done = foveal_cli("inspect", place / "fruit", "--excite", 2, "--data", source, "--out", tmp_path / "new")
    assert (done.code, done.out) == (0, f"written         {tmp_path / 'new' / 'excite.png'}\n")
    assert "damaged.png is left out" in done.err


def test_the_likeness_of_stages_is_drawn(foveal_cli, place, tmp_path):
    done = foveal_cli("inspect", place / "fruit", "--similarity", "digits", "--out", tmp_path)
    assert (done.code, done.out) == (0, f"written         {tmp_path / 'similarity.png'}\n")


def test_an_embedding_is_a_page(foveal_cli, place, tmp_path):
    done = foveal_cli("inspect", place / "fruit", "--embed", "digits", "--out", tmp_path)
    assert (done.code, done.out) == (0, f"written         {tmp_path / 'embedding.html'}\n")
    page = (tmp_path / "embedding.html").read_text()
    assert page.count('class="point') == 1000
    assert "Drawn by chance out of 1,797." in page
    again = foveal_cli("inspect", place / "fruit", "--embed", "digits", "--out", tmp_path)
    assert (again.code, "embedding.html exists already" in again.err) == (6, True)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("resnet18", "--filters"), 2, "whose weights are not trained"),
        (("FRUIT", "--filters", "--json"), 2, "Pictures are of one classifier"),
        (("FRUIT", "--stage", "block1"), 2, "ask for one."),
        (("FRUIT", "--umap"), 2, "ask for one."),
        (("FRUIT", "--umap", "--filters"), 2, "umap says how an embedding is made"),
        (("FRUIT", "--embed", "digits", "--stage", "block1"), 2, "A stage says what filters"),
        (("FRUIT", "--filters", "--stage", "block9"), 2, 'no stage or module "block9"'),
        (("FRUIT", "--maximise", "2-0"), 2, "--maximise takes numbers from 0"),
        (("FRUIT", "--maximise", "0-3"), 2, "no unit 3 in the answer, which has 3: 0 to 2."),
        (("FRUIT", "--excite", "1"), 2, "the data to look for its images in go together"),
        (("FRUIT", "--maps", "nowhere.png"), 3, "nowhere.png cannot be used"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(foveal_cli, place, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    done = foveal_cli("inspect", *[place / "fruit" if one == "FRUIT" else one for one in arguments])
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
