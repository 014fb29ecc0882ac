"""SqueezeNet against table 1 of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import UsageError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import create_model
from foveal.models.network import parameter_count
from foveal.models.squeezenet import Fire, squeezenet
from gallery_members import batch, on_meta

TABLE = {  # version 1.0 from 227×227, which the table's 111×111 needs: maps of each fire, squeezed and expanded
    "fire2": (16, "128×55×55"),
    "fire3": (16, "128×55×55"),
    "fire4": (32, "256×55×55"),
    "fire5": (32, "256×27×27"),
    "fire6": (48, "384×27×27"),
    "fire7": (48, "384×27×27"),
    "fire8": (64, "512×27×27"),
    "fire9": (64, "512×13×13"),
}


def maps(version: str, side: int) -> dict[str, str]:
    """Return stage → output, as layer tables print it."""
    network = on_meta(f"squeezenet{version.replace('.', '_')}")
    shapes: dict[str, str] = {}
    for stage, path in network.stages.items():
        network.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, stage=stage: shapes.update({stage: "×".join(map(str, output.shape[1:]))})
        )
    network.eval()(torch.empty(1, 3, side, side, device="meta"))
    return shapes


def test_fires_are_the_tables():
    network, shapes = on_meta("squeezenet1_0"), maps("1.0", 227)
    assert shapes["conv1"] == "96×111×111" and maps("1.0", 224)["conv1"] == "96×109×109"
    fires = {stage: network.get_submodule(path) for stage, path in network.stages.items() if "fire" in stage}
    assert {stage: (fire.squeeze.out_channels, shapes[stage]) for stage, fire in fires.items()} == TABLE
    assert shapes["conv10"] == "1000×13×13" and shapes["output"] == "1000"
    assert parameter_count(network) == 1_248_424  # the table's own total


def test_poolings_round_up():
    shapes = maps("1.0", 224)  # 109 → 54 → 27, where rounding down gives 26
    assert (shapes["fire4"], shapes["fire8"]) == ("256×54×54", "512×27×27")


def test_version_1_1_pools_earlier_and_needs_less_than_half_the_multiply_adds():
    first, second = (
        sum(row.macs for row in layer_table(on_meta(name), 3, 224, 224)) for name in ("squeezenet1_0", "squeezenet1_1")
    )
    assert second < first / 2
    assert [maps("1.1", 224)[f"fire{number}"] for number in (3, 4, 5, 6)] == [
        "128×55×55", "256×27×27", "256×27×27", "384×13×13",
    ]  # fmt: skip


def test_there_is_no_dense_layer_and_no_logit_is_negative():
    torch.manual_seed(0)
    network = create_model("squeezenet1_1", classes=10, size=(64, 64)).eval()
    assert not any(isinstance(one, nn.Linear) for one in network.modules())
    with torch.no_grad():
        logits = network(batch(4, 3, (64, 64)))
    assert logits.min() >= 0 and logits.max() > 0


def test_first_weights_are_torchvisions():
    torch.manual_seed(0)
    network = squeezenet(version="1.1")
    fire = network.get_submodule("features.12")
    assert isinstance(fire, Fire)
    bound = (6 / (64 * 9)) ** 0.5
    assert 0.99 * bound < fire.expand3x3.weight.abs().max().item() <= bound
    assert network.get_submodule("classifier.1").weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not any(one.any() for name, one in network.named_parameters() if name.endswith("bias"))


def test_a_version_that_there_is_not_is_said():
    with pytest.raises(UsageError, match=r"no SqueezeNet 2\.0; choose 1\.0 or 1\.1"):
        squeezenet(version="2.0")
