"""Faults of what a service stands on: the disk full or read-only, the database locked, frozen, killed, far away."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from serving.ledger import compare
from serving.scenario import Home, Told, undisturbed
from serving.senders import Senders
from serving.service_process import ServiceProcess


@contextlib.contextmanager
def own_disk(folder: Path, size: str) -> Iterator[int]:
    """A process whose view of the machine has a small disk at `folder`; others see it below /proc/PID/root."""
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && echo ready && exec sleep 3600"
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"ready\n", "the disk could not be made"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def taken_out(inside: Path, home: Home) -> Path:
    """Copy what is on the small disk to where SQLite finds it, which resolves links by their names."""
    return Path(shutil.copytree(inside, home.folder / "taken-out"))


def may_mount() -> str:
    if os.geteuid():
        return "needs root, to mount a small disk"
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return "util-linux is not installed (unshare, nsenter)"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "" if not done.returncode else "needs root that may make namespaces"


@contextlib.contextmanager
def on_a_small_disk(home: Home) -> Iterator[tuple[ServiceProcess, Path]]:
    """A service, started, whose data lie on a disk of 16 MiB; and where that disk is seen from here."""
    home.data.mkdir()
    with own_disk(home.data, "16m") as holder:
        service = ServiceProcess(
            home.classifier, home.data, home.folder / "log", before=("nsenter", "-t", str(holder), "-m", "--")
        )
        try:
            service.start()
            yield service, Path(f"/proc/{holder}/root") / home.data.relative_to("/")
        finally:
            service.end()


def filled_up(disk: Path) -> Path:
    """Fill a disk to its last byte, and return the file that does."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def disk_full(home: Home) -> Told:
    """The disk fills under load: 507, and what was acknowledged is there; it goes on when there is room again."""
    if why := may_mount():
        return Told(skipped=why)
    told, ledger = Told(), home.ledger()
    with on_a_small_disk(home) as (service, inside):
        senders = Senders(service, ledger, rate=home.rate).start()
        time.sleep(1)
        ballast = filled_up(inside)
        time.sleep(home.seconds)
        full = senders.counts[507]
        told.counts["answered_507"] = full
        told.demand(full > 0, "nothing was refused for a full disk")
        ready = service.status("/health/ready")
        told.counts["ready_while_full"] = ready
        service.kill()  # and the power goes, too
        ballast.unlink()
        service.start()
        senders.settle()
        told.add_senders(senders)
        told.demand(set(senders.counts) <= {0, 200, 201, 202, 409, 503, 507}, f"statuses {dict(senders.counts)}")
        told.demand(service.stop() == 0, "it did not stop")
        told.add(compare(ledger, taken_out(inside, home), expected=undisturbed(home.classifier)))
        told.demand(not (count := service.tracebacks()), f"{count} tracebacks in {service.log}")
    return told


def disk_filled_and_freed(home: Home) -> Told:
    """As a full disk, but the service lives on: it answers again by itself."""
    if why := may_mount():
        return Told(skipped=why)
    told, ledger = Told(), home.ledger()
    with on_a_small_disk(home) as (service, inside):
        senders = Senders(service, ledger, rate=home.rate).start()
        time.sleep(1)
        for _ in range(3):
            ballast = filled_up(inside)
            time.sleep(home.seconds / 3)
            ballast.unlink()
            time.sleep(0.5)
        told.counts["answered_507"] = senders.counts[507]
        told.demand(senders.counts[507] > 0, "nothing was refused for a full disk")
        senders.settle()
        told.add_senders(senders)
        told.demand(service.stop() == 0, "it did not stop")
        told.add(compare(ledger, taken_out(inside, home), expected=undisturbed(home.classifier)))
    return told


