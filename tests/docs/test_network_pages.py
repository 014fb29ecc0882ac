"""The pages of the networks say what the catalog and the networks themselves say: every number, figure and stage."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from foveal.models.architecture import Architecture
from foveal.models.catalog import CATALOG, find
from foveal.models.weights.published import PUBLISHED, published_for
from foveal.workflows.inspect import inspect

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = DOCS / "guide" / "networks.md"
PAGES = {path.stem: path for path in (DOCS / "networks").glob("*.md")}
PAGE_OF = {  # where it is not the family's name
    **dict.fromkeys(("googlenet", "inception_v3"), "inception"),
    **dict.fromkeys(("cifar_resnet", "wide_resnet"), "resnet"),
    **dict.fromkeys(("mobilenet_v2", "mobilenet_v3"), "mobilenet"),
    "efficientnet_lite": "efficientnet",
}
TOLD_STAGE_BY_STAGE = (
    "lenet5", "lenet5_1998", "simple_cnn", "mlp", "alexnet_2012", "vgg16", "googlenet_2014", "inception_v3",
    "resnet50", "cifar_resnet20", "wrn_28_10", "densenet121", "densenet_bc_100_12", "squeezenet1_0", "squeezenet1_1",
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_lite0",
    "convnext_tiny",
)  # fmt: skip
HEAD = "| network | parameters | multiply-adds | input | receptive field (stride) | smallest side |"


@cache
def rows(path: Path) -> tuple[tuple[str, ...], ...]:
    """Return the cells of every row of the page's tables."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if line.startswith("|"))


def page_of(entry: Architecture) -> Path:
    return PAGES[PAGE_OF.get(entry.family, entry.family)]


def test_every_family_has_its_page_and_every_page_is_linked():
    assert {page_of(entry) for entry in CATALOG.values()} == set(PAGES.values())
    entrance, contents = GUIDE.read_text(encoding="utf-8"), (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"](../networks/{page}.md)" in entrance
        assert f"networks/{page}.md" in contents


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_the_numbers_are_those_of_the_catalog(entry):
    path = page_of(entry)
    shape = "×".join(map(str, entry.native_input))
    sight = f"{entry.receptive_field} ({entry.stride})" if entry.receptive_field else "–"
    wanted = (f"`{entry.name}`", f"{entry.parameters:,}", f"{entry.macs:,}", shape, sight)
    found = [row for row in rows(path) if row[:5] == wanted]
    assert len(found) == 1, f"{path.name} lacks the row | {' | '.join(wanted)} |"
    assert entry.smallest == 1 or found[0][5] == str(entry.smallest)
    assert HEAD in path.read_text(encoding="utf-8")


def number(cell: str) -> float | None:
    return float(cell) if re.fullmatch(r"[\d.]+", cell) else None


@pytest.mark.parametrize("entry", [one for one in CATALOG.values() if one.published], ids=lambda entry: entry.name)
def test_the_published_errors_are_told_with_their_protocol(entry):
    """Either a row has (network, top-1, top-5, protocol, source), or a column is a protocol."""
    page = page_of(entry)
    told = [row[1:] for row in rows(page) if row[0] == f"`{entry.name}`"]
    errors = [row for row in told if len(row) == 4 and "top-5 error %" in head_of(page, (f"`{entry.name}`", *row))]
    for one in entry.published:
        figures = (one.top1_error, one.top5_error)
        exact = [row for row in errors if (number(row[0]), number(row[1])) == figures]
        if errors:
            assert len(exact) == 1, f"{page.name} lacks {one} of {entry.name}"
            assert exact[0][2].startswith(one.protocol), f"{entry.name}: {exact[0][2]}, not {one.protocol}"
            assert exact[0][3], f"{entry.name}: whose figure is {one}?"
        else:
            assert any(one.top1_error == number(cell) for row in told for cell in row), f"{page.name} lacks {one}"


@cache
def heads(path: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return row → the head of its table."""
    found, head = {}, ()
    for before, row in zip((None, *rows(path)), rows(path), strict=False):
        if set("".join(row)) <= set("-:"):
            head = before or ()
        found[row] = head
    return found


def head_of(path: Path, row: tuple[str, ...]) -> tuple[str, ...]:
    return heads(path)[row]


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.stem)
def test_the_errors_of_published_weights_are_those_of_their_catalog(page):
    for name, top1, top5, *_ in (row for row in rows(page) if ", torchvision's " in row[0]):
        second = "second weights" in name
        for network, error1, error5 in zip(
            re.findall(r"`(\w+)`", name), top1.split(" / "), top5.split(" / "), strict=True
        ):
            weights = PUBLISHED[f"{network}.imagenet1k_v{1 + second}"]
            assert (error1, error5) == (f"{100 - weights.top1:.2f}", f"{100 - weights.top5:.2f}"), name


@pytest.mark.parametrize("name", TOLD_STAGE_BY_STAGE)
def test_the_stages_are_those_of_the_network(name):
    page = page_of(find(name))
    anatomy = inspect(name)
    for stage in anatomy.stages:
        if not stage.parameters and "×" not in stage.output and stage.name != "output":
            continue  # a pooling to a vector may be told in words
        shape = re.compile(rf"(?<![\d×]){stage.output}(?![\d×])")
        told = [row for row in rows(page) if f"`{stage.name}`" in row[0] and any(map(shape.search, row))]
        assert told, f"{page.name} does not say that {stage.name} of {name} gives {stage.output}"
        if "googlenet" not in name:  # its table is the paper's, in widths
            assert any(f"{stage.parameters:,}" in cell for row in told for cell in row), (
                f"{page.name}: {stage.name} of {name}"
            )


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.name)
def test_every_option_is_told(entry):
    text = page_of(entry).read_text(encoding="utf-8")
    missing = [name for name in entry.options() if name not in entry.preset and not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_every_specification_is_told():
    for entry in CATALOG.values():
        if "spec" in entry.preset:
            row = (f"`{entry.name}`", f"`{entry.preset['spec']}`", f"{entry.parameters:,}")
            assert row in rows(page_of(entry)), entry.name


def test_every_word_of_a_specification_is_told():
    code = (DOCS.parent / "src/foveal/models/simple_cnn.py").read_text(encoding="utf-8").split('"""')[1]
    page = PAGES["simple"].read_text(encoding="utf-8")
    words = re.findall(r"``(\w[\w.]*)``", code)
    assert len(words) > 15
    assert [word for word in words if f"`{word}`" not in page] == []


def test_the_choice_is_by_figures_of_one_protocol():
    compared = [row for row in rows(GUIDE) if len(row) == 6 and row[0].strip("`") in CATALOG]
    assert len(compared) > 10
    for name, *numbers in compared:
        entry, weights = find(name.strip("`")), published_for(name.strip("`"))[0]
        assert weights.default and weights.measured_by == "torchvision's figures"
        expected = (
            f"{entry.parameters:,}",
            f"{entry.macs:,}",
            f"{weights.size}",
            f"{weights.top1:.2f}",
            f"{weights.top5:.2f}",
        )
        assert tuple(numbers) == expected, name
    assert [find(row[0].strip("`")).macs for row in compared] == sorted(
        find(row[0].strip("`")).macs for row in compared
    )
