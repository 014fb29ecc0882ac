"""The catalog: what is published is known to the byte, is found in copies, and is downloaded into the cache."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from foveal import download
from foveal.data import catalog
from foveal.data.catalog import CATALOG, is_named
from foveal.data.load import load
from foveal.download import RemoteFile
from foveal.errors import DataError, UsageError
from foveal.progress import Progress

PUBLISHED = [entry for entry in CATALOG.values() if entry.files]


def refusal(source: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(source, **options)
    return str(caught.value)


def test_what_is_published_is_known_to_the_byte() -> None:
    assert [entry.name for entry in PUBLISHED] == ["mnist", "fashion_mnist", "cifar10", "cifar100", "cifar100_coarse"]
    for entry in PUBLISHED:
        for file in entry.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.size > 4_000
            assert all(url.startswith("https://") and url.endswith("/" + file.name) for url in file.urls)
    hashes = [file.sha256 for entry in PUBLISHED for file in entry.files]
    assert len(set(hashes)) == 10  # cifar100 and cifar100_coarse share one


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("mnist", True),
        ("fashion-mnist", True),
        ("noise:3", True),
        ("flowers", False),
        (Path("cifar10"), True),
        (3, False),
    ],
)
def test_names(name: object, known: bool) -> None:
    assert is_named(name) is known


def test_a_seed_goes_with_noise_alone() -> None:
    for source in ("mnist:3", "digits:3", "noise:many", "noise:-1"):
        with pytest.raises(UsageError, match=f'"{source}" is no data set'):
            load(source)


def test_a_folder_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_folders: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    class_folders.rename(tmp_path / "digits")
    assert load("digits").classes == ("apple", "lime", "plum")


def test_mnist_from_a_copy(real_data: Path) -> None:
    dataset = load("mnist", data_dir=real_data)  # in the folder of its name
    assert (dataset.name, dataset.origin) == ("mnist", "mnist")
    assert dataset.class_counts()["5"] == 5_421 + 892
    assert int((dataset.given_splits == "test").sum()) == 10_000


def test_the_files_of_another_data_set_are_not_mnist(real_data: Path, tmp_path: Path) -> None:
    message = refusal("fashion_mnist", data_dir=real_data / "mnist")
    assert "holds IDX files, but of other images than Fashion-MNIST's, perhaps MNIST's; to take them" in message
    for file in (real_data / "mnist").glob("train-*"):
        shutil.copy(file, tmp_path)
    assert "holds IDX files, but not all of MNIST's" in refusal("mnist", data_dir=tmp_path)


def test_the_names_that_a_data_dir_goes_with() -> None:
    assert catalog.WITH_FILES == ("mnist", "fashion_mnist", "cifar10", "cifar100", "cifar100_coarse")


@pytest.fixture
def nearby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog whose `mnist` has twelve images that lie under file: addresses; returns the folder they lie in."""
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    there = tmp_path / "there"
    there.mkdir()
    files = []
    for part, count in (("train", 8), ("t10k", 4)):
        images = np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4)
        for kind, values in (("images-idx3", images), ("labels-idx1", np.arange(count, dtype=np.uint8) % 2)):
            header = b"".join(int(one).to_bytes(4, "big") for one in (0x0800 | values.ndim, *values.shape))
            content = gzip.compress(header + values.tobytes())
            file = there / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            files.append(RemoteFile(file.name, len(content), digest, (file.as_uri(),)))
    entry = dataclasses.replace(
        CATALOG["mnist"],
        files=tuple(files),
        read=catalog._idx("mnist", "MNIST", {"train": (8, 4, 4, [0, 1, 0, 1, 0, 1]), "test": (4, 2, 2, [0, 1, 0, 1])}),
    )
    monkeypatch.setitem(CATALOG, "mnist", entry)
    return there


def test_a_name_is_downloaded_once_into_the_cache(nearby: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    first = load("mnist", progress=Progress(stream=out))
    assert out.getvalue() == f"downloading MNIST (0.0 MB) into {tmp_path / 'cache' / 'mnist'}\n"
    shutil.rmtree(nearby)
    again = load("mnist")
    assert first.content_hash == again.content_hash
    assert (again.name, again.origin, len(again)) == ("mnist", "mnist", 12)
    assert sorted(path.name for path in (tmp_path / "cache" / "mnist").glob("[!.]*")) == sorted(
        file.name for file in CATALOG["mnist"].files
    )


def test_without_a_network_it_is_said_what_to_put_where(nearby: Path, tmp_path: Path) -> None:
    load("mnist")
    for folder in (nearby, tmp_path / "cache" / "mnist"):
        (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    missing = CATALOG["mnist"].files[3]
    message = refusal("mnist")
    assert message.startswith("mnist is not on this machine and cannot be downloaded (")
    assert message.endswith(
        f"). Fetch these files elsewhere, and put them into {tmp_path / 'cache' / 'mnist'}, or into any folder DIR "
        f"that --data-dir DIR names:\n  {missing.urls[0]} ({missing.size:,} bytes)"
    )


@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_where_a_copy_may_lie(place: str, nearby: Path, tmp_path: Path) -> None:
    shutil.copytree(nearby, tmp_path / "copies" / place)
    shutil.rmtree(nearby)
    assert len(load("mnist", data_dir=tmp_path / "copies")) == 12


def test_a_copy_is_never_completed_by_a_download(nearby: Path, tmp_path: Path) -> None:
    (nearby / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "t10k-labels-idx1-ubyte.gz")
    assert "t10k-labels-idx1-ubyte (or t10k-labels-idx1-ubyte.gz) is missing" in refusal("mnist", data_dir=nearby)
    assert refusal("mnist", data_dir=tmp_path / "cache") == f"There is no folder {tmp_path / 'cache'} (--data-dir)."


def test_a_damaged_file_in_the_cache_is_named(nearby: Path, tmp_path: Path) -> None:
    load("mnist")
    file = tmp_path / "cache" / "mnist" / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[-6] ^= 0xFF  # gzip's checksum
    file.write_bytes(content)
    assert refusal("mnist").startswith(f"{file} cannot be read: ")
