"""The drawings in the pages of the networks are what `foveal inspect NAME --svg FILE` draws today.

``python tests/docs/test_network_pictures.py`` draws them anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foveal.workflows.inspect import inspect

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = DOCS / "images" / "networks"
DRAWN = (
    "lenet5", "alexnet_2012", "vgg16", "googlenet_2014", "inception_v3", "resnet50", "cifar_resnet20", "densenet121",
    "squeezenet1_1", "mobilenet_v2", "efficientnet_b0", "convnext_tiny",
)  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_the_picture_is_of_the_network(name):
    stored = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert stored == inspect(name).svg(), "draw it anew: python tests/docs/test_network_pictures.py"


def test_every_picture_is_drawn_here_and_shown():
    assert {path.stem for path in PICTURES.iterdir()} == set(DRAWN)
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "networks").glob("*.md"))
    assert set(re.findall(r"!\[[^]]+\]\(\.\./images/networks/(\w+)\.svg\)", pages)) == set(DRAWN)


if __name__ == "__main__":
    for drawn in DRAWN:
        (PICTURES / f"{drawn}.svg").write_text(inspect(drawn).svg(), encoding="utf-8")
