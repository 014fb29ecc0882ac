"""The servers of `bench/serve.py`: which can be started here, how one is started, what it and its children take."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from serving_images import FOVEAL
from serving_load import Load, Request

BENCH = Path(__file__).resolve().parent
PEERS, OURS = ("naive", "litserve", "pool"), ("foveal", "foveal-int8")
SERVERS = (*PEERS, *OURS)
ENGINES = {"foveal": "openvino", "foveal-int8": "openvino-int8"}


@dataclass(frozen=True)
class Home:
    """Where things lie."""

    classifier: Path
    images: Path
    data: Path
    litserve: Path
    network: str = "timm"  # of the peers in torch eager


@dataclass(frozen=True)
class Server:
    """One that runs."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def load(self, images: Path, seconds: float, *, concurrency: int = 1, rate: float = 0.0, raw: bool = False) -> Load:
        path = "/v1/predict" if self.name in OURS else "/predict"
        part = "request" if self.name == "litserve" else "image"
        return Load(self.port, path, str(images), seconds, concurrency, rate, "" if raw else part)

    def processes(self) -> list[int]:
        """Return the process and everything that it started."""
        found, at = [self.process.pid], 0
        while at < len(found):
            with contextlib.suppress(OSError):
                for task in list(Path(f"/proc/{found[at]}/task").iterdir()):
                    with contextlib.suppress(OSError):  # a thread that ended meanwhile
                        found += [int(one) for one in (task / "children").read_text().split()]
            at += 1
        return found

    def memory_mib(self) -> float:
        """Return the resident memory of all of them; what they share counts once for each."""
        total = 0
        for one in self.processes():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{one}/status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return total / 1024

    def processor_s(self) -> float:
        """Return the processor time that all of them have taken."""
        total = 0
        for one in self.processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def handles(self) -> int:
        count = 0
        for one in self.processes():
            with contextlib.suppress(OSError):
                count += len(list(Path(f"/proc/{one}/fd").iterdir()))
        return count


def startable(name: str, home: Home) -> bool:
    """Whether it can be started here; the reason is printed where it cannot."""
    why = ""
    if name == "litserve" and not litserve_version(home.litserve):
        why = "not installed: python -m pip install --no-deps --target FOLDER litserve==0.2.19 pyzmq; --litserve FOLDER"
    if name in ("naive", "litserve") and home.network == "timm":
        lacking = [one for one in ("timm", "torchvision") if find_spec(one) is None]
        why = why or (lacking and f"not installed: python -m pip install --no-deps {' '.join(lacking)}") or ""
    if name in OURS:
        helped = subprocess.run([*FOVEAL, "serve", "--help"], capture_output=True, text=True, check=False)
        why = "this Foveal has no command serve" if helped.returncode else ""
    file = {"pool": "model.xml", "foveal": "model.xml", "foveal-int8": "model.int8.xml"}.get(name)
    if file and not any((folder / file).is_file() for folder in (home.classifier, home.classifier / "classifier")):
        why = f"{home.classifier} has no {file}: foveal export {home.classifier} --to openvino [--int8]"
    if why:
        print(f"{name}: left out, {why}")
    return not why


def litserve_version(folder: Path) -> str:
    for one in folder.glob("litserve-*.dist-info"):
        return one.name.split("-")[1].removesuffix(".dist")
    with contextlib.suppress(PackageNotFoundError):
        return version("litserve")
    return ""


@contextlib.contextmanager
def started(name: str, home: Home) -> Iterator[Server]:
    """Start the server called `name`, wait for its first answer, and end all of it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir=home.data))
    command = [sys.executable, str(BENCH / "serving_peers.py"), name]
    command += ["--port", str(port), "--classifier", str(home.classifier), "--network", home.network]
    if name in OURS:
        command = [*FOVEAL, "serve", str(home.classifier), "--port", str(port), "--data", str(folder / "data")]
        command += ["--engine", ENGINES[name]]
    environment = dict(os.environ)
    if name == "litserve" and home.litserve.is_dir():
        environment["PYTHONPATH"] = os.pathsep.join(
            one for one in (os.environ.get("PYTHONPATH"), str(home.litserve)) if one
        )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    server = Server(name, process, port)
    try:
        wait_for(server, home, folder / "log")
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # LitServe leaves its workers behind
        process.wait()  # what it kept is removed at the end of all: deleting makes new files slow for a while


def wait_for(server: Server, home: Home, log: Path) -> None:
    """Wait until an image is answered."""
    load = server.load(home.images, 1)
    image = sorted(home.images.glob("*.png"))[0]
    request = Request(load, image.name, image.read_bytes()).numbered("0" * 24)
    head, body = request.split(b"\r\n\r\n", 1)
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    url, ended = f"http://127.0.0.1:{server.port}{load.path}", time.monotonic() + 90
    while time.monotonic() < ended and server.process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).read()
            return
        time.sleep(0.2)
    raise SystemExit(f"{server.name} does not answer: {log.read_text(errors='replace')[-1500:]}")
