"""The clinic that an entity belongs to, a patient's reference, and the keys by which names are searched and ordered."""

from typing import Any

_IDS = {"sqlite": "TEXT", "postgresql": 'TEXT COLLATE "C"'}
_FOREVER = 253402300799999999
_COLUMNS = [
    "ALTER TABLE entity ADD COLUMN subscription {id} NOT NULL DEFAULT ''",
    "ALTER TABLE patient ADD COLUMN reference {id} NOT NULL DEFAULT ''",
    "ALTER TABLE patient ADD COLUMN search_key {id} NOT NULL DEFAULT ''",
    "ALTER TABLE practitioner ADD COLUMN search_key {id} NOT NULL DEFAULT ''",
    "CREATE INDEX patient_by_name ON patient (subscription_id, substr(search_key, 1, 128), id)",
    f"""CREATE UNIQUE INDEX patient_open_reference ON patient (subscription_id, reference)
        WHERE reference <> '' AND ended_at = {_FOREVER}""",
]

# The clinic that a version of an entity belonged to (decision 0064): the one clinic of the patients and subscriptions
# among its relations; if there are none, the one where the practitioners among them have worked. Which kind of thing an
# id names is not stored, so that an id of two kinds, or of another entity, leaves the version with the operator.
_OWNERS = """WITH thing AS (
    SELECT l.entity_id, p.subscription_id AS clinic FROM entity_link l JOIN patient p ON p.id = l.target
    UNION SELECT l.entity_id, s.id FROM entity_link l JOIN subscription s ON s.id = l.target),
person AS (
    SELECT l.entity_id, m.subscription_id AS clinic FROM entity_link l
    JOIN membership m ON m.practitioner_id = l.target),
unclear AS (
    SELECT l.entity_id FROM entity_link l JOIN entity e ON e.id = l.target
    UNION SELECT l.entity_id FROM entity_link l JOIN practitioner w ON w.id = l.target
    WHERE EXISTS (SELECT 1 FROM patient p WHERE p.id = l.target)
    OR EXISTS (SELECT 1 FROM subscription s WHERE s.id = l.target)),
led AS (
    SELECT entity_id, clinic FROM thing
    UNION ALL SELECT entity_id, clinic FROM person WHERE entity_id NOT IN (SELECT entity_id FROM thing)),
owner AS (
    SELECT entity_id, MIN(clinic) AS clinic FROM led WHERE entity_id NOT IN (SELECT entity_id FROM unclear)
    GROUP BY entity_id HAVING COUNT(DISTINCT clinic) = 1)
UPDATE entity SET subscription = owner.clinic FROM owner WHERE owner.entity_id = entity.pk"""

# No two patients of a clinic have one reference at one instant. On PostgreSQL whoever writes a reference waits for
# others who write the same one; on SQLite writers take turns anyway.
_OVERLAPS = """SELECT 1 FROM patient o WHERE o.subscription_id = NEW.subscription_id AND o.reference = NEW.reference
    AND o.id <> NEW.id AND o.started_at < NEW.ended_at AND NEW.started_at < o.ended_at"""
_WHY = "another patient of this clinic has this reference"
_TRIGGERS = {
    "sqlite": [
        f"""CREATE TRIGGER patient_reference_{timing.lower()} BEFORE {timing} ON patient
        WHEN NEW.reference <> '' AND EXISTS ({_OVERLAPS}) BEGIN SELECT RAISE(ABORT, '{_WHY}'); END"""
        for timing in ("INSERT", "UPDATE")
    ],
    "postgresql": [
        f"""CREATE FUNCTION caregrant_check_reference() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended(NEW.subscription_id || chr(10) || NEW.reference, 11));
        IF EXISTS ({_OVERLAPS}) THEN
            RAISE EXCEPTION '{_WHY}' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW; END $$""",
        """CREATE TRIGGER patient_reference BEFORE INSERT OR UPDATE ON patient FOR EACH ROW
        WHEN (NEW.reference <> '') EXECUTE FUNCTION caregrant_check_reference()""",
    ],
}
# The names of both tables in normal form, with their keys; the second column is searched as it stands.
_NAMED = {"patient": "''", "practitioner": "login"}
_AT_ONCE = 1000


def _fill_keys(db: Any, table: str, other: str) -> None:
    from authz.texts import normalise_stored, search_key  # noqa: PLC0415 - the rule of the key, as the service has it

    after = ""
    while True:
        sql = f"SELECT id, name, {other} FROM {table} WHERE id > {db.param} ORDER BY id LIMIT {_AT_ONCE}"
        rows = db.execute_sql(sql, (after,)).fetchall()
        if not rows:
            return
        after = rows[-1][0]
        for one, name, more in rows:
            kept = normalise_stored(name)
            values = (kept, search_key(kept, more), one)
            db.execute_sql(
                f"UPDATE {table} SET name = {db.param}, search_key = {db.param} WHERE id = {db.param}", values
            )


def up(migrator: Any, db: Any) -> None:
    for statement in [*(one.format(id=_IDS[db.dialect]) for one in _COLUMNS), _OWNERS, *_TRIGGERS[db.dialect]]:
        db.execute_sql(statement)
    for table, other in _NAMED.items():
        _fill_keys(db, table, other)