def read_only(home: Home) -> Told:
    """The folder of files cannot be written to for a while; and a service is not started on a read-only folder."""
    if os.geteuid():
        return Told(skipped="needs root, to make files immutable")
    told, ledger = Told(), home.ledger()
    blobs = home.data / "blobs"
    with home.service() as service:
        senders = Senders(service, ledger, rate=home.rate).start()
        time.sleep(0.5)
        if subprocess.run(["chattr", "-R", "+i", str(blobs)], capture_output=True, check=False).returncode:
            return Told(skipped="needs root on a file system with chattr")
        try:
            time.sleep(home.seconds)
            refused = senders.counts[503] + senders.counts[507]
            told.counts["refused"] = refused
            told.demand(refused > 0, "nothing was refused")
        finally:
            subprocess.run(["chattr", "-R", "-i", str(blobs)], check=True)
        home.finish(told, service, ledger, senders)
    if may_mount():
        return told
    script = f'mount --bind {home.data} {home.data} && mount -o remount,bind,ro {home.data} && exec "$@"'
    started = ServiceProcess(
        home.classifier, home.data, home.folder / "read-only.log", before=("unshare", "-m", "sh", "-c", script, "sh")
    )
    started.launch()
    assert started.process
    try:
        code = started.process.wait(60)
        told.counts["start"] = code
        told.demand(code in (6, 10), f"a start on a read-only folder leaves with {code}: {started.tail()}")
        told.demand("Traceback" not in started.tail(), f"it says: {started.tail()}")
    except subprocess.TimeoutExpired:
        told.faults.append("it starts on a read-only folder")
    finally:
        started.end()
    return told


def sqlite_locked(home: Home) -> Told:
    """Another process holds the database's lock for longer than anybody waits: 503, in time, and then on."""
    told, ledger = Told(), home.ledger()
    with home.service() as service:
        senders = Senders(service, ledger, rate=home.rate).start()
        time.sleep(0.5)
        other = sqlite3.connect(home.data / "foveal.db", isolation_level=None)
        other.execute("PRAGMA busy_timeout = 10000")
        other.execute("BEGIN IMMEDIATE")
        time.sleep(max(home.seconds, 7.0))
        refused = senders.counts[503]
        live = service.status("/health/live")
        other.execute("ROLLBACK")
        other.close()
        told.counts["refused"] = refused
        told.demand(refused > 0, "nothing was refused: the wait has no bound")
        told.demand(live == 200, f"it was not alive meanwhile: {live}")
        home.finish(told, service, ledger, senders)
    told.demand(senders.longest_s < 15, f"a request waited {senders.longest_s:.1f} s")
    return told


def postgres(home: Home) -> Told:
    """The server of the database is frozen, killed, restarted, and far away: nothing is lost, nothing half-written."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return Told(skipped="psycopg is not installed (pip install 'foveal[postgres]')")
    import pytest

    from serving.tcp_proxy import TcpProxy
    from storage.postgres_server import running_server

    try:
        with running_server() as server, TcpProxy(("127.0.0.1", server.port)) as proxy:
            return _with_postgres(home, server, proxy)
    except pytest.skip.Exception as reason:
        return Told(skipped=str(reason))


def _with_postgres(home: Home, server: object, proxy: object) -> Told:
    from foveal.storage.database import migrate, open_database
    from foveal.storage.roles import grant_application_role

    told, ledger = Told(), home.ledger()
    name = server.new_database()
    owner = open_database(server.url(name, "keeper"))
    migrate(owner)
    grant_application_role(owner, "clerk")
    owner.close()
    near = server.url(name, "clerk")
    with home.service(database=near.replace(f":{server.port}/", f":{proxy.port}/")) as service:
        senders = Senders(service, ledger, rate=home.rate).start()
        time.sleep(1)
        for fault in ("frozen", "killed", "restarted", "slow", "silent"):
            before = senders.counts[503]
            _break(server, proxy, fault, home.seconds)
            service.wait_ready()
            told.counts[f"refused_{fault}"] = senders.counts[503] - before
            time.sleep(0.5)
        senders.settle()
        told.add_senders(senders)
        told.demand(service.stop() == 0, "it did not stop")
        told.add(compare(ledger, home.data, url=near, expected=undisturbed(home.classifier)))
        told.demand(not (count := service.tracebacks()), f"{count} tracebacks in {service.log}")
    return told


def _break(server: object, proxy: object, fault: str, seconds: float) -> None:
    if fault == "frozen":
        with server.frozen():
            time.sleep(max(seconds, 7.0))
    elif fault == "killed":
        server.stop("immediate")
        time.sleep(1)
        server.start()
    elif fault == "restarted":
        server.stop("fast")
        server.start()
    elif fault == "slow":
        proxy.latency_s = 0.05
        time.sleep(seconds)
        proxy.latency_s = 0.0
    else:
        proxy.silent = True
        time.sleep(max(seconds, 7.0))
        proxy.silent = False


FAULTS = (disk_full, disk_filled_and_freed, read_only, sqlite_locked, postgres)
