"""foveal inspect: what a network is made of, as a table, a drawing, or beside others; what a trained one has learnt."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.completion import complete_model
from foveal.cli.parsing import Trust, parse_input, parse_pairs, parse_units

WIDE = 200  # columns where the output goes into a file or another program


def inspect(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="A network of `foveal models`, or a classifier or run (./NAME where it has a network's name).",
            metavar="NETWORK",
            autocompletion=complete_model,
        ),
    ],
    input: Annotated[
        str | None,
        typer.Option(help="CHANNELSxHEIGHTxWIDTH, HEIGHTxWIDTH or a side (default: what the network is made for)."),
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes (default: as published).")] = None,
    model_option: Annotated[
        list[str] | None, typer.Option("--model-option", "-o", help="NAME=VALUE, an option of the network.")
    ] = None,
    depth: Annotated[
        int, typer.Option(min=0, max=9, help="0: stages only; 1: blocks and layers, alike blocks as one; 2, …: inside.")
    ] = 1,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the network into this file (default: none); it must not exist.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Several networks beside each other.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    filters: Annotated[
        bool, typer.Option("--filters", help="Draw a trained classifier's filters instead, into filters.png.")
    ] = False,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="An image: draw its maps before and after the non-linearity instead, into maps.png.",
            metavar="IMAGE",
            show_default=False,
        ),
    ] = None,
    maximise: Annotated[
        str | None,
        typer.Option(
            help="Channels of --stage, else classes: draw an image made to excite each instead, into maximise.png.",
            metavar="0-7,12",
            show_default=False,
        ),
    ] = None,
    sight: Annotated[
        Path | None,
        typer.Option(
            help="An image: draw on it how far each stage, or --stage, sees instead, into sight.png.",
            metavar="IMAGE",
            show_default=False,
        ),
    ] = None,
    excite: Annotated[
        int | None,
        typer.Option(
            help="A channel of --stage: draw the images of --data that excite it most instead, into excite.png.",
            metavar="UNIT",
            min=0,
            show_default=False,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Of --excite: a source of images, as `foveal train` takes.")] = None,
    similarity: Annotated[
        str | None,
        typer.Option(
            help="A source of images: draw how alike the stages are over them instead, into similarity.png.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None,
    embed: Annotated[
        str | None,
        typer.Option(
            help="A source of images: show them as points of their features instead, in embedding.html.",
            metavar="SOURCE",
            show_default=False,
        ),
    ] = None,
    umap: Annotated[bool, typer.Option("--umap", help="Of --embed: by UMAP rather than principal components.")] = False,
    stage: Annotated[
        str | None,
        typer.Option(
            help="The stage or module to draw (default: the first convolution; of --maximise the classes; of --excite "
            "and --sight the last map)."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the pictures, none of which may exist.")] = Path(),
    trust: Trust = None,
) -> None:
    """Read a network: its layers, stages, parameters, multiply-adds, memory and receptive field; or draw it."""
    from foveal.errors import OutputError, UsageError

    pictures = (maps, sight, maximise, excite, similarity, embed)
    if filters or any(one is not None for one in pictures):
        if compare or as_json or svg is not None or input or classes or model_option or len(networks) > 1:
            raise UsageError(
                "Pictures are of one classifier, and go with --data, --umap, --stage, --out and --trust alone."
            )
        units = parse_units(maximise) if maximise is not None else ()
        from foveal.workflows.look_inside import look_inside

        files = look_inside(
            networks[0],
            filters=filters,
            maps=maps,
            sight=sight,
            maximise=units,
            excite=excite,
            data=data,
            similarity=similarity,
            embedding=embed,
            by="umap" if umap else "pca",
            stage=stage,
            out=out,
            trust=trust,
        )
        for file in files:
            typer.echo(f"written         {file}")
        return
    if stage is not None or data is not None or umap:
        raise UsageError(
            "--stage, --data and --umap say what --filters, --maps, --sight, --maximise, --excite or --embed draw; "
            "ask for one."
        )
    _refuse_number(len(networks), compare, svg)
    if svg is not None and svg.exists():
        raise OutputError(f"{svg} exists already; choose another --svg.")
    options = parse_pairs(model_option, "--model-option") if model_option else None
    size = parse_input(input)
    from foveal.models.anatomy.comparison import side_by_side
    from foveal.models.anatomy.summary import lines
    from foveal.workflows.inspect import inspect as read

    found = [read(one, input=size, classes=classes, options=options, trust=trust) for one in networks]
    width = shutil.get_terminal_size((WIDE, 24)).columns if sys.stdout.isatty() else WIDE
    if as_json:
        objects = [one.to_dict() for one in found]
        typer.echo(json.dumps(objects if compare else objects[0], indent=2, ensure_ascii=False))
    else:
        for line in side_by_side(found, width=width) if compare else lines(found[0], depth=depth, width=width):
            typer.echo("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line))
    if svg is not None:
        from foveal.files import write_text

        write_text(svg, found[0].svg())
        typer.echo(f"drawing         {svg}", err=as_json)


def _refuse_number(networks: int, compare: bool, svg: Path | None) -> None:
    """Raise UsageError where several networks are not to be compared, or one is, or a drawing is to be no SVG."""
    from foveal.errors import UsageError

    if networks > 1 and not compare:
        raise UsageError("Several networks are set beside each other with --compare.")
    if svg is not None and svg.suffix.lower() != ".svg":
        raise UsageError(f"--svg writes an SVG drawing; let {svg} end in .svg.")
    if compare and (svg is not None or networks < 2):
        raise UsageError("--compare takes two or more networks, and has no --svg: draw each by itself.")
