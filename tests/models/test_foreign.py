"""Other people's networks become networks like ours, or are refused in one sentence; nobody's code runs unasked."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import foveal
from foveal.errors import MissingPartError, UsageError
from foveal.models.catalog import create_model, find
from foveal.models.foreign import timm_network
from foveal.models.foreign.entry import plain
from foveal.models.foreign.given import lending
from foveal.models.network import Network

MODULE = """
import random
import numpy as np
import torch
from torch import nn
from sibling import HIDDEN

SIZES = []


def plain(classes, channels, height, width, hidden=HIDDEN, act="relu", bias=True, inner=None):
    SIZES.append((channels, height, width, hidden, act, bias, inner))
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, hidden, bias=bias), nn.ReLU(),
                         nn.Dropout(0.5), nn.BatchNorm1d(hidden), nn.Linear(hidden, classes))


def other_names(num_classes, in_channels, **options):
    SIZES.append(options)
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, classes)
        self.twin = self.head  # one layer by two names

    def forward(self, x):
        return self.head(self.body(x))


def by_chance(classes, channels):
    network = other_names(classes, channels)
    network[3].bias.data = torch.tensor(np.random.rand(classes) + random.random(), dtype=torch.float32)
    return network


def ours(classes, channels, height, width):
    from foveal.models.catalog import create_model
    return create_model("lenet5", classes=classes, channels=channels, size=(height, width))


def needs(classes, secret):
    return nn.Linear(3, classes)


def raises(classes):
    return int("three")


def exits(classes):
    raise SystemExit(3)


def nothing(classes):
    pass


def a_class(classes):
    return Net


def wrong_shape(classes, channels):
    return other_names(classes + 1, channels)


def a_map(classes, channels):
    return nn.Conv2d(channels, classes, 3)


def nothing_to_learn(classes):
    return nn.Flatten()


def probabilities(classes, channels):
    return nn.Sequential(other_names(classes, channels), nn.Softmax(1))


def log_probabilities(classes, channels):
    return nn.Sequential(other_names(classes, channels), nn.LogSoftmax(1))


def fixed(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, classes))


class Two(Net):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class Broken(Net):
    def forward(self, x):
        raise KeyError("lost")


class Sociable(Net):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class Moody(Net):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)


class Harsh(BaseException):
    pass


def harsh(classes):
    raise Harsh("no")


def loud(classes, channels):
    print("HELLO")
    torch.set_default_dtype(torch.float64)
    return other_names(classes, channels).float()
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A folder, the current one, with the user's module `their_net`, its sibling, and modules that do not import."""
    (tmp_path / "their_net.py").write_text(MODULE)
    (tmp_path / "sibling.py").write_text("HIDDEN = 5\n")
    (tmp_path / "torn.py").write_text("def build(:\n")
    (tmp_path / "hungry.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("their_net", "sibling", "torn", "hungry"):
        sys.modules.pop(name, None)


def made(name: str, **options: object) -> Network:
    return create_model(f"their_net:{name}", classes=3, channels=2, size=(8, 6), options=options)


# --- a function of the user's ---


def test_a_builder_is_told_what_it_takes(own_code):
    before = list(sys.path)
    network = made("plain", act="tanh", bias="no", inner="7")
    assert sys.path == before, "the current folder stays importable only meanwhile"
    assert sys.modules["their_net"].SIZES[-1] == (2, 8, 6, 5, "tanh", False, 7)
    assert network(torch.zeros(4, 2, 8, 6)).shape == (4, 3)
    assert find("their_net:plain").options() == {"hidden": 5, "act": "relu", "bias": True}
    made("other_names", depth="3", rate="0.5", kind="x")
    assert sys.modules["their_net"].SIZES[-1] == {"depth": 3, "rate": 0.5, "kind": "x"}


@pytest.mark.parametrize("name", ["plain", "other_names", "Net", "by_chance", "log_probabilities"])
def test_the_same_seed_gives_the_same_weights(own_code, name):
    states = random.getstate(), np.random.get_state()[1].tolist()
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(made(name).state_dict())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert drawn[0].keys() == drawn[1].keys()
    assert all(torch.equal(drawn[0][key], drawn[1][key]) for key in drawn[0])
    assert any(not torch.equal(drawn[0][key], drawn[2][key]) for key in drawn[0])
    torch.manual_seed(3)
    if name == "plain":  # what one gets without Foveal
        own = sys.modules["their_net"].plain(3, 2, 8, 6).state_dict()
        assert all(torch.equal(own[key], drawn[0][f"module.{key}"]) for key in own)


def test_looking_at_the_network_leaves_it_as_it_was(own_code):
    network = made("plain")
    assert network.training and all(one.training for one in network.modules())
    assert float(network.get_buffer("module.4.running_mean").abs().sum()) == 0
    assert int(network.get_buffer("module.4.num_batches_tracked")) == 0
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(96, 3))
    before = torch.get_rng_state()
    with lending(module) as name:
        create_model(str(name), classes=3, channels=2, size=(8, 6))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_of_ours_stays_one(own_code):
    network = create_model("their_net:ours", classes=3, channels=1, size=(32, 32))
    assert next(iter(network.stages)) == "C1" and "conv1.weight" in network.state_dict()


