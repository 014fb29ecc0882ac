"""The seal of a run: which files it ended with; and whether its report still says what they say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from PIL import Image

from foveal.files import sha256_of, write_json
from foveal.run import SCHEMA_VERSION, Run

SEALED = ("recipe.toml", "environment.json", "audit.json", "splits.csv", "history.csv", "metrics.json", "MODEL_CARD.md")
FOLDERS = ("classifier", "evaluations/test", "evaluations/validation", "figures")
AROUND = 40  # characters shown of a difference


def seal(run: Run, report: bytes) -> None:
    """Write ``seal.json``: the SHA-256 of every file that `run` ends with, its `report` to be written included.

    It shows a change by accident, or by a hand that forgets the seal; it is no signature.
    """
    files = [run.path / name for name in SEALED]
    files += [file for folder in FOLDERS for file in sorted((run.path / folder).glob("*"))]
    digests = {file.relative_to(run.path).as_posix(): sha256_of(file) for file in files if file.is_file()}
    digests[run.report_file.name] = hashlib.sha256(report).hexdigest()
    write_json(run.seal_file, {"schema_version": SCHEMA_VERSION, "files": digests})


def same_report(run: Run, pictures: Callable[[str], Image.Image | None]) -> str | None:
    """Return None where the report of `run` is what its stored results give, else where it first differs.

    Thumbnails are not compared: another version of Pillow writes the same picture in other bytes.
    """
    from foveal.report.results import read_results
    from foveal.report.write import render

    found = _without_pictures(render(read_results(run), pictures).encode("utf-8", "replace").decode("utf-8"))
    stored = _without_pictures(run.report_file.read_text(encoding="utf-8"))
    if found == stored:
        return None
    at = next((at for at, (one, other) in enumerate(zip(found, stored, strict=False)) if one != other), len(found))
    start = max(0, at - AROUND)
    return f"“{stored[start : at + AROUND]}” should read “{found[start : at + AROUND]}”"


def _without_pictures(html: str) -> str:
    return re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "data:", html)
