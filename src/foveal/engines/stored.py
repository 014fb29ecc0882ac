"""Exported engines in a classifier's folder, and `engines.json`, which binds each file to that classifier.

::

    classifier/
      classifier.json  weights.safetensors
      model.onnx  model.int8.onnx  model.xml  model.bin  model.int8.xml  model.int8.bin  model.pt2
      engines.json     each engine's files by SHA-256, its parity with torch, on what it was measured

The files of an export are made in a folder beside these and renamed at its end, `engines.json` last: whatever
stops an export, the engines of before are still there. Where a machine stops between two of the renames, the
hash does not fit, and the engine is refused until it is exported again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foveal.engines.kinds import KINDS, RUNNABLE, TORCH, is_installed
from foveal.engines.parity import TOLERANCE
from foveal.engines.processor import REDUCED_BITS, weight_bits
from foveal.errors import ClassifierError
from foveal.files import locked, saying_why, write_json

SCHEMA_VERSION = 1
MANIFEST = "engines.json"
WORKSHOP = ".export.part"


def read_engines(folder: Path, classifier: str) -> dict[str, dict[str, Any]]:
    """Return engine → its record, of those exported from the classifier whose content hash is `classifier`.

    Empty where none was exported. ClassifierError where the file is damaged or speaks of another classifier.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        engines, bound_to, schema = value["engines"], value["classifier"], value["schema_version"]
        known = {name: one for name, one in engines.items() if name in KINDS}
        whole = all(_is_whole(name, one) for name, one in known.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ClassifierError(f"{path} is damaged ({_reason(error)}); {_again(folder)}") from error
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise ClassifierError(f"{path} was written by a newer Foveal (schema {schema}); update Foveal.")
    if bound_to != classifier:
        raise ClassifierError(
            f"{path} belongs to another classifier ({str(bound_to)[:12]}, not {classifier[:12]}): this one was "
            f"changed after the export; {_again(folder)}"
        )
    if not whole:
        raise ClassifierError(
            f"{path} is damaged: a record lacks its files or a parity within the tolerance; {_again(folder)}"
        )
    return known


def choose_stored(folder: Path, classifier: str) -> str:
    """Return the fp32 engine that answered one image in the least time when it was exported, of those installed.

    ``torch`` where there is none, or none was faster than torch in its own export.
    """
    best, least_ms = TORCH, math.inf
    for name, record in read_engines(folder, classifier).items():
        kind = KINDS[name]
        if kind.int8 or not kind.runs or not is_installed(kind):
            continue
        took = record["latency_ms"]
        if took["engine"] < min(took[TORCH], least_ms):
            best, least_ms = name, took["engine"]
    return best


def stored_contents(folder: Path, name: str, classifier: str) -> list[bytes]:
    """Return the bytes of the files of the engine called `name`, each checked against its SHA-256.

    ClassifierError where it was not exported, or a file is missing, changed or of another classifier.
    """
    record = read_engines(folder, classifier).get(name)
    if record is None:
        raise ClassifierError(
            f"{folder} has no engine {name}; make it: foveal export {_shown(folder)} {KINDS[name].export_options}"
        )
    if KINDS[name].int8 and record.get("weight_bits", REDUCED_BITS) > weight_bits():
        raise ClassifierError(
            f"The engine {name} of {folder} was made on a processor with VNNI; on this one, which has none, its sums "
            f"would overflow; {_again(folder)}"
        )
    contents = []
    for file in KINDS[name].files:
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            raise ClassifierError(f"{folder / file} cannot be read: {error.strerror}; {_again(folder)}") from error
        if hashlib.sha256(content).hexdigest() != record["files"][file]:
            raise ClassifierError(
                f"{folder / file} is damaged or was exchanged: its SHA-256 is not the one in {MANIFEST}; "
                f"{_again(folder)}"
            )
        contents.append(content)
    return contents


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """Yield an empty folder in which an export may write, held against other exports; it is gone afterwards."""
    part = folder / WORKSHOP
    with locked(folder):
        with saying_why(part):
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            part.mkdir()
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def keep_engine(folder: Path, part: Path, name: str, classifier: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Move the files of the engine called `name` from `part` into `folder`, write `engines.json`, return the record."""
    files = KINDS[name].files
    try:
        before = read_engines(folder, classifier)
    except ClassifierError:  # of another classifier, or damaged: nothing in it holds any more
        before = {}
    digests = {file: _digest(part / file) for file in files}
    whole = {"files": digests, **record}
    with saying_why(folder):
        for file in files:
            with (part / file).open("rb+") as content:
                os.fsync(content.fileno())
        for file in files:
            (part / file).replace(folder / file)
    engines = {**before, name: whole}
    write_json(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, "classifier": classifier, "engines": engines})
    return whole


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _is_whole(name: str, record: Any) -> bool:
    took = [record["latency_ms"][one] for one in ("engine", TORCH)] if name in RUNNABLE else []
    return (
        all(isinstance(record["files"][file], str) for file in KINDS[name].files)
        and isinstance(record["parity"]["n"], int)
        and (KINDS[name].int8 or 0 <= record["parity"]["max_probability_difference"] <= TOLERANCE)
        and all(isinstance(one, int | float) and one > 0 for one in took)
    )


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")


def _again(folder: Path) -> str:
    return f"export again (foveal export {_shown(folder)} --to …), or predict with --engine torch."


def _shown(folder: Path) -> str:
    """Return the run that `folder` is the classifier of, or the folder itself, as typed in a shell."""
    return shlex.quote(str(folder.parent if folder.name == "classifier" else folder))