def test_one_layer_by_two_names_can_be_stored(own_code):
    from safetensors.torch import save

    state = made("Net").state_dict()
    assert len(save(dict(state))) and torch.equal(state["module.head.weight"], state["module.twin.weight"])


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_it_is_built_where_it_can_compute(own_code, device):
    with torch.device(device):
        assert all(one.device.type == "cpu" for one in made("by_chance").parameters())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("their_net:nope", 'their_net has no function "nope".'),
        ("their_net:plein", 'has no function "plein". Did you mean "plain"?'),
        ("their_net:SIZES", "their_net:SIZES is no function that returns a network."),
        ("their_nett:plain", "There is no module their_nett for the network their_nett:plain, neither in "),
        ("their_net.deeper:plain", "There is no module their_net.deeper"),
        ("hungry:build", "hungry cannot be imported: ModuleNotFoundError: No module named"),
        ("torn:build", "torn cannot be imported: SyntaxError: "),
        ("their net:plain", "There is no model \"their net:plain\": a network of timm is timm:NAME"),
        ("../their_net:plain", "one of yours package.module:builder."),
        ("their_net:needs", "needs secret: say it with --model-option secret=VALUE."),
        ("their_net:raises", "their_net:raises raised ValueError: invalid literal for int() with base"),
        ("their_net:raises", "'three' (their_net.py, line "),
        ("their_net:exits", "their_net:exits raised SystemExit: 3 (their_net.py, line "),
        ("their_net:nothing", "their_net:nothing gives None, not a network (a torch.nn.Module)."),
        ("their_net:a_class", "their_net:a_class gives the class Net itself, not a network"),
        ("their_net:wrong_shape", "2 images of 2×8×6 with values of shape (2, 4), not with logits of shape (2, 3)"),
        ("their_net:a_map", "values of shape (2, 3, 6, 4), not with logits of shape (2, 3)"),
        ("their_net:nothing_to_learn", "has no parameter that could be trained."),
        ("their_net:probabilities", "answers with probabilities, not with logits"),
        ("their_net:fixed", "cannot take images of 2×8×6: RuntimeError: mat1 and mat2 shapes"),
        ("their_net:Two", "their_net:Two answers with a tuple, not with a tensor of logits (B, classes)."),
        ("their_net:Sociable", "answers an image otherwise when it is alone than beside another"),
        ("their_net:Moody", "or otherwise each time"),
        ("their_net:harsh", "their_net:harsh raised Harsh: no (their_net.py, line "),
        ("their_net:Broken", "cannot take images of 2×8×6: KeyError: 'lost' (their_net.py, line "),
    ],
)  # fmt: skip
def test_one_sentence_for_what_is_wrong_with_a_builder(own_code, name, says):
    with pytest.raises(UsageError) as caught:
        create_model(name, classes=3, channels=2, size=(8, 6))
    said = str(caught.value)
    assert says in said and "\n" not in said and said.endswith((".", "?"))


