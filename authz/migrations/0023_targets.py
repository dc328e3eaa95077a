"""Relations to many, and to rows of several types: one row for each target of a version of an entity."""

from typing import Any

_TYPES = {
    "sqlite": {"id": "TEXT", "big": "INTEGER"},
    "postgresql": {"id": 'TEXT COLLATE "C"', "big": "BIGINT"},
}
_STATEMENTS = [
    """CREATE TABLE entity_target (entity_id {big} NOT NULL REFERENCES entity (pk), property {id} NOT NULL,
        type {id} NOT NULL, target_type {id} NOT NULL, target {id} NOT NULL,
        PRIMARY KEY (entity_id, property, target_type, target))""",
    "CREATE INDEX entity_target_target_target_type_type_property_entity_id "
    "ON entity_target (target, target_type, type, property, entity_id)",
]


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
