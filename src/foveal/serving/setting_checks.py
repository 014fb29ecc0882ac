"""What a service does not start with, though each setting alone is well formed: each refusal in one sentence."""

from __future__ import annotations

import ipaddress
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import UsageError
from foveal.serving.setting_sources import Given

if TYPE_CHECKING:
    from foveal.serving.settings import Settings

SHORTEST_SECRET = 32
FEWEST_LETTERS = 10  # different ones in a secret; of 32 random hex digits fewer stand in one of 50,000
KNOWN_SECRETS = ("changeme", "change-me", "change_me", "secret", "password", "default", "example", "your", "test")
START_OF_2020 = 1_577_836_800
OTHERS_MAY_READ = 0o004
OTHERS_MAY = 0o007
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

Refusal = tuple[str, str]  # the key, and what is wrong and to do


def refuse(settings: Settings, given: Mapping[str, Given]) -> None:
    """Raise UsageError for the first thing wrong; the sentence says where the key was set."""
    for key, reason in _all(settings, given):
        where = given[key].place if key in given else "which is the default"
        raise UsageError(f"{key} ({where}): {reason}")
    if (now := time.time()) < START_OF_2020:
        said = time.strftime("%d %B %Y", time.gmtime(now))
        raise UsageError(f"This machine's clock says {said}: set it first, since times stand in the trail.")


def _all(settings: Settings, given: Mapping[str, Given]) -> Iterator[Refusal]:
    yield from _of_address(settings, given)
    yield from _of_tls(settings)
    yield from _of_secrets(settings, given)
    yield from _of_folders(settings)
    yield from _of_database(settings)
    if settings.session_idle_minutes > settings.session_hours * 60:
        yield "session_idle_minutes", "it is longer than session_hours; make it shorter."


def _of_address(settings: Settings, given: Mapping[str, Given]) -> Iterator[Refusal]:
    if not _is_host(settings.host):
        yield "host", f'"{settings.host[:60]}" is no address of a machine; use e.g. 127.0.0.1 or 0.0.0.0.'
    if settings.port == 0 and not given["port"].place.startswith("in the option"):
        yield "port", "0 is no port to find a service at; choose one from 1 to 65535."
    if settings.guests and not settings.is_loopback:
        yield "guests", f"whoever reaches {settings.host} would work without an account; set guests = false."
    if settings.guests and settings.behind_proxy:
        yield "guests", "whoever the proxy lets through would work without an account; set guests = false."
    if "proxies" in given and not settings.behind_proxy:
        yield "proxies", "no proxy is believed while behind_proxy is false; set behind_proxy = true."
    if settings.behind_proxy and not settings.proxies:
        yield "proxies", "no proxy is named, and behind_proxy says that there is one; name its address."
    for proxy in settings.proxies:
        if not _is_network(proxy):
            yield "proxies", f'"{proxy[:60]}" is no address and no network; write e.g. 10.0.0.7 or 10.0.0.0/24.'
        elif not ipaddress.ip_network(proxy).prefixlen:
            yield "proxies", f'"{proxy}" is every address: whoever asks could say who he is; name the proxy\'s own.'
    for host in settings.allowed_hosts:
        if not _is_host(host.removeprefix("*.")):
            yield "allowed_hosts", f'"{host[:60]}" is no name of a machine; write e.g. foveal.hospital.example.'


def _of_tls(settings: Settings) -> Iterator[Refusal]:
    certificate, key = settings.tls.certificate, settings.tls.key
    if not settings.is_loopback and not certificate and not key and not settings.behind_proxy:
        yield (
            "host",
            f"passwords and images would cross the network in the clear on {settings.host}; set tls.certificate and "
            "tls.key, or behind_proxy = true where a proxy ends TLS.",
        )
    if certificate and not key:
        yield "tls.certificate", "its key is missing; set tls.key."
    if key and not certificate:
        yield "tls.key", "the certificate is missing; set tls.certificate."
    if not certificate or not key:
        return
    for name, file in (("tls.certificate", certificate), ("tls.key", key)):
        if fault := _unreadable(Path(file)):
            yield name, fault
    if Path(key).stat().st_mode & OTHERS_MAY:
        yield "tls.key", f"everyone on this machine may read or change {key}; run: chmod 640 {key}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        mismatch = "KEY_VALUES_MISMATCH" in str(error)
        reason = f"it is not the key of {certificate}" if mismatch else f"it and {certificate} are no PEM pair"
        yield "tls.key", f"{reason}, or it has a passphrase; give the pair that belongs together, the key unencrypted."


def _of_secrets(settings: Settings, given: Mapping[str, Given]) -> Iterator[Refusal]:
    secret = settings.secret.get_secret_value()
    told = "make one with: openssl rand -hex 32 (or leave it empty: one is made in the data folder)."
    if secret:
        if len(secret) < SHORTEST_SECRET:
            yield "secret", f"it has {len(secret)} characters, fewer than {SHORTEST_SECRET}; {told}"
        if len(set(secret)) < FEWEST_LETTERS or any(word in secret.lower() for word in KNOWN_SECRETS):
            yield "secret", f"it is an example or easily guessed; {told}"
    for key in ("secret", "database"):
        file = given[key].file if key in given else None
        holds = bool(secret) if key == "secret" else ":" in settings.database.partition("://")[2].rpartition("@")[0]
        if file is not None and holds and file.stat().st_mode & OTHERS_MAY_READ:
            yield key, f"everyone on this machine may read {file}, where a secret stands; run: chmod 640 {file}"


def _of_folders(settings: Settings) -> Iterator[Refusal]:
    data, watch = settings.data_folder, settings.watch_folder
    if data.exists() and not data.is_dir():
        yield "data", f"{data} is a file; name a folder."
    if watch is None:
        return
    if not watch.is_dir():
        yield "watch", f"there is no folder {watch}; make it, or name another."
    inner, outer = watch.resolve(), data.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        yield (
            "watch",
            f"{watch} and the data folder {data} lie in one another; the service would receive its own files.",
        )


def _of_database(settings: Settings) -> Iterator[Refusal]:
    url = settings.database
    scheme = url.partition("://")[0]
    if url and scheme not in ("sqlite", "postgresql", "postgresql+psycopg"):
        yield "database", "it begins with sqlite:/// or postgresql://; or leave it empty for SQLite in the data folder."
    if scheme == "sqlite" and not url.startswith("sqlite:////"):
        yield "database", "a SQLite database has an absolute path, sqlite:////var/lib/foveal/foveal.db."


def _unreadable(file: Path) -> str:
    """Return why `file` cannot be read, or nothing."""
    try:
        with file.open("rb"):
            return ""
    except FileNotFoundError:
        return f"there is no file {file}."
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}."


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        numbers = re.fullmatch(r"[\d.]+", host) is not None  # 256.1.1.1
        return HOST.fullmatch(host) is not None and not numbers
    return True
