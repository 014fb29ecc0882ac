"""The real service in a process of its own, which a test may kill, freeze and start again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from child_processes import children_of

COMMAND = (sys.executable, "-c", "from foveal.cli import run; run()", "serve")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class ServiceProcess:
    """`foveal serve`, on the same port each time. `before` goes in front of the command, as `nsenter …` does."""

    classifier: Path
    data: Path
    log: Path
    options: dict[str, Any] = field(default_factory=dict)  # settings
    before: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    started: int = 0

    def start(self, *, wait_s: float = 60.0) -> ServiceProcess:
        self.launch()
        self.wait_ready(wait_s)
        return self

    def launch(self) -> None:
        settings = {f"FOVEAL_SERVE_{name.upper()}": str(value) for name, value in self.options.items()}
        command = [*self.before, *COMMAND, str(self.classifier), "--port", str(self.port), "--data", str(self.data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "FOVEAL_SERVE_LOG_LEVEL": "warning", **settings, **self.environment},
            )  # fmt: skip
        self.started += 1

    def wait_ready(self, wait_s: float = 60.0) -> None:
        ended = time.monotonic() + wait_s
        while time.monotonic() < ended:
            assert self.process and self.process.poll() is None, f"the service ended: {self.tail()}"
            if self.status("/health/ready") == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"the service is not ready after {wait_s} s: {self.tail()}")

    def status(self, path: str) -> int:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get(path)[0]
        return 0

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return self.call("GET", path, None, headers)[::2]

    def call(
        self, method: str, path: str, body: bytes | dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill the main process alone, as the kernel does that is out of memory; its children must notice."""
        assert self.process
        os.kill(self.main_pid(), signal.SIGKILL)
        self.process.wait(10)

    def stop(self, wait_s: float = 60.0) -> int:
        """Ask it to stop, and return the exit status."""
        assert self.process
        os.kill(self.main_pid(), signal.SIGTERM)
        return self.process.wait(wait_s)

    def end(self) -> None:
        """Leave nothing of it behind."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def main_pid(self) -> int:
        assert self.process
        return self.process.pid

    def processes(self) -> list[int]:
        """The main process and everything below it."""
        found, at = [self.main_pid()], 0
        while at < len(found):
            found += sorted(children_of(found[at]))
            at += 1
        return found

    def children(self, program: str = "decoder") -> list[int]:
        found = []
        for one in self.processes():
            with contextlib.suppress(OSError):
                if f"foveal.serving.children.{program}".encode() in Path(f"/proc/{one}/cmdline").read_bytes():
                    found.append(one)
        return found

    def memory_mib(self) -> float:
        total = 0
        for one in self.processes():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{one}/status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return total / 1024

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def tracebacks(self) -> int:
        return self.log.read_text(errors="replace").count("Traceback (most recent call last)")
