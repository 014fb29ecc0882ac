"""Who sends to a service under test: images at a rate, now and later, files into a folder, reviews; until it is kept.

What is not acknowledged is sent again under the same idempotency key, as a good client does. Nothing here knows what
is being done to the service meanwhile.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

from serving.ledger import Ledger
from serving.running import picture
from serving.service_process import ServiceProcess

AGAIN = (408, 429, 500, 502, 503, 504, 507)  # a fault of the moment
MIX = ("now", "now", "later", "review")
SEED = itertools.count(1)  # every image of a run is another


class Senders:
    """Threads that send; `counts` says how often which status came back, 0 for a connection that was lost."""

    def __init__(
        self, service: ServiceProcess, ledger: Ledger, *, threads: int = 6, rate: float = 60.0,
        mix: tuple[str, ...] = MIX, watch: Path | None = None, token: str = "",
    ) -> None:  # fmt: skip
        self.service, self.ledger, self.rate, self.mix, self.watch, self.token = (
            service,
            ledger,
            rate,
            mix,
            watch,
            token,
        )
        self.counts: collections.Counter[int] = collections.Counter()
        self.codes: collections.Counter[str] = collections.Counter()
        self.unexpected: list[str] = []
        self.repeated = 0  # answers that were kept before, and whose acknowledgement was lost
        self.without_retry_after = 0
        self.longest_s = 0.0
        self.given_up = 0
        self._numbers, self._lock, self._stopping = itertools.count(), threading.Lock(), threading.Event()
        self._give_up = threading.Event()
        self._reviewed: set[str] = set()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(threads)]

    def start(self) -> Senders:
        for one in self._threads:
            one.start()
        return self

    def settle(self, wait_s: float = 60.0) -> None:
        """Begin nothing new; wait until all that was begun is acknowledged, and what was received is answered."""
        self._stopping.set()
        ended = time.monotonic() + wait_s
        for one in self._threads:
            one.join(max(0.0, ended - time.monotonic()))
        self._give_up.set()
        for one in self._threads:
            one.join(10)
        if self.watch is not None:
            self._note_watched(ended)
        while time.monotonic() < ended and self._waiting_cases():
            time.sleep(0.2)

    def _waiting_cases(self) -> bool:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            status, body = self.service.get("/v1/cases?state=waiting&limit=1", **self._headers())
            return status != 200 or bool(json.loads(body)["cases"])
        return True

    def _note_watched(self, ended: float) -> None:
        """A file is acknowledged when it was moved aside: then its case must be there; find it by its hash."""
        from sqlalchemy import select

        from foveal.storage import tables
        from foveal.storage.database import open_database

        assert self.watch
        while time.monotonic() < ended and any(one.is_file() for one in self.watch.iterdir()):
            time.sleep(0.2)
        database = open_database(self.service.options.get("database") or f"sqlite:///{self.service.data / 'foveal.db'}")
        with database.read() as connection:
            found = {row.sha256: row.case_id for row in connection.execute(select(tables.images))}
        database.close()
        for file in (self.watch / ".foveal" / "done").iterdir():
            digest = self.ledger.sent(file.read_bytes())
            self.ledger.acknowledged("watch", file.name, sha256=digest, case=found.get(digest, "none"))

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=40)
        while not self._stopping.is_set():
            number = next(self._numbers)
            late = self._began + number / self.rate - time.monotonic()
            if late > 0 and self._stopping.wait(late):
                break
            way = self.mix[number % len(self.mix)]
            if self.watch is not None and number % 10 == 9:
                self._put(number)
            if way == "review":
                self._review(connection, number)
            else:
                self._image(connection, way, number)
        connection.close()

    def _put(self, number: int) -> None:
        assert self.watch
        content = picture(next(SEED))
        self.ledger.sent(content)
        unfinished = self.watch / f"{number}.png.part"
        unfinished.write_bytes(content)
        unfinished.rename(self.watch / f"{number}.png")

    def _image(self, connection: http.client.HTTPConnection, way: str, number: int) -> None:
        content, key = picture(next(SEED)), f"{way}-{number}"
        digest = self.ledger.sent(content)
        path = "/v1/predict" if way == "now" else "/v1/predict?wait=false"
        told = self._until_kept(connection, path, content, {"content-type": "image/png", "idempotency-key": key})
        if told is None:
            return
        if way == "later":
            self.ledger.acknowledged(way, key, sha256=digest, case=told["cases"][0]["case"])
            return
        answer = told["answers"][0]
        with self._lock:
            self.repeated += answer["repeated"]
        self.ledger.acknowledged(
            way, key, sha256=digest, case=answer["case"], prediction=answer["prediction"],
            probabilities=answer["probabilities"], classifier=answer["classifier"]["hash"],
        )  # fmt: skip

    def _review(self, connection: http.client.HTTPConnection, number: int) -> None:
        with self._lock:
            case = next(
                (one["case"] for one in reversed(self.ledger.of("now")) if one["case"] not in self._reviewed), None
            )
            if case is None:
                return
            self._reviewed.add(case)
        said = json.dumps({"verdict": "accept", "version": 0}).encode()
        headers = {"content-type": "application/json", "idempotency-key": f"review-{number}"}
        told = self._until_kept(connection, f"/v1/cases/{case}/reviews", said, headers)
        if told is not None:
            self.ledger.acknowledged("review", f"review-{number}", case=case, review=told["id"])

    def _until_kept(
        self, connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any] | None:
        """Send until it is acknowledged; None when it was refused for good, or given up at the end of all."""
        while not self._give_up.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", path, body, {**headers, **self._headers()})
                answer = connection.getresponse()
                content = answer.read()
                status, retry_after = answer.status, answer.getheader("retry-after")
            except (OSError, http.client.HTTPException):
                connection.close()
                status, retry_after, content = 0, None, b""
            with self._lock:
                self.counts[status] += 1
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                if status in (429, 503) and retry_after is None:
                    self.without_retry_after += 1
            if status in (200, 201, 202):
                told: dict[str, Any] = json.loads(content)
                return told
            code = _code(content)
            with self._lock:
                self.codes[f"{status} {code}".strip()] += 1
            if status and status not in AGAIN and code != "in_flight":
                self.unexpected.append(f"{status} {content[:200].decode(errors='replace')}")
                return None
            if status == 500:
                self.unexpected.append(f"500 {content[:200].decode(errors='replace')}")
            self._give_up.wait(0.05 if not status else 0.2)
        self.given_up += 1
        return None


def _code(content: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(content)["error"]["code"])
    return ""
