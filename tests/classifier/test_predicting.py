"""One classifier, one answer: from a file, a picture or an array, alone or among many, saved and loaded again."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.classifier import Classifier
from foveal.classifier.card import CARD
from foveal.classifier.classifier import FailedInput
from foveal.errors import ClassifierError, DataError, ResourceError, UsageError
from small_classifiers import make_classifier


@pytest.fixture(scope="module")
def grey() -> Classifier:
    return make_classifier(1)


@pytest.fixture(scope="module")
def colour() -> Classifier:
    return make_classifier(3)


def images(count: int, shape: tuple[int, ...] = (16, 16), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def rows(predictions: list) -> np.ndarray:
    return np.array([list(one.probabilities.values()) for one in predictions])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model", ["lenet5", "simple_cnn", "mlp"])
def test_saved_and_loaded_it_answers_the_same(tmp_path, channels, model):
    classifier = make_classifier(channels, model)
    digest = classifier.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    pictures = images(5, (16, 16, 3))
    assert np.array_equal(rows(loaded.predict(pictures)), rows(classifier.predict(pictures)))
    assert (loaded.hash, loaded.classes, loaded.preprocess) == (digest, classifier.classes, classifier.preprocess)
    assert loaded.provenance == {"dataset": "fruit"}
    assert not any(module.training for module in loaded.network.modules())
    assert loaded.save(tmp_path / "again") == digest
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_the_card_says_what_it_is_and_its_hash_is_that_of_the_rest(saved):
    card = json.loads((saved / CARD).read_text())
    rest = {key: value for key, value in card.items() if key != "content_hash"}
    canonical = json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()
    assert card["content_hash"] == hashlib.sha256(canonical).hexdigest()
    weights = (saved / card["weights"]["file"]).read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["schema_version"] == 1 and card["architecture"]["options"]["spec"].startswith("conv32")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (40, 23, 3), (5, 60)])
def test_a_file_a_picture_and_an_array_are_one_input(tmp_path, channels, shape):
    classifier = make_classifier(channels)
    array = images(1, shape)[0]
    Image.fromarray(array).save(tmp_path / "x.png")
    from_file, from_text, picture, from_array = classifier.predict(
        [tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(array), array]
    )
    assert from_file.probabilities == from_text.probabilities == picture.probabilities == from_array.probabilities
    assert from_file.input_hash == hashlib.sha256((tmp_path / "x.png").read_bytes()).hexdigest()
    assert picture.input_hash == from_array.input_hash == hashlib.sha256(array.tobytes()).hexdigest()
    assert (from_file.input, from_array.input) == (str(tmp_path / "x.png"), "#3")


def test_a_turned_photo_is_upright_from_a_file_and_as_a_picture(tmp_path, grey):
    exif = Image.Exif()
    exif[0x0112] = 6
    array = images(1, (24, 30))[0]
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        answers = rows(grey.predict([tmp_path / "turned.png", turned, np.rot90(array, -1), array]))
    assert np.array_equal(answers[0], answers[2]) and np.array_equal(answers[1], answers[2])
    assert not np.allclose(answers[2], answers[3], atol=1e-4)


def test_colour_for_a_grey_classifier_and_grey_for_a_colour_one(grey, colour):
    level = images(1)[0]
    as_rgb = np.repeat(level[..., None], 3, axis=2)
    assert grey.predict(as_rgb)[0].probabilities == grey.predict(level)[0].probabilities
    assert colour.predict(level)[0].probabilities == colour.predict(as_rgb)[0].probabilities


def test_many_equal_one_by_one_and_the_order_stays(grey):
    many = images(70)
    together = list(grey.stream(list(many), batch_size=32))
    alone = [grey.predict(one)[0] for one in many]
    assert np.abs(rows(together) - rows(alone)).max() < 1e-6
    assert [one.input for one in together] == [f"#{at}" for at in range(70)]
    assert all(one.label == max(one.probabilities, key=one.probabilities.get) for one in together)
    assert all(one.probability == one.probabilities[one.label] for one in together)
    assert np.allclose(rows(together).sum(1), 1, atol=1e-8)


def test_failures_keep_their_place_and_predict_lists_them_all(tmp_path, grey):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(images(1)[0]).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:150])
    cut = Image.open(io.BytesIO((tmp_path / "cut.png").read_bytes()))
    inputs = [tmp_path / "empty.png", tmp_path / "good.png", tmp_path / "text.png", tmp_path / "none.png", images(1)[0]]
    inputs += [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4)), cut, Image.new("L", (0, 3)), Image.new("F", (3, 3))]
    results = list(grey.stream(inputs, batch_size=3))
    good = [1, 4]
    assert [at for at, one in enumerate(results) if not isinstance(one, FailedInput)] == good
    alone = grey.predict([inputs[at] for at in good])
    assert np.abs(rows([results[at] for at in good]) - rows(alone)).max() < 1e-6
    with pytest.raises(DataError) as refused:
        grey.predict(inputs)
    text = str(refused.value)
    assert text.startswith("8 of 10 images cannot be used:")
    assert all(f"\n  {results[at]}" in text for at in range(10) if at not in good)
    assert "empty (0 bytes)" in text and "#6: it is float64" in text and "#5: its shape is (4, 4, 2)" in text


def test_what_is_no_image_at_all_is_a_usage_error(grey):
    for wrong in (7, [None], [object()]):
        with pytest.raises(UsageError, match="Give paths, pictures or arrays"):
            grey.predict(wrong)


def test_nothing_in_nothing_out_and_a_generator_will_do(grey):
    assert grey.predict([]) == [] == grey.predict(np.zeros((0, 8, 8), np.uint8))
    assert grey.probabilities(np.zeros((0, 20, 18, 1), np.uint8)).shape == (0, 3)
    assert len(grey.predict(one for one in images(3))) == 3
    assert len(grey.predict(images(4))) == len(grey.predict(images(4, (16, 16, 3)))) == 4
    assert len(grey.predict(images(1, (16, 16, 3))[0])) == 1


def test_the_callers_random_state_and_the_networks_mode_stay(saved, grey):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Classifier.load(saved).predict(images(2))
    assert torch.equal(torch.get_rng_state(), before)
    grey.network.get_submodule("bn1").train()
    try:
        first = grey.predict(images(2))
        assert grey.network.get_submodule("bn1").training
    finally:
        grey.network.eval()
    assert np.array_equal(rows(first), rows(grey.predict(images(2))))


def test_answers_that_are_no_numbers_are_refused():
    broken = make_classifier()
    with torch.no_grad():
        broken.network.get_submodule("output").weight.fill_(3e38)
    with pytest.raises(ClassifierError, match="no numbers"):
        broken.predict(images(2))


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
    ],
)
def test_out_of_memory_says_what_to_do(monkeypatch, grey, failure):
    def fail(*arguments: object) -> None:
        raise failure

    monkeypatch.setattr(grey.network, "forward", fail)
    with pytest.raises(ResourceError, match="not enough memory: ask for fewer images at once") as refused:
        grey.predict(images(2))
    assert refused.value.exit_code == 7


def test_another_runtime_error_is_not_called_memory(monkeypatch, grey):
    def fail(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(grey.network, "forward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        grey.predict(images(2))


@pytest.mark.parametrize(("name", "kind"), [("gpu", UsageError), ("cuda:7", ResourceError), ("meta", UsageError)])
def test_a_device_that_is_not_there(saved, name, kind):
    with pytest.raises(kind):
        Classifier.load(saved, device=name)
