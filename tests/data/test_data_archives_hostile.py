"""Archives that are damaged, or made to do harm: one sentence each, and nothing is written."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archive_files import SMALL, packed, png, refusal, tar_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.data import members
from foveal.data.images import Fitting
from foveal.data.load import load
from foveal.data.sources import tars
from foveal.data.sources.listing import SUFFIXES
from foveal.errors import DataError
from foveal.preprocess import Preprocess
from foveal.progress import Progress

SILENT = Progress(silent=True)
GREY = Preprocess(1, 8, 8, 8, 8, "stretch", (0.0,), (1.0,))


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    "name",
    ["../evil.png", "cat/../../evil.png", "/etc/evil.png", "C:evil.png", "c:/evil.png", "cat\\evil.png", "..\\evil.png",
     "cat/a\nb.png", "cat/..", "./.", "../README.txt", ".hidden/../x.png"],
)  # fmt: skip
def test_names_that_lead_out_or_are_not_plain_are_refused(name: str, suffix: str, tmp_path: Path) -> None:
    message = refusal(packed(tmp_path / f"pets{suffix}", {**SMALL, name: png(9)}))
    assert "holds names that lead out of it or are not plain; pack it anew without, or unpack it" in message
    assert len(message.splitlines()) == 2
    assert sorted(tmp_path.iterdir()) == [tmp_path / f"pets{suffix}"]


@given(parts=st.lists(st.sampled_from(["..", ".", "", "a", "C:", "a\\b", "x.png", "\0", "é"]), min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
def test_no_name_leads_out(parts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    from foveal.data.sources.listing import Listed, plain_files

    try:
        files, _ = plain_files(Path("a.zip"), [Listed("/".join(parts), "file")])
    except DataError:
        return
    for name in files:
        assert (
            not Path(name).is_absolute()
            and ".." not in name.split("/")
            and "\\" not in name
            and name == os.path.normpath(name)
        )


@pytest.mark.parametrize(
    ("kind", "called"),
    [(tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.CHRTYPE, "device"),
     (tarfile.BLKTYPE, "device"), (tarfile.FIFOTYPE, "device"), (tarfile.GNUTYPE_SPARSE, "sparse file")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["cat/link.png", "rose"])
def test_links_and_devices_in_tar_are_refused(name: str, kind: bytes, called: str, tmp_path: Path) -> None:
    special = tarfile.TarInfo(name)
    special.type, special.linkname = kind, "/etc/passwd"
    (tmp_path / "pets.tar").write_bytes(tar_bytes(SMALL, special))
    assert "holds links or devices, which are not followed; pack it anew without" in refusal(tmp_path / "pets.tar")
    assert f"\n  {name} ({called})" in refusal(tmp_path / "pets.tar")


@pytest.mark.parametrize(("mode", "called"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "device")])
def test_links_and_devices_in_zip_are_refused(mode: int, called: str, tmp_path: Path) -> None:
    archive = packed(tmp_path / "pets.zip", SMALL)
    info = zipfile.ZipInfo("rose")
    info.create_system, info.external_attr = 3, (mode | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(info, "/etc")
    assert f"\n  rose ({called})" in refusal(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("again", ["cat/a.png", "./cat//a.png", "cat/a.png/x.png"])
def test_names_that_come_twice_are_refused(again: str, suffix: str, tmp_path: Path) -> None:
    archive = tmp_path / f"pets{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(packed(archive, SMALL), "a") as file:
            file.writestr(again, png(9))
    else:
        extra = tarfile.TarInfo(again)
        archive.write_bytes(tar_bytes(SMALL, extra))
    assert "holds names that come twice" in refusal(archive)
    assert refusal(archive).endswith("\n  cat/a.png")


@pytest.mark.parametrize("suffix", [".zip", ".tar.bz2"])
@pytest.mark.parametrize("inner", ["more.zip", "cat/dogs.TAR.GZ", "x.7z"])
def test_archives_in_an_archive_are_refused(inner: str, suffix: str, tmp_path: Path) -> None:
    message = refusal(packed(tmp_path / f"pets{suffix}", {**SMALL, inner: b"PK"}))
    assert "holds archives of its own, which are not opened" in message
    assert message.endswith(f"\n  {inner}")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(packed(tmp_path / "pets.zip", SMALL).read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 4)
    (tmp_path / "pets.zip").write_bytes(content)
    message = refusal(tmp_path / "pets.zip")
    assert "is encrypted; unpack it with its password and give the folder:\n  cat/a.png" in message


def test_names_in_odd_encodings(tmp_path: Path) -> None:
    for written, read in (("Röntgen".encode(), "Röntgen"), ("Röntgen".encode("cp437"), "Röntgen"), (b"\xe4\xf6", "Σ÷")):
        content = packed(
            tmp_path / "pets.zip", {"x" * len(written) + "/a.png": png(1), "cat/b.png": png(2)}
        ).read_bytes()
        (tmp_path / "pets.zip").write_bytes(content.replace(b"x" * len(written), written))
        assert sorted(load(tmp_path / "pets.zip").classes) == sorted(["cat", read])
    content = packed(tmp_path / "pets.zip", {"ä/a.png": png(1), "cat/b.png": png(2)}).read_bytes()  # marked as UTF-8
    (tmp_path / "pets.zip").write_bytes(content.replace("ä".encode(), b"\xe4\xe4"))
    assert "is no ZIP archive, or it is cut off or damaged: 'utf-8' codec" in refusal(tmp_path / "pets.zip")
    (tmp_path / "pets.tar").write_bytes(tar_bytes({"x/a.png": png(1), "cat/b.png": png(2), "y/c.png": png(3)}))
    with tarfile.open(tmp_path / "pets.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("café/a.png"))
    assert "holds names that are not UTF-8" in refusal(tmp_path / "pets.tar")
    assert r"caf\udce9/a.png" in refusal(tmp_path / "pets.tar")


# damage


def test_one_damaged_member_of_a_zip_is_one_unreadable_image(tmp_path: Path) -> None:
    archive = tmp_path / "pets.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, content in SMALL.items():
            file.writestr(name, content)
    content = archive.read_bytes()
    assert content.count(SMALL["dog/a.png"]) == 1
    archive.write_bytes(content.replace(SMALL["dog/a.png"], SMALL["dog/a.png"][:-20] + b"?" + SMALL["dog/a.png"][-19:]))
    dataset = load(archive)
    assert dataset.scan.unreadable == {2: "it is damaged in the archive: its checksum is wrong"}
    assert (
        dataset.images.decode(np.arange(4), [Fitting(GREY, np.zeros((4, 8, 8, 1), np.uint8))], SILENT)
        == dataset.scan.unreadable
    )


@given(at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans(), suffix=st.sampled_from(SUFFIXES[:5]))
@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_damaged_no_image_becomes_another(
    at: int, value: int, cut: bool, suffix: str, tmp_path: Path
) -> None:
    archive = packed(tmp_path / f"pets{suffix}", SMALL)
    content = bytearray(archive.read_bytes())
    at %= len(content)
    if cut:
        del content[at:]
    elif content[at] == value:
        return
    else:
        content[at] = value
    archive.write_bytes(content)
    whole = {load(packed(tmp_path / "whole.zip", SMALL)).scan.digests[row] for row in range(4)}
    try:
        dataset = load(archive)
    except DataError as error:
        assert str(archive) in str(error)
        return
    read = set(dataset.scan.digests.tolist()) - {""}
    if suffix != ".tar":  # which has no checksums of content
        assert read <= whole
    if cut:
        assert len(read) == 4  # only padding was lost


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_what_is_no_archive_is_refused(suffix: str, tmp_path: Path) -> None:
    for content in (b"", b"hello", b"PK\3\4", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\0" * 10_240):
        (tmp_path / f"a{suffix}").write_bytes(content)
        refusal(tmp_path / f"a{suffix}")
    assert "holds no images: expected a/<class>/<image>.jpg" in refusal(
        packed(tmp_path / f"a{suffix}", {"x/y.txt": b""})
    )


def test_a_tar_without_its_end_or_with_more_after_it_is_refused(tmp_path: Path) -> None:
    whole = tar_bytes(SMALL).rstrip(b"\0")
    whole += b"\0" * (-len(whole) % 512)
    (tmp_path / "a.tar").write_bytes(whole)
    assert "it ends without its end mark" in refusal(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(tar_bytes(SMALL) + tar_bytes({"fox/a.png": png(7)}))
    assert "more follows after its end mark" in refusal(tmp_path / "a.tar")
    broken = bytearray(tar_bytes(SMALL))
    broken[1024 + 150] ^= 1  # the checksum of the second header, at which tarfile would end in silence
    (tmp_path / "a.tar").write_bytes(broken)
    assert "it ends without its end mark" in refusal(tmp_path / "a.tar")


# bombs


def with_sizes(archive: Path, name: bytes, *, size: int | None = None, offset: int | None = None) -> None:
    """Change what the table of contents of a ZIP says of one member."""
    content = bytearray(archive.read_bytes())
    entry = content.rfind(name) - 46
    assert content[entry : entry + 4] == b"PK\1\2"
    if size is not None:
        struct.pack_into("<I", content, entry + 24, size)
    if offset is not None:
        struct.pack_into("<I", content, entry + 42, offset)
    archive.write_bytes(content)


def test_a_zip_that_declares_more_than_images_do_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "pets.zip", SMALL)
    for name in (b"cat/a.png", b"cat/b.png"):
        with_sizes(archive, name, size=0xFFFFFFF0)
    message = refusal(archive)
    assert "unpacks to more than 500 times its size, which images do not" in message


def test_a_member_is_never_inflated_beyond_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        archive = tmp_path / "pets.zip"
        with zipfile.ZipFile(archive, "w", method) as file:
            file.writestr("cat/a.png", bytes(200 << 20))
            file.writestr("dog/a.png", png(1))
        with_sizes(archive, b"cat/a.png", size=1000)
        dataset = load(archive)
        tracemalloc.start()
        unreadable = dataset.scan.unreadable
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert unreadable == {0: "it is damaged in the archive: it has not the 1,000 bytes it says"}
        assert peak < 20 << 20


def test_a_huge_member_is_one_unreadable_image(tmp_path: Path) -> None:
    archive = packed(tmp_path / "pets.zip", {**SMALL, "cat/z.bin": os.urandom(5 << 20)})
    with_sizes(archive, b"cat/a.png", size=(3 << 30) // 2)
    assert load(archive).scan.unreadable == {0: "the file has 1.5 GiB; the limit is 1"}


def test_members_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "pets.zip", SMALL)
    with_sizes(archive, b"dog/b.png", offset=0)
    assert "is damaged or made to fill a disk: cat/a.png and dog/b.png lie over each other." in refusal(archive)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_compressed_tar_is_not_unpacked_without_limit(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / f"pets{suffix}", {**SMALL, "cat/zeros.bin": bytes(30 << 20)})
    assert len(load(archive)) == 4  # little, whatever its ratio
    monkeypatch.setattr(members, "BOMB_FREE_GIB", 0)
    sizes: list[int] = []
    refuse = members.refuse_bomb
    monkeypatch.setattr(
        tars, "refuse_bomb", lambda place, size, stored: (sizes.append(size), refuse(place, size, stored))
    )
    assert "unpacks to more than 500 times its size" in refusal(archive)
    assert max(sizes) < 500 * archive.stat().st_size + (2 << 20)
    monkeypatch.setattr(members, "MOST_TIB", 0)
    assert "unpacks to more than 0 TiB" in refusal(archive)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_any_size_is_not_read_whole(kind: bytes, tmp_path: Path) -> None:
    special = tarfile.TarInfo("long")
    special.type, special.size = kind, 1 << 30
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(special.tobuf())
        file.truncate(2 << 30)
    assert "a header of 1,073,741,824 bytes" in refusal(tmp_path / "a.tar")


def test_sizes_below_zero_do_not_lead_in_circles(tmp_path: Path) -> None:
    special = tarfile.TarInfo("cat/x.png")
    content = bytearray(tar_bytes(SMALL, special))
    at = content.rfind(b"cat/x.png")
    content[at + 124 : at + 136] = b"\xff" * 8 + struct.pack(">i", -3 * 512)  # back to the header before
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    (tmp_path / "a.tar").write_bytes(content)
    assert "a size below zero" in refusal(tmp_path / "a.tar")
