"""The contract of every explainer, on the smallest member of each family; and what is refused in words."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from explained import CLASSES, FEW, asked, member, same_state, state_of
from torch import nn

from foveal.errors import MissingPartError, UsageError
from foveal.explanation.attribute import attribute
from foveal.explanation.methods import BY_NAME, METHODS, Settings, Subject, enlarged, find_method
from foveal.explanation.target import Target
from gallery_members import OF_ONE_INPUT, SMALLEST

FAMILIES = sorted(SMALLEST - OF_ONE_INPUT)
SLOW = {"smoothgrad", "integrated-gradients", "rise", "occlusion", "scorecam"}
FAST_FAMILIES = {"lenet5", "cifar_resnet20", "squeezenet1_1", "mlp"}


HAS_CAPTUM = importlib.util.find_spec("captum") is not None
NO_CAPTUM = "captum is not installed (make test-all installs it)"
INSTALLED = [one for one in METHODS if HAS_CAPTUM or one.name not in ("integrated-gradients", "smoothgrad")]


def needs_captum(name):
    if not HAS_CAPTUM and name in ("integrated-gradients", "smoothgrad"):
        pytest.skip(NO_CAPTUM)


def cases():
    for family in FAMILIES:
        for method in METHODS:
            slow = method.name in SLOW and family not in FAST_FAMILIES
            yield pytest.param(family, method.name, marks=[pytest.mark.slow] if slow else [])


@pytest.fixture(scope="module")
def members():
    made = {}

    def get(name):
        if name not in made:
            made[name] = member(name)
        return made[name]

    return get


def has_map(network, method):
    return BY_NAME[method].needs == "answers" or method in ("guided-backprop", "integrated-gradients", "smoothgrad")


@pytest.mark.parametrize(("family", "name"), [*cases()])
def test_every_explainer_on_every_family(members, family, name):
    """Maps are finite, of their shape, repeat to the bit, and do not depend on the rest of the batch."""
    needs_captum(name)
    network, x = members(family)
    method = BY_NAME[name]
    if family == "mlp" and not has_map(network, name):
        with pytest.raises(UsageError, match=r"no stage with a map of the image; use occlusion, rise or integrated"):
            method.run(asked(network, x))
        return
    if name == "guided-backprop" and family in ("lenet5", "convnext_tiny", "efficientnet_b0"):
        with pytest.raises(UsageError, match="this network has none"):
            method.run(asked(network, x))
        return
    network.train()  # as it may be found
    before = state_of(network)
    grad_mode = torch.is_grad_enabled()
    found = method.run(asked(network, x, Target(torch.tensor([1, 3]))))
    assert same_state(before, state_of(network))
    assert torch.is_grad_enabled() == grad_mode
    network.eval()
    maps = enlarged(found.maps, *x.shape[2:])
    assert maps.shape == (2, *x.shape[2:])
    assert torch.isfinite(maps).all()
    assert method.signed or (maps >= 0).all()
    assert found.maps.flatten(1).std(dim=1).max() > 0
    if name in SLOW and family not in FAST_FAMILIES:
        return
    again = method.run(asked(network, x, Target(torch.tensor([1, 3])))).maps
    assert torch.equal(found.maps, again)
    alone = method.run(asked(network, x[1:], Target(torch.tensor([3])))).maps
    tolerance = 1e-4 * max(float(alone.abs().max()), 1e-6)
    if name not in ("smoothgrad",):  # whose noise is drawn anew for each image, from the same seed
        torch.testing.assert_close(found.maps[1:], alone, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("name", [method.name for method in METHODS if method.name != "eigencam"])
def test_a_map_is_of_its_class_and_a_contrast_of_two(members, name):
    needs_captum(name)
    network, x = members("cifar_resnet20")
    run = BY_NAME[name].run
    first, second = (run(asked(network, x, Target(torch.tensor([k, k])))).maps for k in (0, 1))
    contrast = run(asked(network, x, Target(torch.tensor([0, 0]), torch.tensor([1, 1])))).maps
    assert not torch.allclose(first, second)
    assert not torch.allclose(contrast, first)
    if name in ("integrated-gradients", "occlusion", "rise"):  # linear in the score
        torch.testing.assert_close(contrast, first - second, rtol=1e-3, atol=1e-4 * float(first.abs().max()))


def test_the_answer_is_what_is_explained_by_default(members):
    network, x = members("cifar_resnet20")
    answered = network(x).argmax(dim=1)
    for method in INSTALLED:
        named = method.run(asked(network, x, Target(answered))).maps
        assert torch.equal(method.run(asked(network, x)).maps, named)


def test_integrated_gradients_sum_to_the_change_of_the_score(members):
    needs_captum("integrated-gradients")
    network, x = members("cifar_resnet20")
    target = Target(torch.tensor([2, 2]))
    found = BY_NAME["integrated-gradients"].run(asked(network, x, target, Settings(samples=200)))
    with torch.no_grad():
        change = target.score(network(x)) - target.score(network(torch.zeros_like(x)))
    torch.testing.assert_close(found.maps.sum(dim=(1, 2)), change, rtol=0.02, atol=0.05)


def test_guided_relus_whatever_calls_them():
    """In place, shared, as a function, or clipped at 6: the same as autograd through ReLUs written out."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3)
            self.relu, self.relu6 = nn.ReLU(inplace=True), nn.ReLU6(inplace=True)

        def forward(self, x):
            x = self.relu(self.first(x))
            x = self.relu(self.second(x) - 0.1)
            x = self.relu6(10 * x)
            return torch.relu(x.mean(dim=(2, 3)) - 0.05)

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, top):
            ctx.save_for_backward((x > 0) & (x < top))
            return x.clamp(0, top)

        @staticmethod
        def backward(ctx, g):
            return g.clamp(min=0) * ctx.saved_tensors[0], None

    torch.manual_seed(3)
    net, x = Net(), torch.rand(2, 1, 9, 9)
    leaf = x.clone().requires_grad_()
    y = Guided.apply(net.first(leaf), torch.inf)
    y = Guided.apply(net.second(y) - 0.1, torch.inf)
    y = Guided.apply(10 * y, 6.0)
    y = Guided.apply(y.mean(dim=(2, 3)) - 0.05, torch.inf)
    (wanted,) = torch.autograd.grad(y[:, 0].sum(), leaf)
    found = BY_NAME["guided-backprop"].run(asked(net, x, Target(torch.tensor([0, 0])))).maps
    torch.testing.assert_close(found, wanted.abs().amax(dim=1))


