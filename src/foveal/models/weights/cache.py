"""The cache of converted weights: ``NAME.safetensors`` under our names, beside ``NAME.json`` which says whence.

One place for all: ``weights`` in the folder of `foveal.download.cache_folder` (``$FOVEAL_CACHE``). A file is
converted once; each time it is loaded its SHA-256 is compared with the record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.download import cache_folder
from foveal.errors import ClassifierError
from foveal.files import write_bytes, write_json
from foveal.models.anatomy.without_values import without_values
from foveal.models.weights.published import PUBLISHED, published_for
from foveal.models.weights.record import PretrainedWeights

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA_VERSION = 1
PUBLISHED_FILE, OWN_FILE, BUNDLE = "published file", "own file", "bundle"
BY_HAND = "by hand"
TAG = re.compile(r"[a-z0-9_]{1,64}")
HEADER_BYTES = 1 << 20  # of a safetensors file, at most
SHA256 = re.compile(r"[0-9a-f]{64}")
SHOWN_NAME = 40  # characters in a sentence
LONGEST_TEXT = 1000  # characters of a field


@dataclass(frozen=True)
class Kept:
    """What the record beside the converted weights says."""

    name: str  # ``model.tag``
    file: str  # the published file that they were made of
    file_sha256: str
    source: str  # its address, or "by hand"
    sha256: str  # of the converted weights
    bytes: int  # of the converted weights
    origin: str  # "published file", "own file", or "bundle": then `file_sha256` is what its maker says
    auxiliary: bool = False  # whether there are auxiliary heads among them
    schema_version: int = SCHEMA_VERSION

    @property
    def path(self) -> Path:
        """The converted weights."""
        return weights_folder() / f"{self.name}.safetensors"

    @property
    def caveat(self) -> str:
        """What was not proved of these weights, or ""."""
        if self.origin == BUNDLE:
            return "from a bundle: its maker vouches for it"
        published = PUBLISHED.get(self.name)
        if published is None:
            return ""
        if not published.sha256:
            by_hand = "brought by hand and not compared with the published file"
            return by_hand if self.source == BY_HAND else ""
        digits = len(published.sha256)
        return "" if published.bytes_known else f"only {digits} digits of the published SHA-256 were compared"


def weights_folder() -> Path:
    """Return where converted weights are kept."""
    return cache_folder() / "weights"


def kept(weights: PretrainedWeights) -> Kept | None:
    """Return the record of `weights` in the cache, or None where they are not there, or not whole."""
    return _record(weights.name)


def verified(weights: PretrainedWeights) -> Kept | None:
    """Return the record of `weights` in the cache, or None where they are not there or their SHA-256 is another."""
    record = kept(weights)
    try:
        if record is None:
            return None
        with record.path.open("rb") as file:
            return record if hashlib.file_digest(file, "sha256").hexdigest() == record.sha256 else None
    except OSError:
        return None


def _record(name: str) -> Kept | None:
    try:
        value = json.loads((weights_folder() / f"{name}.json").read_text("utf-8"))
        record = parse_record(value)
    except (OSError, ValueError):
        return None
    whole = record.name == name and record.path.is_file() and record.path.stat().st_size == record.bytes
    return record if whole else None


def parse_record(value: Any) -> Kept:
    """Return the record in a JSON value; ValueError where it is none, or one of a newer Foveal."""
    kinds = {
        "name": str, "file": str, "file_sha256": str, "source": str, "sha256": str, "bytes": int, "origin": str,
    }  # fmt: skip
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        raise ValueError("it is no record of weights, or one of a newer Foveal")
    if any(not isinstance(value.get(key), kind) for key, kind in kinds.items()):
        raise ValueError("a field is missing")
    meant(value["name"])
    if not all(SHA256.fullmatch(value[key]) for key in ("sha256", "file_sha256")):
        raise ValueError("a SHA-256 is none")
    if not all(value[key].isprintable() and len(value[key]) <= LONGEST_TEXT for key in ("file", "source")):
        raise ValueError("a field is too long or cannot be printed")
    if value["origin"] not in (PUBLISHED_FILE, OWN_FILE, BUNDLE):
        raise ValueError("its origin is unknown")
    return Kept(**{key: value[key] for key in kinds}, auxiliary=value.get("auxiliary") is True)


def meant(name: str) -> PretrainedWeights:
    """Return the facts of ``MODEL.TAG``, also under a tag of somebody's own; ValueError where it is no such name."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    model, _, tag = name.partition(".")
    known = published_for(model)
    if not known or not TAG.fullmatch(tag):
        shown = name if len(name) <= SHOWN_NAME else f"{name[:SHOWN_NAME]}…"
        raise ValueError(f"{shown!r} is no name of weights")
    return own_weights(known[0], tag, "", "")


