"""foveal models."""

from __future__ import annotations

import json

import pytest

from foveal.models.catalog import CATALOG


def names(done) -> list[str]:
    """Return the first word of each line of the table."""
    table = done.out.split("\n\n")[0].splitlines()
    return [line.split()[0] for line in table[1:]]


def test_all_are_listed_with_their_facts(foveal_cli):
    done = foveal_cli("models")
    assert done.code == 0
    assert names(done) == list(CATALOG)
    head, *_ = done.out.splitlines()
    assert head.split()[:6] == ["name", "year", "parameters", "MACs", "input", "error"]
    line = next(one for one in done.out.splitlines() if one.startswith("resnet50 "))
    assert line.split()[:9] == ["resnet50", "2015", "25,557,032", "4.09", "G", "3×224×224", "24.01", "/", "7.02"]
    mark = line.split()[9]
    assert f"  {mark} ImageNet, one crop (fb.resnet.torch)" in done.out.splitlines()


@pytest.mark.parametrize("pattern", ["resnet1*", "RESNET1*", "resnet10", "wide-resnet*", "*_bn", "vgg"])
def test_a_pattern_is_a_part_or_a_glob(foveal_cli, pattern):
    found = names(foveal_cli("models", pattern))
    bare = pattern.lower().replace("-", "_").strip("*")

    def fits(name: str) -> bool:
        return (
            name.startswith(bare)
            if pattern.endswith("*")
            else name.endswith(bare)
            if pattern[0] == "*"
            else bare in name
        )

    assert found
    assert found == list(filter(fits, CATALOG))


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("year", lambda one: one["year"]),
        ("parameters", lambda one: one["parameters"]),
        ("macs", lambda one: one["macs"]),
        ("name", lambda one: one["name"]),
    ],
)
def test_sorted(foveal_cli, by, key):
    found = json.loads(foveal_cli("models", "--sort", by, "--json").out)
    assert len(found) == len(CATALOG)
    assert [key(one) for one in found] == sorted(key(one) for one in found)


def test_errors_are_sorted_within_their_protocol(foveal_cli):
    found = json.loads(foveal_cli("models", "--sort", "error", "--json").out)
    assert len(found) == len(CATALOG)
    first = [one["published"][0] for one in found if one["published"]]
    assert all(one["published"] for one in found[: len(first)]), "those without a figure stand last"
    protocols = [one["protocol"] for one in first]
    for protocol in set(protocols):
        rows = [at for at, one in enumerate(protocols) if one == protocol]
        assert rows == list(range(rows[0], rows[0] + len(rows))), f"{protocol} does not stand together"
        errors = [first[at]["top1_error"] for at in rows if first[at]["top1_error"] is not None]
        assert errors == sorted(errors)


def test_family_and_years(foveal_cli):
    found = json.loads(foveal_cli("models", "--family", "resnet", "--year", "2016", "--json").out)
    assert {(one["family"], one["year"]) for one in found} == {("resnet", 2016)}
    spans = json.loads(foveal_cli("models", "--year", "2014-2015", "--json").out)
    assert {one["year"] for one in spans} == {2014, 2015}


def test_json_has_every_published_figure_and_the_weights(foveal_cli):
    (told,) = json.loads(foveal_cli("models", "densenet121", "--json").out)
    entry = CATALOG["densenet121"]
    assert [one["protocol"] for one in told["published"]] == [one.protocol for one in entry.published]
    assert "imagenet1k_v1" in told["weights"]
    assert (told["parameters"], told["macs"], told["paper"]) == (entry.parameters, entry.macs, entry.paper)


def test_an_error_never_stands_without_its_protocol(foveal_cli):
    out = foveal_cli("models", "vgg").out
    assert "27.00 /  8.80 [1]" in out
    assert "[1] ImageNet, dense, one scale" in out
    assert "must not be compared" in out
    assert "must not be compared" not in foveal_cli("models", "simple_cnn").out


@pytest.mark.parametrize("width", [80, 100, 140, 320])
def test_the_table_fits_the_terminal(width):
    from foveal.cli.models import _lines

    lines = _lines(list(CATALOG.values()), width)
    assert max(map(len, lines)) <= max(width, 100)
    assert ("paper" in lines[0]) == (width == 320)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("reznet50",), 'Did you mean "resnet50"?'),
        (("--family", "resnets"), 'Did you mean "resnet"?'),
        (("--year", "today"), "--year is a year or two"),
        (("vgg", "--year", "1998"), 'No network matches "vgg", year 1998.'),
    ],
)
def test_bad_input(foveal_cli, arguments, says):
    done = foveal_cli("models", *arguments)
    assert (done.code, says in done.err, done.out) == (2, True, "")
