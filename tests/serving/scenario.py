"""What every scenario works with: where it is done, what it tells, and the few things that many of them do."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from serving.ledger import Comparison, Expected, Ledger, compare
from serving.running import picture
from serving.senders import Senders
from serving.service_process import ServiceProcess


@dataclass
class Told:
    """What one scenario counted, and every fault that it found; `skipped` says why it could not be done."""

    counts: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: str = ""

    def demand(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)

    def add(self, comparison: Comparison) -> None:
        self.counts |= comparison.counts()
        self.faults += comparison.faults()

    def add_senders(self, senders: Senders, *, longest_s: float = 45.0) -> None:
        self.counts["statuses"] = dict(sorted(senders.counts.items()))
        self.counts |= {"repeated": senders.repeated, "longest_s": round(senders.longest_s, 2)}
        if senders.codes:
            self.counts["codes"] = dict(sorted(senders.codes.items()))
        self.faults += [f"unexpected: {one}" for one in senders.unexpected[:3]]
        self.demand(not senders.without_retry_after, f"{senders.without_retry_after} refusals without Retry-After")
        self.demand(not senders.given_up, f"{senders.given_up} requests were never acknowledged")
        self.demand(senders.longest_s < longest_s, f"a request took {senders.longest_s:.1f} s")


@dataclass(frozen=True)
class Home:
    """Where a scenario works: a classifier, another one of the same classes, an empty folder, and how long."""

    classifier: Path
    other: Path
    folder: Path
    seconds: float = 5.0
    kills: int = 5
    rate: float = 60.0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger.jsonl")

    @contextlib.contextmanager
    def service(self, **options: Any) -> Iterator[ServiceProcess]:
        """A service that is started, and that nothing is left of afterwards."""
        made = ServiceProcess(self.classifier, self.data, self.folder / "log", options)
        try:
            yield made.start()
        finally:
            made.end()

    def finish(self, told: Told, service: ServiceProcess, ledger: Ledger, senders: Senders | None, **how: Any) -> Told:
        """Let everything be acknowledged and answered, stop the service, and compare."""
        if senders is not None:
            began = time.monotonic()
            senders.settle()
            told.counts["settled_s"] = round(time.monotonic() - began, 1)
            told.add_senders(senders)
        told.demand((code := service.stop()) == 0, f"it left with {code} when it was asked to stop")
        told.add(compare(ledger, self.data, expected=undisturbed(self.classifier, self.other), **how))
        told.demand(not (count := service.tracebacks()), f"{count} tracebacks in {service.log}")
        return told


def undisturbed(*paths: Path) -> Expected:
    """Return what gives the probabilities of the same classifiers when nothing is done to them."""

    @functools.cache
    def loaded(digest: str) -> Any:
        from foveal.classifier import Classifier

        return next(one for path in paths if (one := Classifier.load(path, engine="auto")).hash == digest)

    def ask(contents: Sequence[bytes], digest: str) -> list[dict[str, float]]:
        pictures = [Image.open(io.BytesIO(one)) for one in contents]
        return [dict(one.probabilities) for one in loaded(digest).predict(pictures)]

    return ask


def all_gone(pids: Sequence[int], wait_s: float = 5.0) -> bool:
    ended = time.monotonic() + wait_s
    while any(is_alive(one) for one in pids):
        if time.monotonic() > ended:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def post(service: ServiceProcess, content: bytes, *, key: str = "", path: str = "/v1/predict") -> tuple[int, Any]:
    headers = {"content-type": "image/png", **({"idempotency-key": key} if key else {})}
    status, _, body = service.call("POST", path, content, headers)
    return status, json.loads(body)


def together(count: int, work: Callable[[], Any]) -> list[Any]:
    """Do `work` in so many threads that begin at the same moment."""
    results, barrier = [], threading.Barrier(count)

    def one() -> None:
        barrier.wait()
        results.append(work())

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def admin_token(data: Path) -> str:
    """Make a key with the scope admin, as the command line does."""
    from foveal.storage.database import open_database
    from foveal.storage.keys import make_key

    database = open_database(f"sqlite:///{data / 'foveal.db'}")
    try:
        return make_key(database, "driver", {"admin"}, actor="service")[1]
    finally:
        database.close()


def waiting_images(service: ServiceProcess) -> float:
    for line in service.get("/metrics")[1].decode().splitlines():
        if "waiting_images" in line and not line.startswith("#"):
            return float(line.split()[-1])
    raise AssertionError("there is no metric of waiting images")


def small_classifier(place: Path, seed: int) -> Path:
    """Make a classifier without training; with OpenVINO where that is installed, so that a start takes a second."""
    from foveal.errors import FovealError
    from foveal.workflows.export import export
    from small_classifiers import make_classifier

    folder = place / f"classifier-{seed}"
    make_classifier(seed=seed).save(folder)
    for number, name in enumerate(("apple", "lime", "plum") * 2):
        (place / "pictures" / name).mkdir(parents=True, exist_ok=True)
        (place / "pictures" / name / f"{number}.png").write_bytes(picture(number))
    with contextlib.suppress(FovealError):
        export(folder, to="openvino", data=place / "pictures", progress=False)
    return folder
