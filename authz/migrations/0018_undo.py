"""Until when a transfer may be undone, the grants that somebody gave, and `undo` as origin and as cause of an end.

SQLite cannot change a CHECK of a column. Its documentation (lang_altertable.html, 7) permits to edit the stored text of
the table if the rows on disk stay valid, and these checks only become wider.
"""

from typing import Any

_UNTIL = 'ALTER TABLE "grant" ADD COLUMN undo_until {big} NOT NULL DEFAULT 0'
_INDEX = 'CREATE INDEX grant_given_by_started_at ON "grant" (given_by, started_at)'
_BIG = {"sqlite": "INTEGER", "postgresql": "BIGINT"}
_WIDER = {
    "origin": ("'created', 'transfer', 'share', 'emergency', 'imported'", "'undo'"),
    "end_cause": ("'', 'ended', 'given_up', 'transfer', 'expired', 'imported'", "'undo'"),
}


def _widen_sqlite(db: Any) -> None:
    (version,) = db.execute_sql("PRAGMA schema_version").fetchone()
    (text,) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'grant'").fetchone()
    for column, (values, new) in _WIDER.items():
        before = f"CHECK ({column} IN ({values}))"
        if before not in text:
            raise RuntimeError(f"the table grant has another check of {column}: {text}")
        text = text.replace(before, f"CHECK ({column} IN ({values}, {new}))")
    db.execute_sql("PRAGMA writable_schema = ON")
    db.execute_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'grant'", (text,))
    db.execute_sql(f"PRAGMA schema_version = {version + 1}")
    db.execute_sql("PRAGMA writable_schema = OFF")


def _widen_postgresql(db: Any) -> None:
    for column, (values, new) in _WIDER.items():
        db.execute_sql(f'ALTER TABLE "grant" DROP CONSTRAINT grant_{column}_check')
        db.execute_sql(f'ALTER TABLE "grant" ADD CHECK ({column} IN ({values}, {new}))')


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(_UNTIL.format(big=_BIG[db.dialect]))
    (_widen_sqlite if db.dialect == "sqlite" else _widen_postgresql)(db)
    db.execute_sql(_INDEX)
