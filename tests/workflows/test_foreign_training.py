"""Other people's networks from end to end: trained, stored, loaded, gone on with, repeated, fitted by scikit-learn."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import foveal
from foveal.errors import ClassifierError, Interrupted, UsageError
from foveal.training import loop
from foveal.training.interrupt import interrupted

BUILDER = """
from torch import nn


def build(classes, channels, width_of_it=4):
    return nn.Sequential(nn.Conv2d(channels, width_of_it, 3), nn.BatchNorm2d(width_of_it), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(width_of_it, classes))
"""
QUICK = {"epochs": 3, "learning_rate": 0.02, "batch_size": 16, "threads": 1, "progress": False}


class Net(nn.Module):
    """A network as a user writes one; one layer stands in it by two names."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 3)
        self.also_head = self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def weights_of(run: foveal.Run) -> bytes:
    return (run.classifier_dir / "weights.safetensors").read_bytes()


def network(width: int = 4) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return Net(width)


@pytest.fixture(scope="module")
def fruit() -> foveal.Dataset:
    """90 small images, each class its own colour."""
    rng = np.random.default_rng(5)
    colours = ((200, 30, 30), (40, 190, 40), (110, 40, 160))
    pixels = np.concatenate([rng.normal(colour, 25, (30, 12, 10, 3)) for colour in colours])
    return foveal.load(pixels.clip(0, 255).astype(np.uint8), np.repeat([0, 1, 2], 30), name="fruit")


@pytest.fixture(scope="module")
def trained(fruit, tmp_path_factory) -> foveal.Run:
    return foveal.train(fruit, model=network(), out=tmp_path_factory.mktemp("runs") / "own", **QUICK)