def test_what_a_builder_prints_spoils_no_table_and_what_it_sets_goes_with_it(own_code, capsys):
    create_model("their_net:loud", classes=3, channels=2, size=(8, 6))
    assert capsys.readouterr() == ("", "HELLO\n")
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hiden": "3"}, 'no option "hiden" (hidden, act, bias). Did you mean "hidden"?'),
        ({"hidden": "many"}, 'option hidden is a whole number, not "many".'),
        ({"classes": "4"}, 'no option "classes"'),
    ],
)
def test_one_sentence_for_a_wrong_option(own_code, options, says):
    with pytest.raises(UsageError) as caught:
        made("plain", **options)
    assert says in str(caught.value)


def test_a_name_alone_imports_nothing(own_code):
    entry = find("their_net:plain")
    assert (entry.name, entry.loss, entry.native_size) == ("their_net:plain", "cross_entropy", None)
    assert foveal.Recipe(model="their_net:plain", loss="focal").model == "their_net:plain"
    assert "their_net" not in sys.modules


def test_texts_are_read_as_what_they_write():
    assert [plain(one) for one in ("3", "0.5", "1e-3", "true", "x", 4, "")] == [3, 0.5, 0.001, True, "x", 4, ""]


# --- a module ---


def test_a_module_is_copied(own_code):
    module = nn.Sequential(nn.Flatten(), nn.Linear(96, 3))
    with lending(module) as name:
        assert name == "object:torch.nn.modules.container.Sequential"
        network = create_model(name, classes=3, channels=2, size=(8, 6))
    assert torch.equal(network.state_dict()["module.1.weight"], module[1].weight)
    with torch.no_grad():
        network.get_parameter("module.1.weight").zero_()
    assert module[1].weight.abs().sum() > 0
    with pytest.raises(UsageError, match="is an object in Python, which is not here"):
        create_model(name, classes=3, channels=2, size=(8, 6))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (3, "model is a name of `foveal models` or a network (a torch.nn.Module), not 3."),
        (nn.Linear, "not the class Linear; give a network made of it."),
        (lambda x: x, "not <function"),
    ],
)
def test_one_sentence_for_what_is_no_network(model, says):
    with pytest.raises(UsageError) as caught, lending(model):
        pass
    assert says in str(caught.value)


def test_a_module_has_no_options():
    with lending(nn.Linear(3, 3)) as name, pytest.raises(UsageError, match=r'no option "depth" \(it has none\)'):
        create_model(str(name), classes=3, options={"depth": 3})


def test_its_layers_are_listed(own_code):
    from foveal.models.anatomy import layer_table

    rows = layer_table(made("other_names"), 2, 8, 6)
    assert [(row.type, row.parameters) for row in rows if row.parameters] == [("Conv2d", 76), ("Linear", 15)]
    assert sum(row.macs for row in rows) == 6 * 4 * 4 * 18 + 12


# --- timm ---


def test_a_network_of_timm_is_timms(timm):
    torch.manual_seed(0)
    network = create_model("timm:resnet10t", classes=5, channels=1, size=(64, 48))
    torch.manual_seed(0)
    own = timm.create_model("resnet10t", num_classes=5, in_chans=1)
    x = torch.randn(2, 1, 64, 48)
    assert torch.equal(network.eval()(x), own.eval()(x))
    modules = dict(network.named_modules())
    assert list(network.stages) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert all(place in modules for place in network.stages.values())