def load(weights: PretrainedWeights) -> dict[str, Tensor]:
    """Return the converted tensors of `weights`; ClassifierError where they are missing or were changed."""
    from safetensors import SafetensorError
    from safetensors.torch import load as parse_safetensors

    record = kept(weights)
    if record is None:
        raise ClassifierError(f"The weights {weights.name} are not here; get them: foveal weights fetch {weights.name}")
    again = f"fetch them again: foveal weights fetch {weights.name}"
    try:
        content = record.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise ClassifierError(f"{record.path} is damaged or was changed: its SHA-256 is not its record's; {again}")
        return parse_safetensors(content)
    except (OSError, SafetensorError) as error:
        raise ClassifierError(f"{record.path} cannot be read ({error}); {again}") from error


def keep(weights: PretrainedWeights, content: bytes, name: str, source: str) -> Kept:
    """Convert the bytes of a published file called `name` and keep them as `weights`; return the record.

    Raises ClassifierError where they are no such weights, OutputError where the disk is full; nothing is kept then.
    """
    from safetensors.torch import save as make_safetensors

    from foveal.models.weights.reading import fitted, read_tensors

    tensors = read_tensors(content, name)
    expected, auxiliary = expected_tensors(weights, tensors)
    converted = make_safetensors(fitted(tensors, expected, name))
    record = Kept(
        name=weights.name,
        file=weights.file,
        file_sha256=hashlib.sha256(content).hexdigest(),
        source=source,
        sha256=hashlib.sha256(converted).hexdigest(),
        bytes=len(converted),
        origin=PUBLISHED_FILE if weights.name in PUBLISHED else OWN_FILE,
        auxiliary=auxiliary,
    )
    write_bytes(record.path, converted)
    write_record(record)
    return record


def write_record(record: Kept) -> None:
    """Write the record beside its weights, which are there already."""
    write_json(record.path.with_suffix(".json"), dataclasses.asdict(record))


def largest_bytes(weights: PretrainedWeights) -> int:
    """Return how large converted weights can be: all numbers of the network, and a header."""
    state, _ = expected_tensors(weights, None)
    return sum(one.numel() * one.element_size() for one in state.values()) + HEADER_BYTES


def expected_tensors(weights: PretrainedWeights, tensors: Iterable[str] | None) -> tuple[dict[str, Tensor], bool]:
    """Return the names and shapes that `weights` must have, and whether auxiliary heads are among them.

    They are, where the architecture has some and the file does: a network is built with them, loaded, and only
    then do those that ask for none lose them. `tensors` are the file's, or None for all that there can be.
    """
    import torch

    from foveal.models.catalog import create_model, find

    options = {key: value for key, value in weights.options.items() if key != "auxiliary"}
    has_heads = "auxiliary" in find(weights.model).options()
    with torch.random.fork_rng(devices=[]), without_values():
        network = create_model(weights.model, options={**options, **({"auxiliary": True} if has_heads else {})})
    heads = tuple(f"{name}." for name in network.auxiliary)
    names = None if tensors is None else [name.removeprefix("module.") for name in tensors]
    auxiliary = bool(heads) and (names is None or any(name.startswith(heads) for name in names))
    state = network.state_dict()
    return {name: one for name, one in state.items() if auxiliary or not heads or not name.startswith(heads)}, auxiliary


def added_by_hand(model: str, tag: str) -> PretrainedWeights | None:
    """Return the facts of weights that somebody added under a tag of their own, or None.

    Their preprocessing is that of the architecture's default weights; of their accuracy nothing is known.
    """
    record = _record(f"{model}.{tag}")
    known = published_for(model)
    return own_weights(known[0], tag, record.file, record.file_sha256) if record and known else None


def all_by_hand() -> list[PretrainedWeights]:
    """Return the facts of all weights that are here under a tag of somebody's own, by their names."""
    names = [file.stem.partition(".") for file in sorted(weights_folder().glob("*.json")) if file.stem not in PUBLISHED]
    return [own for model, _, tag in names if (own := added_by_hand(model, tag))]


def own_weights(like: PretrainedWeights, tag: str, file: str, sha256: str) -> PretrainedWeights:
    """Return the facts of somebody's own weights for the network of `like`."""
    return dataclasses.replace(
        like, tag=tag, urls=(), file=file, sha256=sha256, top1=None, top5=None, measured_by="", member="",
        licence="not known", default=False, head=True, note=f"added by hand; preprocessing as {like.name}",
    )  # fmt: skip
