"""The catalog: data sets with a name, some embedded or generated, some published and downloaded once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.data.dataset import Dataset
from foveal.data.sources.cifar import find_cifar_copy, read_cifar
from foveal.data.sources.digits import read_digits
from foveal.data.sources.idx import is_idx_folder, read_idx_folder
from foveal.data.sources.noise import read_noise
from foveal.download import NotFetchedError, RemoteFile, cache_folder, fetch
from foveal.errors import DataError, UsageError, listed, nearest
from foveal.progress import Progress

Reader = Callable[[Path, Progress], "Dataset | None"]


@dataclass(frozen=True)
class Entry:
    """One name of the catalog."""

    name: str
    title: str
    make: Callable[[int], Dataset] | None = None  # from a seed: nothing needs to be there
    files: tuple[RemoteFile, ...] = ()  # what is downloaded
    folder: str = ""  # where in the cache
    torchvision: str = ""  # where below its folder torchvision keeps the same files
    read: Reader | None = None  # a folder → the data set in it, or None where it is not there
    layout: str = ""  # the files in words


def is_named(source: object) -> bool:
    """Return whether `source` is a name of the catalog, ``-`` and ``_`` being equal, perhaps with ``:SEED``."""
    return isinstance(source, str | Path) and _plain(str(source)).partition(":")[0] in CATALOG


def load_named(source: str, *, data_dir: str | Path | None = None, progress: Progress | None = None) -> Dataset:
    """Return the data set called `source`; what is published is downloaded the first time, and kept.

    Args:
        source: a name of `CATALOG`; ``noise:7`` is noise of another seed.
        data_dir: a folder with the published files, so that nothing is downloaded.
        progress: where a download is shown; on standard error by default.

    Raises:
        DataError: when `data_dir` does not hold the files, or they cannot be downloaded; it says which.
        UsageError: for a seed where there is none, or `data_dir` for what needs no files.
    """
    name, _, seed = _plain(source).partition(":")
    entry = CATALOG[name]
    if entry.make is not None:
        if data_dir is not None:
            raise UsageError(f"{name} needs no files; leave --data-dir out.")
        if seed and (name != "noise" or not seed.isdecimal()):
            raise UsageError(f'"{source}" is no data set; only noise takes a seed, as in noise:7.')
        return entry.make(int(seed or 0))
    if seed:
        raise UsageError(f'"{source}" is no data set.{nearest(source, CATALOG)}')
    with nullcontext(progress) if progress is not None else Progress() as display:
        return _from_copy(entry, Path(data_dir), display) if data_dir is not None else _from_cache(entry, display)


def _plain(source: str) -> str:
    return source.replace("-", "_")


def _from_copy(entry: Entry, data_dir: Path, progress: Progress) -> Dataset:
    """Return the data set from a folder of the user's: the files lie in it, or in a folder of the data set's name."""
    if not data_dir.is_dir():
        raise DataError(f"There is no folder {data_dir} (--data-dir).")
    for place in dict.fromkeys(data_dir / one for one in (entry.name, entry.folder, entry.torchvision, ".")):
        if place.is_dir() and (dataset := _read(entry, place, progress)) is not None:
            return dataset
    raise DataError(f"{data_dir} holds no {entry.title}: put {entry.layout} there, or into {data_dir / entry.name}.")


def _from_cache(entry: Entry, progress: Progress) -> Dataset:
    """Return the data set from the user's cache, after downloading what is not there yet."""
    folder = cache_folder() / entry.folder
    try:
        fetch(entry.title, entry.files, folder, progress)
    except NotFetchedError as error:
        missing = [file for file in entry.files if not (folder / file.name).is_file()]
        raise DataError(
            f"{entry.name} is not on this machine and cannot be downloaded ({error}). Fetch these files elsewhere, and "
            f"put them into {folder}, or into any folder DIR that --data-dir DIR names:\n"
            + listed(f"{file.urls[0]} ({file.size:,} bytes)" for file in missing)
        ) from error
    dataset = _read(entry, folder, progress)
    if dataset is None:
        raise DataError(f"{folder} holds no {entry.title} although its files are there; remove the folder.")
    return dataset


def _read(entry: Entry, folder: Path, progress: Progress) -> Dataset | None:
    return entry.read(folder, progress) if entry.read is not None else None


def _cifar(name: str, data_set: str, *, coarse: bool = False) -> Reader:
    def read(folder: Path, progress: Progress) -> Dataset | None:
        found = find_cifar_copy(folder, data_set, progress)
        return read_cifar(*found, coarse=coarse, name=name, origin=name) if found else None

    return read


