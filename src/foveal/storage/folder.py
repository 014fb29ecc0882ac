"""Where things lie in a service's data directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foveal.errors import StorageError


@dataclass(frozen=True)
class DataFolder:
    """A service's data directory: its database (where that is SQLite), images, keys and signed heads."""

    root: Path

    @property
    def database(self) -> Path:
        """The embedded database; absent where the service keeps its rows in PostgreSQL."""
        return self.root / "foveal.db"

    @property
    def url(self) -> str:
        """The address of the embedded database."""
        return f"sqlite:///{self.database.absolute()}"

    @property
    def blobs(self) -> Path:
        """The folder of the images and heat maps."""
        return self.root / "blobs"

    @property
    def keys(self) -> Path:
        """The folder of secrets, for its owner only."""
        return self.root / "keys"

    @property
    def heads(self) -> Path:
        """The file of the trail's signed heads."""
        return self.root / "heads.jsonl"

    def existing_url(self) -> str:
        """Return the address of the embedded database, which is not made where it is missing."""
        if not self.database.is_file():
            raise StorageError(
                f"{self.root} holds no foveal.db: name the data directory of a service, or its PostgreSQL database."
            )
        return self.url
