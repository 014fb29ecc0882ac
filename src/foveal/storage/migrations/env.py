"""What Alembic runs: the steps, on the connection that `upgrade` was given, in its transaction."""

from __future__ import annotations

from alembic import context

from foveal.storage.database import VERSION_TABLE
from foveal.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
