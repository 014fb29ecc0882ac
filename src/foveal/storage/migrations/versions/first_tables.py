"""The first tables, and what keeps the trail append-only.

Until a version with this step is released it makes the tables as `tables.py` has them; from then on it is frozen.
"""

from __future__ import annotations

from alembic import op

from foveal.storage.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQLITE = (
    "CREATE TRIGGER trail_no_update BEFORE UPDATE ON trail BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "CREATE TRIGGER trail_no_delete BEFORE DELETE ON trail BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    # INSERT OR REPLACE deletes without asking the trigger above
    "CREATE TRIGGER trail_in_order BEFORE INSERT ON trail"
    " WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM trail)"
    " BEGIN SELECT RAISE(ABORT, 'out of order'); END",
)
_POSTGRES = (
    "CREATE FUNCTION trail_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE insufficient_privilege USING MESSAGE = 'the trail is append-only'; END $$",
    "CREATE TRIGGER trail_no_change BEFORE UPDATE OR DELETE ON trail FOR EACH ROW EXECUTE FUNCTION trail_append_only()",
    "CREATE TRIGGER trail_no_truncate BEFORE TRUNCATE ON trail FOR EACH STATEMENT EXECUTE FUNCTION trail_append_only()",
    # Who may insert could else leave a gap that can never be filled.
    "CREATE FUNCTION trail_in_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " IF NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq), 0) + 1 FROM trail) THEN"
    " RAISE check_violation USING MESSAGE = 'the trail is in order'; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER trail_in_order BEFORE INSERT ON trail FOR EACH ROW EXECUTE FUNCTION trail_in_order()",
)


def upgrade() -> None:
    """Make the tables and the triggers."""
    connection = op.get_bind()
    metadata.create_all(connection)
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRES:
        connection.exec_driver_sql(statement)
