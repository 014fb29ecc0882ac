"""The seal of a run: which files it ended with."""

from __future__ import annotations

import hashlib

from foveal.files import sha256_of, write_json
from foveal.run import SCHEMA_VERSION, Run

SEALED = ("recipe.toml", "environment.json", "audit.json", "splits.csv", "history.csv", "metrics.json", "MODEL_CARD.md")
FOLDERS = ("classifier", "evaluations/test", "evaluations/validation", "figures")


def seal(run: Run, report: bytes) -> None:
    """Write ``seal.json``: the SHA-256 of every file that `run` ends with, its `report` to be written included.

    It shows a change by accident, or by a hand that forgets the seal; it is no signature.
    """
    files = [run.path / name for name in SEALED]
    files += [file for folder in FOLDERS for file in sorted((run.path / folder).glob("*"))]
    digests = {file.relative_to(run.path).as_posix(): sha256_of(file) for file in files if file.is_file()}
    digests[run.report_file.name] = hashlib.sha256(report).hexdigest()
    write_json(run.seal_file, {"schema_version": SCHEMA_VERSION, "files": digests})