def _idx(name: str, title: str, tell: _Fingerprint, classes: tuple[str, ...] | None = None) -> Reader:
    def read(folder: Path, _: Progress) -> Dataset | None:
        if not is_idx_folder(folder):
            return None
        dataset = read_idx_folder(folder, name=name, origin=name, classes=classes)
        if _fingerprint(dataset) != tell:
            raise DataError(
                f"{folder} holds IDX files, but {_difference(dataset, title, tell)}; to take them as they are, give "
                f"the folder itself: {folder}"
            )
        return dataset

    return read


_Fingerprint = dict[str, tuple[int, int, int, list[int]]]


def _fingerprint(dataset: Dataset) -> _Fingerprint:
    """Return what tells the data sets of this format from one another: images, rarest class, first labels."""
    labels = {split: dataset.labels[dataset.given_splits == split] for split in ("train", "test")}
    return {
        split: (len(one), int(np.bincount(one).min()), int(np.bincount(one).max()), one[:6].tolist())
        for split, one in labels.items()
        if len(one)
    }


def _difference(dataset: Dataset, title: str, tell: _Fingerprint) -> str:
    """Return in words what a folder holds that is not the data set called `title`, which `tell` tells."""
    found = _fingerprint(dataset)
    if not found or any(one == tell.get(split) for split, one in found.items()):
        return f"not all of {title}'s and nothing else"
    others = [
        other for other, known in _FINGERPRINTS.items() if any(one == known[split] for split, one in found.items())
    ]
    return f"of other images than {title}'s" + (f", perhaps {others[0]}'s" if others else "")


def _four(bases: tuple[str, ...], *known: tuple[int, str]) -> tuple[RemoteFile, ...]:
    """Return the four IDX files below each of `bases`, from (bytes, SHA-256) of each."""
    names = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    return tuple(
        RemoteFile(name, size, sha256, tuple(f"{base}/{name}" for base in bases))
        for name, (size, sha256) in zip(names, known, strict=True)
    )


_FINGERPRINTS: dict[str, _Fingerprint] = {
    "MNIST": {"train": (60_000, 5_421, 6_742, [5, 0, 4, 1, 9, 2]), "test": (10_000, 892, 1_135, [7, 2, 1, 0, 4, 1])},
    "Fashion-MNIST": {
        "train": (60_000, 6_000, 6_000, [9, 0, 0, 3, 0, 2]),
        "test": (10_000, 1_000, 1_000, [9, 2, 1, 1, 6, 1]),
    },
}
_IDX_LAYOUT = "train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k (each plain or .gz)"
_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR_10 = RemoteFile(
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
_CIFAR_100 = RemoteFile(
    "cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
)
_CIFAR_10_LAYOUT = "cifar-10-binary.tar.gz, cifar-10-python.tar.gz, or the folder in one of them"
_CIFAR_100_LAYOUT = "cifar-100-binary.tar.gz, cifar-100-python.tar.gz, or the folder in one of them"

# Sizes and SHA-256 are those of TensorFlow Datasets (url_checksums/*.txt); torchvision's MD5s are of the same bytes.
_ENTRIES = (
    Entry("digits", "the digits of scikit-learn", make=lambda _: read_digits()),
    Entry("noise", "noise", make=read_noise),
    Entry(
        "mnist",
        "MNIST",
        files=_four(
            ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
        folder="mnist",
        torchvision="MNIST/raw",
        read=_idx("mnist", "MNIST", _FINGERPRINTS["MNIST"]),
        layout=_IDX_LAYOUT,
    ),
    Entry(
        "fashion_mnist",
        "Fashion-MNIST",
        files=_four(
            (
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
                "https://fashion-mnist.s3.eu-central-1.amazonaws.com",
            ),
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        folder="fashion_mnist",
        torchvision="FashionMNIST/raw",
        read=_idx("fashion_mnist", "Fashion-MNIST", _FINGERPRINTS["Fashion-MNIST"], _FASHION_CLASSES),
        layout=_IDX_LAYOUT,
    ),
    Entry("cifar10", "CIFAR-10", files=(_CIFAR_10,), folder="cifar10",
          read=_cifar("cifar10", "CIFAR-10"), layout=_CIFAR_10_LAYOUT),
    Entry("cifar100", "CIFAR-100", files=(_CIFAR_100,), folder="cifar100",
          read=_cifar("cifar100", "CIFAR-100"), layout=_CIFAR_100_LAYOUT),
    Entry("cifar100_coarse", "CIFAR-100", files=(_CIFAR_100,), folder="cifar100",
          read=_cifar("cifar100_coarse", "CIFAR-100", coarse=True), layout=_CIFAR_100_LAYOUT),
)  # fmt: skip

CATALOG = {entry.name: entry for entry in _ENTRIES}
WITH_FILES = tuple(entry.name for entry in _ENTRIES if entry.files)  # those that a data_dir can go with
