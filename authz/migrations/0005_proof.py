"""The trees that prove the record, checkpoints, secrets; on PostgreSQL the decisions by months."""

from typing import Any

_TYPES = {
    "sqlite": {
        "serial": "INTEGER NOT NULL PRIMARY KEY",
        "id": "TEXT",
        "big": "INTEGER",
        "blob": "BLOB",
        "keyed": " WITHOUT ROWID",
    },
    "postgresql": {
        "serial": "BIGSERIAL NOT NULL PRIMARY KEY",
        "id": 'TEXT COLLATE "C"',
        "big": "BIGINT",
        "blob": "BYTEA",
        "keyed": "",
    },
}

_STATEMENTS = [
    "ALTER TABLE event ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    "CREATE TABLE tree (name {id} NOT NULL PRIMARY KEY, size {big} NOT NULL, edge {blob} NOT NULL)",
    """CREATE TABLE leaf (tree {id} NOT NULL, number {big} NOT NULL, event {big}, seal {big}, hash {blob} NOT NULL,
        PRIMARY KEY (tree, number)){keyed}""",
    """CREATE TABLE node (tree {id} NOT NULL, level INTEGER NOT NULL, number {big} NOT NULL, hash {blob} NOT NULL,
        PRIMARY KEY (tree, level, number)){keyed}""",
    """CREATE TABLE seal (id {serial}, at {big} NOT NULL, subscription {id} NOT NULL, month TEXT NOT NULL,
        first {big} NOT NULL, last {big} NOT NULL, upto {big} NOT NULL, count {big} NOT NULL, root {blob} NOT NULL)""",
    "CREATE INDEX seal_upto ON seal (upto)",
    """CREATE TABLE checkpoint (id {serial}, at {big} NOT NULL, tree {id} NOT NULL, size {big} NOT NULL,
        root {blob} NOT NULL, note TEXT NOT NULL)""",
    "CREATE INDEX checkpoint_tree_size ON checkpoint (tree, size)",
    "CREATE TABLE personal_secret (whose {id} NOT NULL PRIMARY KEY, value {blob} NOT NULL)",
    """CREATE TABLE erased (noun {id} NOT NULL, row {big} NOT NULL, field {id} NOT NULL, commitment TEXT NOT NULL,
        PRIMARY KEY (noun, row, field))""",
]
_INDEXES = (
    "CREATE INDEX decision_subscription_id ON decision (subscription, id)",
    "CREATE INDEX decision_standing_share_at ON decision (standing_share, at) WHERE standing_share IS NOT NULL",
)
_APPEND_ONLY = ("leaf", "seal", "checkpoint", "erased")

# The primary key of a partitioned table holds the column that it is divided by. The rows of a table without partitions
# of its month go to decision_rest. Row triggers are there for every partition, whichever a statement names.
_BY_MONTHS = [
    "ALTER SEQUENCE decision_id_seq OWNED BY NONE",
    "ALTER TABLE decision RENAME TO decision_old",
    "CREATE TABLE decision (LIKE decision_old INCLUDING DEFAULTS) PARTITION BY RANGE (asked_at)",
    "CREATE TABLE decision_rest PARTITION OF decision DEFAULT",
    "INSERT INTO decision SELECT * FROM decision_old",
    "DROP TABLE decision_old",
    "ALTER SEQUENCE decision_id_seq OWNED BY decision.id",
    "ALTER TABLE decision ADD PRIMARY KEY (id, asked_at)",
    "ALTER TABLE decision ADD FOREIGN KEY (client_id) REFERENCES client (id)",
    "CREATE INDEX decision_resource_type_resource_at ON decision (resource_type, resource, at)",
    *_INDEXES,
    """CREATE TRIGGER decision_append_only BEFORE UPDATE OR DELETE ON decision
        FOR EACH ROW EXECUTE FUNCTION caregrant_append_only()""",
    *(
        f"""CREATE TRIGGER decision_truncate BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only()"""
        for table in ("decision", "decision_rest")
    ),
]


def _triggers(dialect: str) -> list[str]:
    made = []
    for table in _APPEND_ONLY:
        if dialect == "sqlite":
            made += [
                f"CREATE TRIGGER {table}_{timing.lower()} BEFORE {timing} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                for timing in ("UPDATE", "DELETE")
            ]
        else:
            made.append(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only()"
            )
    return made


def up(migrator: Any, db: Any) -> None:
    for statement in _STATEMENTS:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
    for statement in (*(_BY_MONTHS if db.dialect == "postgresql" else _INDEXES), *_triggers(db.dialect)):
        db.execute_sql(statement)
    # Events of before go into their trees as if they were appended now; decisions are sealed by the next seal.
    from authz.record.events import enter_existing  # noqa: PLC0415 - the form of a leaf is frozen, like this script

    enter_existing(db)
