"""The database refuses what a service of another release would write.

Whoever appends to the record must know the schema's last migration: on SQLite by a function of its connection, on
PostgreSQL by its `application_name`, which PgBouncer carries too. Earlier releases know neither, and are refused.
"""

from typing import Any

_TABLES = ("event", "decision", "seal", "checkpoint")
_WHY = "this release does not know the schema of this database"
_LAST = "(SELECT max(name) FROM schema_migration)"
_SQLITE = [
    f"""CREATE TRIGGER {table}_schema BEFORE INSERT ON {table}
        WHEN caregrant_schema() NOT IN ('migrating', {_LAST}) BEGIN SELECT RAISE(ABORT, '{_WHY}'); END"""
    for table in _TABLES
]
_POSTGRESQL = [
    f"""CREATE FUNCTION caregrant_check_schema() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF split_part(current_setting('application_name'), ';', 1)
            NOT IN ('caregrant migrating', 'caregrant ' || {_LAST}) THEN RAISE EXCEPTION '{_WHY}'; END IF;
        RETURN NULL; END $$""",
    *(
        f"""CREATE TRIGGER {table}_schema BEFORE INSERT ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION caregrant_check_schema()"""
        for table in _TABLES
    ),
]


def up(migrator: Any, db: Any) -> None:
    for statement in _SQLITE if db.dialect == "sqlite" else _POSTGRESQL:
        db.execute_sql(statement)