def test_what_is_refused(members):
    network, x = members("cifar_resnet20")
    with pytest.raises(UsageError, match=r'no method "grdcam"; choose gradcam, .*Did you mean "gradcam"'):
        find_method("grdcam")
    assert find_method("Grad-CAM").name == "gradcam"
    with pytest.raises(UsageError, match=r'no stage or module "conv9_x" in this network; choose conv1, conv2_x'):
        BY_NAME["gradcam"].run(asked(network, x, None, Settings(stage="conv9_x")))
    with pytest.raises(UsageError, match=r"no stage 7; choose 0 conv1, 1 conv2_x"):
        BY_NAME["gradcam"].run(asked(network, x, None, Settings(stage=7)))
    with pytest.raises(UsageError, match=r'stage "fc" has no map of the image; choose conv1'):
        BY_NAME["gradcam"].run(asked(network, x, None, Settings(stage="fc")))
    with pytest.raises(UsageError, match=r"A window of 99 pixels does not fit into an image of 32×32"):
        BY_NAME["occlusion"].run(asked(network, x, None, Settings(window=99)))
    with pytest.raises(UsageError, match=r"one or more, not 0"):
        Settings(samples=0)
    closed = asked(network, x)
    subject = Subject(None, closed.subject.ask, "onnx")
    for method in METHODS:
        if method.needs == "answers":
            continue
        with pytest.raises(UsageError, match=r"engine onnx does not give; take occlusion or rise, or the engine torch"):
            method.run(type(closed)(subject, x, Target(), FEW))
    assert CLASSES == 5


def test_any_torch_network_is_explained_without_a_classifier(members):
    network, x = members("cifar_resnet20")
    for method in INSTALLED:
        own = method.run(asked(network, x, Target(torch.tensor([1, 1])), Settings(samples=6, window=16))).maps
        found = attribute(network, x, method=method.title, classes=1, settings=Settings(samples=6, window=16))
        assert torch.equal(found, enlarged(own, *x.shape[2:]))
    assert attribute(network, x, classes=torch.tensor([1, 2]), against=0).shape == (2, 32, 32)
    with pytest.raises(UsageError, match=r"answers with 5 classes, 0 to 4; \[5, 5\] are not all"):
        attribute(network, x, classes=5)
    with pytest.raises(UsageError, match=r"Images are numbers \(B, C, H, W\), at least one, not torch.uint8"):
        attribute(network, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_a_missing_captum_is_named(members, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    network, x = members("cifar_resnet20")
    for name in ("integrated-gradients", "smoothgrad"):
        with pytest.raises(MissingPartError, match=r"captum is not installed: pip install 'foveal\[explain\]'"):
            BY_NAME[name].run(asked(network, x))
