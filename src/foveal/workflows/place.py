"""Where a run may be made: a name that is free, a folder that may be written to, and not among the images."""

from __future__ import annotations

import os
import re
from pathlib import Path

from foveal.data.dataset import Dataset
from foveal.data.images import ImageFiles
from foveal.errors import OutputError
from foveal.files import saying_why


def refuse_existing(out: Path) -> None:
    """Raise OutputError when `out` is a run already, or anything but an empty folder."""
    with saying_why(out):
        out.exists()
    if (out / "recipe.toml").is_file():
        raise OutputError(
            f"{out} holds a run already; remove it, choose another --out, or go on with: foveal train --resume {out}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already and is not empty; choose another --out.")


def refuse_unwritable(out: Path) -> None:
    """Find out before the long work whether the run directory can be made."""
    existing = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{out} cannot be made: {existing} is not a folder that may be written to.")


def refuse_inside(out: Path, dataset: Dataset) -> None:
    """Raise OutputError when the run would lie among the class folders it is trained on, and become one of them."""
    home = Path(dataset.origin)
    if isinstance(dataset.images, ImageFiles) and home.is_dir() and out.resolve().is_relative_to(home.resolve()):
        raise OutputError(f"{out} lies inside {home}, whose folders are the classes; choose an --out elsewhere.")


def free_name(parent: Path, name: str) -> Path:
    """Return `parent`/`name`, with -2, -3, … where it is taken."""
    name = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
    names = [name, *(f"{name}-{number}" for number in range(2, 10_000))]
    return next(parent / one for one in names if not (parent / one).exists())


def refuse_existing_file(file: Path, option: str = "--out") -> None:
    """Raise OutputError when `file`, which `option` names, exists."""
    with saying_why(file):
        if file.exists():
            raise OutputError(f"{file} exists already; choose another {option}.")


def free_page(dataset: str, kind: str, *, also: str = ".html") -> Path:
    """Return a page in the current folder called after `dataset` and its `kind`, with -2, -3, … where it is taken.

    `also` is the suffix of what is written beside it, which has to be free, too.
    """
    stem = re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "data"
    names = (Path(f"{stem}-{kind}{suffix}.html") for suffix in ("", *(f"-{number}" for number in range(2, 10_000))))
    return next(one for one in names if not one.exists() and not one.with_suffix(also).exists())
