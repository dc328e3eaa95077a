"""Callers: what they spent of their rate, a rate of a client's own, and the secret that signs page tokens."""

import secrets
from typing import Any

_TYPES = {
    "sqlite": {"id": "TEXT", "big": "INTEGER"},
    "postgresql": {"id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}

_STATEMENTS = [
    "CREATE TABLE secret (name {id} NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE spent (caller {id} NOT NULL PRIMARY KEY, minute {big} NOT NULL, requests {big} NOT NULL)",
    "ALTER TABLE client ADD COLUMN rate {big}",
]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
    db.execute_sql(f"INSERT INTO secret (name, value) VALUES ('page', '{secrets.token_hex(32)}')")