@pytest.fixture
def builder(tmp_path, monkeypatch):
    (tmp_path / "garden.py").write_text(BUILDER)
    monkeypatch.chdir(tmp_path)
    yield "garden:build"
    sys.modules.pop("garden", None)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Let training stop, as by Ctrl-C, when so many epochs have ended."""
    ended, end_epoch = [], loop.end_epoch

    def counting(*arguments):
        row = end_epoch(*arguments)
        ended.append(row)
        return row

    class Stop:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __bool__(self):
            return len(ended) >= epochs

    monkeypatch.setattr(loop, "end_epoch", counting)
    monkeypatch.setattr(loop, "StopRequest", Stop)


def test_a_module_is_trained_and_stays_as_it_was(fruit, trained, tmp_path):
    own = network()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    again = foveal.train(fruit, model=own, out=tmp_path / "again", **QUICK)
    assert weights_of(again) == weights_of(trained)
    assert all(torch.equal(before[name], value) for name, value in own.state_dict().items())
    assert again.metrics["test"]["accuracy"]["value"] > 0.8
    assert again.recipe["model"] == f"object:{__name__}.Net" and again.metrics["training"]["parameters"] == 4 * 28 + 23


def test_training_begins_from_its_weights(fruit, trained, tmp_path):
    other = network()
    with torch.no_grad():
        other.head.weight.add_(0.5)
    assert weights_of(foveal.train(fruit, model=other, out=tmp_path / "other", **QUICK)) != weights_of(trained)


def test_its_classifier_is_loaded_with_one_like_it(fruit, trained):
    with pytest.raises(ClassifierError) as caught:
        foveal.Classifier.load(trained.path)
    assert "is test_foreign_training.Net, an object that was handed over from Python" in str(caught.value)
    assert "Classifier.load(…, network=network)" in str(caught.value)
    own = Net()
    loaded = foveal.Classifier.load(trained.path, network=own)
    pixels = fruit.images.pixels[:6]
    rows = {row["record_id"]: row for row in trained.predictions("test")}
    at = next(i for i, record in enumerate(fruit.record_ids) if record in rows)
    stored = [float(rows[fruit.record_ids[at]][f"p:{name}"]) for name in loaded.classes]
    assert list(loaded.predict(fruit.images.pixels[at])[0].probabilities.values()) == pytest.approx(stored, abs=1e-6)
    inner = loaded.network.module
    x = loaded.preprocess.normalise(torch.as_tensor(pixels))
    own.load_state_dict(inner.state_dict())
    assert torch.equal(own.eval()(x), loaded.network(x))
    assert "also_head" in repr(inner) and "Net" in loaded._repr_html_()
    with pytest.raises(ClassifierError, match=r"does not fit the architecture: module.* is .*, not "):
        foveal.Classifier.load(trained.path, network=network(5))


def test_the_report_says_that_the_recipe_does_not_suffice(fruit, trained, builder, tmp_path):
    assert "an object handed over from Python: neither its code nor" in trained.report_file.read_text()
    run = foveal.train(fruit, model=builder, out=tmp_path / "built", **QUICK)
    assert "and with garden:build as it was, whose code is not kept here" in run.report_file.read_text()


def test_a_run_of_a_module_goes_on_with_one_like_it(fruit, trained, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(Interrupted, match=r"Go on with: foveal\.train\(resume='.*run', model=network\)$"):
            foveal.train(fruit, model=network(), out=tmp_path / "run", **QUICK)
    for model, says in (
        (None, "from Python: foveal.train(resume=…, model=network)."),
        (network(5), "does not fit the network of the recipe"),
    ):
        with pytest.raises(ClassifierError) as caught:
            foveal.train(fruit, resume=tmp_path / "run", model=model, progress=False)
        assert says in str(caught.value)
    with pytest.raises(UsageError, match="takes no other options"):
        foveal.train(fruit, resume=tmp_path / "run", model="mlp", progress=False)
    run = foveal.train(fruit, resume=tmp_path / "run", model=Net(), progress=False)
    assert weights_of(run) == weights_of(trained)


def test_a_recipe_of_a_module_needs_the_module(fruit, trained, tmp_path):
    with pytest.raises(ClassifierError, match=r"hand over one like it again, from Python: foveal\.train"):
        foveal.train(fruit, recipe=trained.recipe_file, out=tmp_path / "no", progress=False)
    again = foveal.train(fruit, recipe=trained.recipe_file, model=network(), out=tmp_path / "yes", progress=False)
    assert weights_of(again) == weights_of(trained)


def test_a_run_of_a_name_takes_no_module(fruit, tmp_path):
    run = foveal.train(fruit, model="mlp", out=tmp_path / "mlp", **{**QUICK, "epochs": 1})
    run.report_file.unlink()
    with pytest.raises(ClassifierError, match="is mlp, which is made by its name; hand over none"):
        foveal.train(fruit, resume=run.path, model=network(), progress=False)
    with pytest.raises(ClassifierError, match="is mlp, which is made by its name; hand over none"):
        foveal.Classifier.load(run.path, network=network())


def test_repeats_of_a_module_differ_in_the_order_of_the_images(fruit, tmp_path):
    recipe = foveal.Recipe(**{name: value for name, value in QUICK.items() if name != "progress"})
    repeats = foveal.repeat(fruit, 2, recipe=recipe, model=network(), out=tmp_path / "two", progress=False)
    assert len({weights_of(run) for run in repeats.runs}) == 2
    (repeats.runs[1].path / "report.html").unlink()
    with pytest.raises(ClassifierError, match=r"foveal\.repeat\(resume=…, model=network\)"):
        foveal.repeat(fruit, resume=repeats.path, progress=False)
    assert foveal.repeat(fruit, resume=repeats.path, model=network(), progress=False).runs[1].is_finished


def test_a_builder_is_trained_and_its_classifier_trusted(fruit, builder, tmp_path):
    run = foveal.train(fruit, model=builder, model_options={"width_of_it": 6}, out=tmp_path / "run", **QUICK)
    again = foveal.train(fruit, recipe=run.recipe_file, trust=builder, out=tmp_path / "again", progress=False)
    assert weights_of(run) == weights_of(again)
    with pytest.raises(ClassifierError, match="only if you know it and trust it, allow it with --trust garden:build"):
        foveal.Classifier.load(run.path)
    assert str(interrupted(run.path, builder)).endswith(f"--resume {run.path} --trust garden:build")
    loaded = foveal.Classifier.load(run.path, trust=builder)
    assert loaded.architecture == builder and loaded.parameters == 6 * 28 + 12 + 21
    assert loaded.network.get_parameter("module.0.weight").shape[0] == 6
    card = json.loads((run.classifier_dir / "classifier.json").read_text())
    assert card["architecture"]["options"] == {"width_of_it": 6} and len(card["layers"]) >= 5


def test_the_name_of_a_run_is_one_of_a_folder(fruit, builder, tmp_path):
    run = foveal.train(fruit, model=builder, **{**QUICK, "epochs": 1})
    assert run.path.name == "fruit-garden-build"


def test_a_network_of_timm_is_trained(fruit, timm, tmp_path):
    quick = {**QUICK, "epochs": 1}
    run = foveal.train(fruit, model="timm:resnet10t", size=32, out=tmp_path / "timm", **quick)
    loaded = foveal.Classifier.load(run.path)
    assert loaded.parameters == sum(one.numel() for one in timm.create_model("resnet10t", num_classes=3).parameters())
    assert run.recipe["size"] == [32, 32]


def test_scikit_learn_fits_a_module(fruit):
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score

    own, X, y = network(), fruit.images.pixels, fruit.labels
    before = own.head.weight.clone()
    estimator = foveal.ImageClassifier(own, epochs=4, learning_rate=0.03, batch_size=16, threads=1)
    assert cross_val_score(estimator, X, y, cv=2, error_score="raise").mean() > 0.6
    fitted = clone(estimator).fit(X, y)
    assert torch.equal(own.head.weight, before)
    np.testing.assert_array_equal(fitted.predict_proba(X), estimator.fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(UsageError, match="cannot take images of 3×12×10"):
        foveal.ImageClassifier(nn.Sequential(nn.Flatten(), nn.Linear(7, 3))).fit(X, y)
    with pytest.raises(ValueError, match=r"model is a name of `foveal models` or a torch\.nn\.Module, not 3"):
        foveal.ImageClassifier(3).fit(X, y)


KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import warnings
warnings.simplefilter("ignore")
import keras, numpy as np
from keras import layers
import foveal
from foveal.errors import Interrupted
from foveal.training import loop

rng = np.random.default_rng(5)
pixels = np.concatenate([rng.normal(c, 25, (30, 12, 10, 3)) for c in ((200, 30, 30), (40, 190, 40), (110, 40, 160))])
fruit = foveal.load(pixels.clip(0, 255).astype(np.uint8), np.repeat([0, 1, 2], 30), name="fruit")
keras.utils.set_random_seed(5)  # the weights that the model begins with
model = keras.Sequential([keras.Input((12, 10, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(),
                          layers.GlobalAveragePooling2D(), layers.Dropout(0.2, seed=3), layers.Dense(3, "softmax")])
quick = dict(epochs=4, learning_rate=0.03, batch_size=16, threads=1, progress=False)
home = "runs"
weights = lambda run: (run.classifier_dir / "weights.safetensors").read_bytes()
whole = foveal.train(fruit, model=model, out=home + "/whole", **quick)
assert whole.metrics["test"]["accuracy"]["value"] > 0.8

ended, end_epoch, asked = [], loop.end_epoch, loop.StopRequest
class Stop:
    __enter__ = lambda self: self
    __exit__ = lambda self, *_: None
    __bool__ = lambda self: len(ended) >= 2
def counting(*arguments):
    ended.append(end_epoch(*arguments))
    return ended[-1]
loop.end_epoch, loop.StopRequest = counting, Stop
try:
    foveal.train(fruit, model=model, out=home + "/torn", **quick)
    sys.exit("was not interrupted")
except Interrupted:
    pass
loop.end_epoch, loop.StopRequest = end_epoch, asked
assert weights(foveal.train(fruit, resume=home + "/torn", model=model, progress=False)) == weights(whole)

loaded = foveal.Classifier.load(whole.path, network=model)
rows = {row["record_id"]: row for row in whole.predictions("test")}
for at, record in enumerate(fruit.record_ids):
    if record in rows:
        answer = loaded.predict(fruit.images.pixels[at])[0].probabilities
        assert all(abs(float(rows[record][f"p:{name}"]) - share) < 1e-6 for name, share in answer.items())

from foveal.models.catalog import create_model
open("bed.py", "w").write('''import keras
from keras import layers
def build(classes, channels, height, width):
    shape = (height, width, channels)
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(classes, "softmax")])
''')
import torch
drawn = []
for seed in (3, 3, 4):
    torch.manual_seed(seed)
    drawn.append(create_model("bed:build", classes=3, size=(6, 5)).state_dict()["variables.000/dense/kernel"])
assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
"""


@pytest.mark.slow
def test_a_keras_model_is_trained_and_goes_on_exactly(tmp_path):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed (make test-all installs it)")
    done = subprocess.run(
        [sys.executable, "-c", KERAS], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
