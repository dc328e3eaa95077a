"""How much of the spool of answers (SQLite) is in the database already."""

import secrets
from typing import Any

_TYPES = {
    "sqlite": {"id": "TEXT", "big": "INTEGER"},
    "postgresql": {"id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}
_TABLE = """CREATE TABLE spool_position (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), owner {id} NOT NULL,
    batch {id} NOT NULL, taken {big} NOT NULL)"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(_TABLE.format(**_TYPES[db.dialect]))
    row = f"INSERT INTO spool_position (id, owner, batch, taken) VALUES (1, {db.param}, '', 0)"
    db.execute_sql(row, (secrets.token_hex(16),))