def test_what_timm_says_of_a_network(timm):
    entry = find("timm:convnext_atto")
    assert (entry.native_input, entry.native_size, entry.native_classes) == ((3, 224, 224), (224, 224), 1000)
    assert find("timm:inception_v3").native_size == (299, 299)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto.d2_in1k"])
def test_other_families_of_timm(timm, name):
    network = create_model(f"timm:{name}", classes=4, size=(64, 64), options={"drop_rate": "0.1"})
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 4)
    assert network.stages


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("timm:resnet10", {}, 'timm has no network "resnet10". Did you mean "resnet1'),
        ("timm:resnet10t.nonsense", {}, 'timm has no "resnet10t.nonsense": Invalid pretrained tag (nonsense)'),
        ("timm:hf-hub:somebody/model", {}, 'timm has no network "hf-hub:somebody/model".'),
        ("timm:resnet10t", {"depth": 3}, "timm cannot make resnet10t so: TypeError: "),
        ("timm:resnet10t", {"pretrained": "true"}, "option pretrained is not offered here; weights are drawn anew."),
        ("timm:resnet10t", {"checkpoint-path": "x.pth"}, "option checkpoint_path is not offered here"),
    ],
)
def test_one_sentence_for_what_timm_has_not(timm, name, options, says):
    with pytest.raises(UsageError) as caught:
        create_model(name, classes=3, options=options)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            "need timm, which is not installed: pip install 'foveal[timm]'",
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "nms does not exist); it needs the build of torchvision that belongs to torch",
        ),
    ],
)
def test_one_sentence_without_timm(monkeypatch, error, says):
    def fail(name: str):
        raise error

    monkeypatch.setattr(timm_network.importlib, "import_module", fail)
    with pytest.raises(MissingPartError) as caught:
        find("timm:resnet18")
    assert says in str(caught.value) and "\n" not in str(caught.value)


# --- Keras: its backend is chosen before it is imported, so in a process of its own ---


def keras(code: str) -> str:
    """Run `code` after Keras was imported with the torch backend, and return what it printed."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed (make test-all installs it)")
    before = "import os, warnings\nwarnings.simplefilter('ignore')\nos.environ['KERAS_BACKEND'] = 'torch'\n"
    done = subprocess.run(
        [sys.executable, "-c", before + KERAS + code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


KERAS = """
import copy, pickle, keras, numpy as np, torch
from keras import layers as L
from foveal.errors import UsageError
from foveal.models.catalog import create_model
from foveal.models.foreign.given import lending

def made(model, classes=3, shape=(3, 12, 10)):
    with lending(model) as name:
        return create_model(name, classes=classes, channels=shape[0], size=shape[1:])

def body(*end, seed=None):
    return keras.Sequential([keras.Input((12, 10, 3)), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(),
                             L.GlobalAveragePooling2D(), L.Dropout(0.5, seed=seed), *end])

x = torch.randn(5, 3, 12, 10)
"""


@pytest.mark.slow
def test_a_keras_model_answers_with_its_own_logits():
    keras(
        """
inputs = keras.Input((12, 10, 3))
functional = keras.Model(inputs, L.Softmax()(L.Dense(3)(L.Flatten()(inputs))))
nested = keras.Sequential([keras.Input((12, 10, 3)), body(L.Dense(3, activation="softmax"))])
for model, last in ((body(L.Dense(3, activation="softmax")), True), (body(L.Dense(3), L.Activation("softmax")), True),
                    (functional, True), (nested, True), (body(L.Dense(3)), False)):
    config = model.get_config()
    network = made(model).eval()
    theirs = model(x.permute(0, 2, 3, 1), training=False)
    ours = network(x)
    assert torch.allclose(ours.softmax(1) if last else ours, theirs, atol=1e-6), model
    assert not last or not torch.allclose(ours.sum(1), torch.ones(5))
    assert model.get_config() == config
