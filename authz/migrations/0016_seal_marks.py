"""What a seal keeps of the hash of each decision, so that a changed one is named by its row; older seals keep nothing.

On PostgreSQL seals get their places inside COMMIT: the queue and its function (`0008_commit_order.py`) carry the marks.
"""

from typing import Any

_APPENDING = 0x43617265
_BLOB = {"sqlite": "BLOB", "postgresql": "BYTEA"}

_APPEND_SEALS = rf"""CREATE OR REPLACE FUNCTION caregrant_append_seals() RETURNS trigger LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    before BIGINT; mine XID8 := NEW.tx; grown RECORD;
BEGIN
    PERFORM 1 FROM pending_seal p WHERE p.tx = mine AND p.number = NEW.number;
    IF NOT FOUND THEN RETURN NULL; END IF;
    PERFORM pg_advisory_xact_lock({_APPENDING});
    IF COALESCE((SELECT max(s.upto) FROM seal s), 0) <> NEW.after THEN  -- another process was faster
        DELETE FROM pending_seal p WHERE p.tx = mine;
        RETURN NULL;
    END IF;
    before := COALESCE((SELECT max(s.id) FROM seal s), 0);
    FOR grown IN
        WITH taken AS (DELETE FROM pending_seal p WHERE p.tx = mine RETURNING p.*),
        numbered AS MATERIALIZED (SELECT before + row_number() OVER (ORDER BY o.number) AS id, o.* FROM taken o),
        stored AS (
            INSERT INTO seal (id, at, subscription, month, first, last, upto, count, root, marks)
            SELECT n.id, n.at, n.subscription, n.month, n.first, n.last, n.upto, n.count, n.root, n.marks
            FROM numbered n)
        SELECT n.subscription AS tree, array_agg(n.id ORDER BY n.id) AS ids, array_agg(sha256('\x00'::bytea
            || convert_to(replace(n.leaf, chr(1), n.id::text), 'UTF8')) ORDER BY n.id) AS hashes
        FROM numbered n GROUP BY n.subscription ORDER BY n.subscription
    LOOP
        PERFORM caregrant_grow(grown.tree, NULL, grown.ids, grown.hashes);
    END LOOP;
    RETURN NULL;
END $$"""


def up(migrator: Any, db: Any) -> None:
    tables = ("seal", "pending_seal") if db.dialect == "postgresql" else ("seal",)
    for table in tables:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN marks {_BLOB[db.dialect]}")
    if db.dialect == "postgresql":
        db.execute_sql(_APPEND_SEALS)
