"""A service that stands in for the real one: a database, blobs, settings and the classes of a classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from argon2 import PasswordHasher

from foveal.serving.settings import Settings
from foveal.storage import passwords
from foveal.storage.blobs import Blobs
from foveal.storage.database import Database, migrate, open_database

PASSWORD = "a horse that corrects staples"
HERE = "http://127.0.0.1"
EVIL = "<script>alert(1)</script>\u202e😀 \"'&"  # what somebody may send as a name


def quick_hashes(monkeypatch) -> None:
    """Let a hash of a password take no time."""
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@dataclass
class StandIn:
    settings: Settings
    database: Database
    blobs: Blobs
    served: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            name="chest",
            hash="c" * 64,
            engine="openvino",
            architecture="lenet5_1998",
            classes=("normal", "effusion", "pneumonia"),
            threshold=None,
        )
    )
    metrics: object = None


def stand_in(folder: Path, **settings: object) -> StandIn:
    """Return a service over an empty database in `folder`."""
    made = Settings.model_validate({"classifier": "chest", "data": str(folder), **settings})
    folder.mkdir(parents=True, exist_ok=True)
    database = open_database(made.database_url)
    migrate(database)
    return StandIn(made, database, Blobs(folder / "blobs"))
