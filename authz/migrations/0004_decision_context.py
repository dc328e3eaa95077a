"""Decisions: from where and for whom it was asked, under which membership, for what purpose, how much was found."""

from typing import Any

_ID = {"sqlite": "TEXT", "postgresql": 'TEXT COLLATE "C"'}
_BIG = {"sqlite": "INTEGER", "postgresql": "BIGINT"}

_COLUMNS = [
    "actor {id} NOT NULL DEFAULT ''",
    "address TEXT NOT NULL DEFAULT ''",
    "subscription {id} NOT NULL DEFAULT ''",
    "membership TEXT NOT NULL DEFAULT ''",
    "purpose TEXT NOT NULL DEFAULT ''",
    "standing_share {big}",
    "size {big}",
]


def up(migrator: Any, db: Any) -> None:
    for column in _COLUMNS:
        db.execute_sql(f"ALTER TABLE decision ADD COLUMN {column.format(id=_ID[db.dialect], big=_BIG[db.dialect])}")
