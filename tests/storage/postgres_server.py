"""A real PostgreSQL server of the test run's own: started, frozen, killed and started again by the tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy

from child_processes import children_of

USER = "postgres" if "postgres" in {one.pw_name for one in pwd.getpwall()} else "nobody"
SECRET = "not-a-secret"


def binaries() -> Path:
    """The folder of initdb and pg_ctl; the test is skipped where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: float(one.parent.name))
    found = shutil.which("pg_ctl")
    folders += [Path(found).resolve().parent] if found else []
    for folder in reversed(folders):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Server:
    """`keeper` owns the databases, `clerk` is the role of a service, `super` may do everything."""

    folder: Path
    bin: Path
    port: int = field(default_factory=free_port)
    made: int = 0

    def run(self, program: str, *words: object) -> None:
        """Run one of PostgreSQL's programs as a user that is not root."""
        command = [str(self.bin / program), *map(str, words)]
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT, check=False, timeout=120, cwd="/", text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {done.stdout}"

    def make(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(SECRET)
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            for path in (self.folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        self.run("initdb", "-A", "scram-sha-256", "-U", "super", "--pwfile", secret, "-E", "UTF8", "--no-locale",
                 "-D", self.folder / "data", "--no-sync")  # fmt: skip
        self.start()
        self.execute(f"CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{SECRET}'")
        self.execute(f"CREATE ROLE clerk LOGIN PASSWORD '{SECRET}'")

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off -c max_connections=60"
            " -c shared_buffers=32MB -c autovacuum=off -c full_page_writes=off"
        )
        self.run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop")

    def url(self, name: str, role: str) -> str:
        return f"postgresql://{role}:{SECRET}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, name: str = "postgres", role: str = "super") -> None:
        """Run one statement outside any transaction."""
        url = self.url(name, role).replace("postgresql://", "postgresql+psycopg://")
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def new_database(self, template: str = "template1") -> str:
        """Return the name of a new database that `keeper` owns."""
        self.made += 1
        name = f"test{self.made}"
        self.execute(f"CREATE DATABASE {name} OWNER keeper TEMPLATE {template}")
        self.execute("GRANT ALL ON SCHEMA public TO keeper", name)
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def processes(self) -> list[int]:
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return [postmaster, *sorted(children_of(postmaster))]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server, as a machine does that hangs; let them go on afterwards."""
        stopped = self.processes()
        try:
            for one in stopped:
                os.kill(one, signal.SIGSTOP)
            yield
        finally:
            for one in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, signal.SIGCONT)


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    found = binaries()
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30  # a new database a test is much to write
    # not below pytest's own folder, which others than the one who runs the tests may not enter
    folder = Path(tempfile.mkdtemp(prefix="foveal-postgres-", dir=memory if roomy else None))
    server = Server(folder, found)
    try:
        server.make()
        yield server
    finally:
        with contextlib.suppress(AssertionError):
            server.stop("immediate")
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)
