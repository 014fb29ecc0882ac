"""What a service can be told, and where each word of it came from: options before environment before file.

::

    foveal.toml                  port = 8443            [tls] certificate = "…"
    environment                  FOVEAL_SERVE_PORT      FOVEAL_SERVE_TLS__CERTIFICATE
    options of the command       port                   tls.certificate

Whatever is wrong is refused at start in one sentence: the key, where it stands, what to do (`setting_checks`).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from foveal.serving import setting_sources as sources

Count = Annotated[int, Field(ge=1, le=100_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Engine = Literal["auto", "torch", "onnx", "onnx-int8", "openvino", "openvino-int8"]
HIDDEN = "********"


class TlsSettings(BaseModel):
    """Where the certificate and its key lie; both or neither."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    certificate: str = ""
    """PEM file of the certificate, the intermediate ones after it."""
    key: str = ""
    """PEM file of its private key; readable by the service alone."""


class Settings(BaseModel):
    """What a service was told, checked. It prints without its secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    classifier: str = ""
    """The run directory or classifier folder that answers."""
    engine: Engine = "auto"
    """What runs the network; auto is the fastest exact engine that is stored and was measured against torch."""
    host: str = "127.0.0.1"
    """The address to listen on; any but this machine's own needs `guests = false` and TLS."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """The port to listen on."""
    data: Annotated[str, Field(min_length=1)] = "foveal-data"
    """The folder of everything kept: images, database, keys of the trail."""
    database: str = ""
    """Empty for SQLite in `data`, or `postgresql://USER:PASSWORD@HOST/NAME`."""
    guests: bool = True
    """Whether who sits at this machine may work without an account."""
    tls: TlsSettings = TlsSettings()
    behind_proxy: bool = False
    """A statement: a reverse proxy in front of the service ends TLS."""
    proxies: Annotated[tuple[str, ...], Field(strict=False)] = ("127.0.0.1", "::1")
    """The addresses or networks of such proxies, whose `X-Forwarded-For` is believed; this machine's own by default."""
    allowed_hosts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The names under which the service is called; empty for any, on loopback for this machine's own."""
    max_body_mib: Annotated[int, Field(ge=1, le=4096)] = 64
    """The largest request, in MiB."""
    max_images: Annotated[int, Field(ge=1, le=10_000)] = 64
    """How many images one request may hold."""
    max_megapixels: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 89
    """The largest image, in millions of pixels; checked before it is decoded."""
    rate_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How many requests a caller may make in a minute; 0 for as many as are served."""
    max_connections: Annotated[int, Field(ge=8, le=100_000)] = 512
    """How many connections are held open at once; half of them from one address, where no proxy stands before."""
    decoders: Annotated[int, Field(ge=1, le=64)] = 2
    """How many child processes decode images."""
    decoder_memory_mib: Annotated[int, Field(ge=128, le=65_536)] = 1024
    """How much memory one of them may take, in MiB."""
    decoder_timeout_s: Seconds = 10
    """How long it may take over one image, in seconds."""
    max_waiting: Count = 128
    """How many images may wait for an answer; more are refused with 503 and Retry-After."""
    max_queue: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """How many images received for later may wait in the queue; more are refused with 503 and Retry-After."""
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    """How many processes run a stored engine, each with its share of the cores; 0 for one a core, up to four."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 8
    """How many images are answered together, at most."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 0
    """How long the first of them waits for others, in milliseconds; while the network is busy they gather anyway."""
    deadline_s: Seconds = 30
    """How long a request may wait for its answer, in seconds; then it is told to ask again."""
    drain_s: Seconds = 20
    """How long a stopping service finishes what it began, in seconds."""
    session_idle_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    """After how many idle minutes a person is signed off."""
    session_hours: Annotated[int, Field(ge=1, le=168)] = 10
    """After how many hours a person signs in again."""
    watch: str = ""
    """A folder whose new images are received; empty for none."""
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """After how many days a case is erased; 0 for never."""
    metrics: Literal["loopback", "open", "key", "off"] = "loopback"
    """Who may read /metrics: this machine, anyone, a key with the scope read, or nobody."""
    urgent: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The classes at which somebody should look first."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which weight on events are logged."""
    telemetry: bool = False
    """Whether spans are sent by OpenTelemetry, to where its own OTEL_ variables say."""
    secret: SecretStr = SecretStr("")
    """What signs the forms of pages, 32 characters or more; empty: one is made in `data`."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def data_folder(self) -> Path:
        """The folder of everything kept, absolute."""
        return Path(self.data).expanduser().absolute()

    @property
    def watch_folder(self) -> Path | None:
        """The watched folder, absolute; None where none is."""
        return Path(self.watch).expanduser().absolute() if self.watch else None

    @property
    def database_url(self) -> str:
        """The URL of the database: as it was said, or of SQLite in the data folder."""
        return self.database or f"sqlite:///{self.data_folder / 'foveal.db'}"

    @property
    def max_body_bytes(self) -> int:
        """The largest request in bytes."""
        return self.max_body_mib << 20

    def shown(self) -> dict[str, Any]:
        """Return every setting as it may be printed: secrets, and the password in a URL, are hidden."""
        plain = self.model_dump(mode="json")
        return {**plain, "secret": HIDDEN if self.secret.get_secret_value() else "", "database": _masked(self.database)}

    def __repr_args__(self) -> Any:
        return list(self.shown().items())


def load_settings(
    file: Path | None, environment: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of `file` (TOML), `environment` (None: the process's own) and `options`, the last first.

    Options are of the command line: ``{"port": 8443, "tls.certificate": "…"}``; one that is None was not said.
    Raises UsageError in one sentence for whatever the service should not start with.
    """
    from foveal.serving.setting_checks import refuse

    given = sources.from_file(file, Settings) if file is not None else {}
    given |= sources.from_environment(os.environ if environment is None else environment, Settings)
    given |= sources.from_options(options or {}, Settings)
    settings = Settings.model_validate(sources.nested(given))
    refuse(settings, given)
    return settings


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine that no other can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _masked(url: str) -> str:
    """Return `url` with what stands between its user and its host hidden."""
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    place = place.partition("?")[0]  # a password can stand among the parameters, too
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{':' + HIDDEN if colon else ''}{at}{place}"
