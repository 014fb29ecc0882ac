"""Who may do what in PostgreSQL: the owner migrates; the service's own role cannot change what it once recorded."""

from __future__ import annotations

from sqlalchemy import Connection, text

from foveal.errors import StorageError, UsageError
from foveal.storage.database import VERSION_TABLE, Database
from foveal.storage.tables import metadata, trail


def grant_application_role(owner_database: Database, role: str) -> None:
    """Give `role` what a service needs, and of the trail only to add to it and to read it.

    `owner_database` is open as the owner of the tables. The role is there already, with LOGIN; it is refused where
    it could take the owner's rights, since the limits would then mean nothing.
    """
    if owner_database.is_sqlite:
        raise UsageError("SQLite knows no roles; its trail is kept append-only by triggers.")
    with owner_database.write() as connection:
        _refuse_the_mighty(connection, role)
        quote = owner_database.engine.dialect.identifier_preparer.quote
        name = quote(role)
        for table in metadata.sorted_tables:
            rights = "SELECT, INSERT" if table is trail else "SELECT, INSERT, UPDATE, DELETE"
            connection.exec_driver_sql(f"REVOKE ALL ON {quote(table.name)} FROM PUBLIC, {name}")
            connection.exec_driver_sql(f"GRANT {rights} ON {quote(table.name)} TO {name}")
        connection.exec_driver_sql(f"GRANT SELECT ON {VERSION_TABLE} TO {name}")
        schema = quote(str(connection.execute(text("SELECT current_schema()")).scalar_one()))
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
        connection.exec_driver_sql(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {name}")


def _refuse_the_mighty(connection: Connection, role: str) -> None:
    found = connection.execute(
        text(
            "SELECT rolsuper, pg_has_role(oid, current_user::text, 'MEMBER') AS owner FROM pg_roles"
            " WHERE rolname = :role"
        ),
        {"role": role},
    ).first()
    if found is None:
        raise StorageError(f'There is no role "{role}": make it first, with CREATE ROLE … LOGIN PASSWORD ….')
    if found.rolsuper or found.owner:
        raise StorageError(
            f'The role "{role}" has the rights of the owner or of a superuser, who can change the trail: '
            "take one that has not."
        )
