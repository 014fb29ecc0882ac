"""What the verbs share: reading words of the command line, and progress only where it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from foveal.errors import DataError, UsageError

Trust = Annotated[
    str | None,
    typer.Option(
        help="package.module:builder: the code that a file here names for its network, and that may run.",
        show_default=False,
    ),
]

PathColumn = Annotated[str | None, typer.Option(help="Manifest: the column of the image's path.")]
LabelColumn = Annotated[str | None, typer.Option(help="Manifest: the column of the label.")]
GroupColumn = Annotated[str | None, typer.Option(help="Manifest: the column of the patient.")]
SourceColumn = Annotated[str | None, typer.Option(help="Manifest: where the image comes from.")]
SliceBy = Annotated[
    list[str] | None, typer.Option(help="Manifest: measure each value of this column apart; repeat it.")
]
SplitColumn = Annotated[str | None, typer.Option(help="Manifest: train, validation, test or calibration.")]
DataDir = Annotated[
    Path | None, typer.Option(help="mnist, cifar10, …: a folder with their files; nothing is downloaded.")
]

ENGINES = "torch, onnx, onnx-int8, openvino or openvino-int8, as `foveal export` wrote it; or auto."


def image_paths(given: Sequence[str]) -> list[str | Path]:
    """Return the image files named, and those below the folders named; DataError for a folder without any."""
    from foveal.data.sources.folders import image_files

    paths: list[str | Path] = []
    for one in given:
        path = Path(one)
        found = image_files(path) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path} holds no images.")
        paths += found
    return paths


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) for ``32`` or ``224x160`` (height first); UsageError otherwise."""
    if text is None:
        return None
    sizes = _numbers(text, most=2)
    if sizes is None:
        raise UsageError(f'--size is a side or HEIGHTxWIDTH in pixels (1 to 8192), e.g. 32 or 224x160, not "{text}".')
    return sizes[0], sizes[-1]


def parse_input(text: str | None) -> tuple[int, ...] | None:
    """Return (height, width) for ``224`` or ``224x160``, (channels, height, width) for ``3x224x160``."""
    if text is None:
        return None
    sizes = _numbers(text, most=3)
    if sizes is None:
        raise UsageError(
            f'--input is CHANNELSxHEIGHTxWIDTH, HEIGHTxWIDTH or a side (each 1 to 8192), e.g. 3x224x224, not "{text}".'
        )
    if len(sizes) == 2 and sizes[0] in (1, 3) and sizes[1] > 8:
        raise UsageError(
            f"--input {text} would be {sizes[0]} pixels high; for the channels too write {text}x{sizes[1]}."
        )
    return sizes * 2 if len(sizes) == 1 else sizes


def _numbers(text: str, most: int) -> tuple[int, ...] | None:
    """Return the numbers in ``3x224x160``, each from 1 to 8192; None where they are others, or more than `most`."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > most or not all(part.isdecimal() and 0 < int(part) <= 8192 for part in parts):
        return None
    return tuple(map(int, parts))


def parse_units(text: str) -> tuple[int, ...]:
    """Return (0, 1, 2, 9) for ``0-2,9``; UsageError otherwise."""
    units: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(one.isdecimal() and len(one) < 7 for one in ends) or int(ends[0]) > int(ends[1]):
            raise UsageError(f'--maximise takes numbers from 0, as 0-7 or 0-2,9, not "{text}".')
        units += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(dict.fromkeys(units))


def parse_pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """Return name → value for words like ``activation=relu``; UsageError for a word without ``=``."""
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise UsageError(f'{option} takes NAME=VALUE, not "{word}".')
        pairs[name.strip()] = value
    return pairs


def with_values(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, ``--pretrained`` without a tag as ``--pretrained=default``.

    It is without one at the end and before another option: typer knows no option that may stand alone.
    """
    following = [*words[1:], "-"]
    alone = "--pretrained"
    return [
        f"{word}=default" if word == alone and after.startswith("-") else word
        for word, after in zip(words, following, strict=False)
    ]
