"""The drawing: the wiring that it shows is the network's, its boxes do not overlap, and it is a file one can read."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from foveal.models.anatomy import Anatomy, inspect_network
from foveal.models.anatomy.without_values import without_values
from foveal.models.catalog import create_model, find
from foveal.models.drawing.diagram import diagram
from foveal.models.drawing.layout import laid_out
from foveal.models.drawing.wiring import INPUT, Dense, kinds, unit_of

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = (
    "lenet5", "alexnet_2012", "vgg11", "googlenet_2014", "inception_v3", "resnet50", "densenet121", "squeezenet1_0",
    "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0", "convnext_tiny", "wrn_16_8",
    "cifar_resnet20", "mlp",
)  # fmt: skip


def anatomy_of(name: str) -> Anatomy:
    entry = find(name)
    with without_values():
        network = create_model(name)
    return inspect_network(network, *entry.native_input, title=entry.title)


def wired(wiring) -> set[tuple[str, str]]:
    """Return the edges by the titles of what they join."""
    return {(wiring.units[a].title, wiring.units[b].title) for a, b in wiring.edges}


def test_resnets_two_bottlenecks_are_a_projection_and_an_identity():
    projecting, identity = kinds(anatomy_of("resnet50"))
    assert [len(projecting.calls), len(identity.calls)] == [4, 12]
    through = {("conv 1×1", "conv 3×3"), ("conv 3×3", "conv 1×1"), ("conv 1×1", "+"), ("+", "ReLU")}
    assert wired(identity.wiring) == {("input", "conv 1×1"), ("input", "+"), *through}
    assert wired(projecting.wiring) == {  # v1.5: the stride is in the 3×3; v1 has it in the first 1×1
        ("input", "conv 1×1"), ("input", "conv 1×1 /1 or 2"), ("conv 1×1", "conv 3×3 /1 or 2"),
        ("conv 3×3 /1 or 2", "conv 1×1"), ("conv 1×1", "+"), ("conv 1×1 /1 or 2", "+"), ("+", "ReLU"),
    }  # fmt: skip
    assert len(projecting.wiring.edges) == 7
    assert sum(a == INPUT for a, _ in projecting.wiring.edges) == 2
    assert (identity.entering, identity.leaving) == ("256×56×56", "256×56×56")


def test_an_inception_module_has_four_branches_into_one_concat():
    (kind,) = kinds(anatomy_of("googlenet_2014"))
    assert len(kind.calls) == 9
    assert wired(kind.wiring) == {
        ("input", "conv 1×1"), ("input", "max 3×3"), ("max 3×3", "conv 1×1"),
        ("conv 1×1", "conv 3×3"), ("conv 1×1", "conv 5×5"),
        ("conv 1×1", "concat"), ("conv 3×3", "concat"), ("conv 5×5", "concat"),
    }  # fmt: skip
    assert [len(kind.calls) for kind in kinds(anatomy_of("inception_v3"))] == [3, 1, 4, 1, 2]


def test_in_a_dense_block_every_layer_sees_all_before_it():
    (kind,) = kinds(anatomy_of("densenet121"))
    assert kind.sizes == (6, 12, 24, 16)
    assert isinstance(kind.wiring, Dense)
    assert [set(one) for one in kind.wiring.sources] == [{INPUT, *range(n)} for n in range(7)]
    assert wired(kind.wiring.inside) == {("input", "conv 1×1"), ("conv 1×1", "conv 3×3")}


def test_torchvisions_own_dense_block_is_seen_as_one_too(torchvision):
    with torch.device("meta"):
        network = torchvision.models.densenet121()
    (kind,) = kinds(inspect_network(network, 3, 224, 224))
    assert kind.sizes == (6, 12, 24, 16)
    assert [set(one) for one in kind.wiring.sources] == [{INPUT, *range(n)} for n in range(7)]


def test_a_gate_is_drawn_inside_the_shortcut():
    first, strided, identity = kinds(anatomy_of("efficientnet_b0"))
    assert [len(one.calls) for one in (first, strided, identity)] == [1, 6, 9]
    both = "depthwise 3×3 or 5×5"
    gate = {(both, "global average"), ("global average", "conv 1×1"), (both, "×")}
    assert gate <= wired(identity.wiring)
    assert ("input", "+") in wired(identity.wiring)
    assert ("input", "+") not in wired(strided.wiring)


def test_activations_that_differ_within_a_kind_are_all_named():
    notes = [unit.note for kind in kinds(anatomy_of("mobilenet_v3_large")) for unit in kind.wiring.units.values()]
    assert "120, BN, ReLU or Hardswish" in notes
    assert "16, BN, ReLU" in notes  # of the first block, which is a kind of its own


def test_a_pool_with_weights_is_a_pool():
    nodes = anatomy_of("lenet5_1998").trace.nodes
    assert [unit_of(node).title for node in nodes if unit_of(node).kind == "pool"] == ["subsampling 2×2 /2"] * 2


def test_what_does_nothing_in_evaluation_is_no_box():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop, self.same = nn.Conv2d(2, 2, 3, padding=1), nn.Dropout2d(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return x + self.same(self.drop(self.conv(x)))

    (kind,) = kinds(inspect_network(nn.Sequential(Block(), Block()), 2, 8, 8))
    assert wired(kind.wiring) == {("input", "conv 3×3"), ("input", "+"), ("conv 3×3", "+")}


@pytest.mark.parametrize("name", DRAWN)
def test_boxes_stand_apart_and_below_what_feeds_them(name):
    for kind in kinds(anatomy_of(name)):
        wiring = kind.wiring.inside if isinstance(kind.wiring, Dense) else kind.wiring
        layout = laid_out(wiring)
        assert layout.boxes.keys() == wiring.units.keys()
        for one, two in combinations(layout.boxes.values(), 2):
            beside = abs(one.x - two.x) >= (one.width + two.width) / 2
            below = abs(one.y - two.y) >= (one.height + two.height) / 2
            assert beside or below, f"{one.unit} covers {two.unit}"
        for source, target in wiring.edges:
            above, below = layout.boxes[source], layout.boxes[target]
            assert above.y + above.height / 2 < below.y - below.height / 2
        for box in layout.boxes.values():
            assert 0 <= box.x - box.width / 2 <= box.x + box.width / 2 <= layout.width + 0.5
            if box.unit.kind != "input":  # a line ends at its top
                ends = [line.points[-1] for line in layout.lines]
                assert any(abs(x - box.x) < 1 and abs(y - (box.y - box.height / 2)) < 1 for x, y in ends)


@pytest.mark.parametrize("name", DRAWN)
def test_the_file_can_be_read_by_eye_and_by_a_screen_reader(name):
    anatomy = anatomy_of(name)
    text = diagram(anatomy)
    root = ElementTree.fromstring(text)
    words = [one.text or "" for one in root.iter(f"{SVG}text")]
    assert root.find(f"{SVG}title").text == anatomy.title
    told = root.find(f"{SVG}desc").text
    for stage in anatomy.stages:
        assert stage.name in words
        assert stage.output in words
        assert f"{stage.name} gives {stage.output}" in told
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched
    width, height = float(root.get("width")), float(root.get("height"))
    assert width <= 1400 and height <= 1500


def test_names_of_a_users_network_are_escaped():
    network = nn.Sequential()
    network.add_module("<script>&", nn.Conv2d(1, 2, 3))
    anatomy = inspect_network(network, 1, 8, 8, title="<b>")
    assert ElementTree.fromstring(diagram(anatomy)).find(f"{SVG}title").text == "<b>"
    assert "<script>" not in anatomy._repr_html_()
