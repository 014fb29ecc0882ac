"""Other people's networks become networks like ours, or are refused in one sentence; nobody's code runs unasked."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

import foveal
from foveal.errors import UsageError
from foveal.models.catalog import create_model, find
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


class Undefined(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")


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
        ("their_net:Undefined", "their_net:Undefined answers with values that are no numbers (NaN)"),
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