first = keras.Sequential([keras.Input((3, 12, 10)), L.Flatten(data_format="channels_first"), L.Dense(3)])
assert torch.allclose(made(first).eval()(x), first(x), atol=1e-6)
"""
    )


@pytest.mark.slow
def test_a_keras_model_learns_as_one_of_ours():
    """Modes, moving means, gradients, storage and copies; what was handed over stays as it was."""
    keras(
        """
from safetensors.torch import load, save
model = body(L.Dense(3, activation="softmax"), seed=7)
model.layers[0].trainable = True
before = [one.numpy().copy() for one in model.variables]
network = made(model)
names = list(network.state_dict())
assert len(names) == len(model.variables) and names[0] == "variables.000/conv2d/kernel"
assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 4 * 27 + 4 + 8 + 15
network.train()
moving = network.state_dict()["variables.004/batch_normalization/moving_mean"].clone()
a, b = network(x), network(x)
assert not torch.equal(a, b), "dropout works in training"
assert not torch.equal(moving, network.state_dict()["variables.004/batch_normalization/moving_mean"])
a.sum().backward()
assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
with torch.no_grad():
    for p in network.parameters():
        if p.requires_grad: p -= 0.1 * p.grad
network.eval()
assert torch.equal(network(x), network(x))
assert not torch.allclose(network(x).softmax(1), model(x.permute(0, 2, 3, 1), training=False))
assert all((old == new.numpy()).all() for old, new in zip(before, model.variables))
again = made(body(L.Dense(3, activation="softmax"), seed=7))
again.load_state_dict(load(save(dict(network.state_dict()))))
for twin in (again.eval(), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
    assert torch.equal(twin(x), network(x))
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in network.state_dict().items())
copy.deepcopy(network).variables["000/conv2d/kernel"].data.zero_()
assert network.variables["000/conv2d/kernel"].abs().sum() > 0
frozen = body(L.Dense(3)); frozen.layers[0].trainable = False
assert sum(p.numel() for p in made(frozen).parameters() if p.requires_grad) == 8 + 15
from foveal.models.anatomy import layer_table
assert sum(row.macs for row in layer_table(network, 3, 12, 10)) == 10 * 8 * 4 * 27 + 12
"""
    )


@pytest.mark.slow
def test_one_sentence_for_a_keras_model_that_is_none_for_us():
    out = keras(
        """
class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)
    def call(self, x):
        return self.dense(x)
inputs = keras.Input((12, 10, 3))
for model in (Own(), keras.Sequential([L.Dense(3)]), body(L.Dense(3, activation="sigmoid")),
              keras.Sequential([keras.Input((9, 9, 3)), L.Flatten(), L.Dense(3)]),
              body(L.Dense(3, activation="softmax"), L.Reshape((3,)))):
    try:
        made(model)
        print("taken")
    except UsageError as error:
        print(error)
"""
    )
    unbuilt, flexible, sigmoid, size, hidden = out.splitlines()
    assert "no Sequential or functional Keras model" in unbuilt and "no Sequential or functional" in flexible
    assert "ends in sigmoid, whose values are no logits" in sigmoid
    assert "takes images of 9×9×3 (H×W×C), not of 12×10×3" in size
    assert "answers with probabilities, not with logits" in hidden


@pytest.mark.parametrize("has_config", [True, False])
def test_another_backend_is_refused(monkeypatch, has_config):
    stand_in = ModuleType("keras")
    stand_in.Model = type("Model", (), {"name": "net"})
    if has_config:
        stand_in.config = SimpleNamespace(backend=lambda: "jax")
    monkeypatch.setitem(sys.modules, "keras", stand_in)
    with pytest.raises(UsageError) as caught, lending(stand_in.Model()):
        pass
    assert str(caught.value) == (
        f"The Keras model net computes with {'jax' if has_config else 'tensorflow'}; Foveal trains with torch: set the "
        f"environment variable KERAS_BACKEND=torch before keras is imported."
    )
