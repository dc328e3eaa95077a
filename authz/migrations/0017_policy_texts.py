"""The text of each policy that served, and an index that finds which was in force at an instant."""

from typing import Any

_ID = {"sqlite": "TEXT", "postgresql": 'TEXT COLLATE "C"'}
_DOCUMENT = {"sqlite": "TEXT", "postgresql": "JSONB"}
_LAST = "(SELECT max(name) FROM schema_migration)"
_STATEMENTS = [
    "CREATE TABLE policy_text (version {id} NOT NULL PRIMARY KEY, files {document} NOT NULL)",
    "CREATE INDEX event_policy_loaded ON event (at, id) WHERE kind = 'policy:loaded'",
]
_PROTECTED = {
    "sqlite": [
        *(
            f"CREATE TRIGGER policy_text_{timing.lower()} BEFORE {timing} ON policy_text "
            "BEGIN SELECT RAISE(ABORT, 'policy_text is append-only'); END"
            for timing in ("UPDATE", "DELETE")
        ),
        f"""CREATE TRIGGER policy_text_schema BEFORE INSERT ON policy_text
            WHEN caregrant_schema() NOT IN ('migrating', {_LAST})
            BEGIN SELECT RAISE(ABORT, 'this release does not know the schema of this database'); END""",
    ],
    "postgresql": [
        """CREATE TRIGGER policy_text_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON policy_text
            FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only()""",
        """CREATE TRIGGER policy_text_schema BEFORE INSERT ON policy_text
            FOR EACH STATEMENT EXECUTE FUNCTION caregrant_check_schema()""",
    ],
}


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(id=_ID[db.dialect], document=_DOCUMENT[db.dialect]))
    for statement in _PROTECTED[db.dialect]:
        db.execute_sql(statement)
