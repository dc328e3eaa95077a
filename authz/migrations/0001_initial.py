"""Facts, entities, clients and the record, with the invariants that the database itself enforces."""

from typing import Any

_TYPES = {
    "sqlite": {
        "serial": "INTEGER NOT NULL PRIMARY KEY",
        "id": "TEXT",
        "big": "INTEGER",
        "bool": "INTEGER",
        "json": "TEXT",
    },
    "postgresql": {
        "serial": "BIGSERIAL NOT NULL PRIMARY KEY",
        "id": 'TEXT COLLATE "C"',
        "big": "BIGINT",
        "bool": "BOOLEAN",
        "json": "JSONB",
    },
}
_FOREVER = 253402300799999999
_LIFE = "started_at {big} NOT NULL, ended_at {big} NOT NULL, CHECK (started_at <= ended_at)"
_END = (
    "ended_by {id} NOT NULL, end_cause TEXT NOT NULL "
    "CHECK (end_cause IN ('', 'ended', 'given_up', 'transfer', 'expired', 'imported'))"
)
_GIVEN = "given_by {id} NOT NULL, reason TEXT NOT NULL CHECK (length(reason) <= 500)"

_TABLES = [
    "CREATE TABLE subscription (id {id} NOT NULL PRIMARY KEY, name TEXT NOT NULL)",
    f"CREATE TABLE licence (id {{serial}}, subscription_id {{id}} NOT NULL REFERENCES subscription (id), {_LIFE})",
    "CREATE INDEX licence_subscription_id ON licence (subscription_id)",
    f"CREATE UNIQUE INDEX licence_open ON licence (subscription_id) WHERE ended_at = {_FOREVER}",
    "CREATE TABLE practitioner (id {id} NOT NULL PRIMARY KEY, login {id} NOT NULL, name TEXT NOT NULL)",
    "CREATE UNIQUE INDEX practitioner_login ON practitioner (login)",
    f"""CREATE TABLE membership (id {{serial}}, practitioner_id {{id}} NOT NULL REFERENCES practitioner (id),
        subscription_id {{id}} NOT NULL REFERENCES subscription (id),
        role TEXT NOT NULL CHECK (role IN ('member', 'manager', 'auditor')), {_LIFE})""",
    "CREATE INDEX membership_practitioner_id_subscription_id ON membership (practitioner_id, subscription_id)",
    "CREATE INDEX membership_subscription_id ON membership (subscription_id)",
    "CREATE UNIQUE INDEX membership_open ON membership (practitioner_id, subscription_id, role) "
    f"WHERE ended_at = {_FOREVER}",
    f"""CREATE TABLE patient (id {{id}} NOT NULL PRIMARY KEY,
        subscription_id {{id}} NOT NULL REFERENCES subscription (id), name TEXT NOT NULL, {_LIFE})""",
    "CREATE INDEX patient_subscription_id ON patient (subscription_id)",
    f"""CREATE TABLE "grant" (id {{serial}}, patient_id {{id}} NOT NULL REFERENCES patient (id),
        practitioner_id {{id}} NOT NULL REFERENCES practitioner (id),
        role TEXT NOT NULL CHECK (role IN ('owner', 'viewer')),
        origin TEXT NOT NULL CHECK (origin IN ('created', 'transfer', 'share', 'emergency', 'imported')),
        {_GIVEN}, {_END}, {_LIFE})""",
    'CREATE INDEX grant_practitioner_id_role_patient_id ON "grant" (practitioner_id, role, patient_id)',
    'CREATE INDEX grant_patient_id_practitioner_id ON "grant" (patient_id, practitioner_id)',
    f'CREATE UNIQUE INDEX grant_open ON "grant" (patient_id, practitioner_id) WHERE ended_at = {_FOREVER}',
    f"""CREATE UNIQUE INDEX grant_open_owner ON "grant" (patient_id)
        WHERE role = 'owner' AND ended_at = {_FOREVER}""",
    f"""CREATE TABLE standing_share (id {{serial}}, owner_id {{id}} NOT NULL REFERENCES practitioner (id),
        colleague_id {{id}} NOT NULL REFERENCES practitioner (id),
        subscription_id {{id}} NOT NULL REFERENCES subscription (id), content {{bool}} NOT NULL,
        {_GIVEN}, {_END}, {_LIFE}, CHECK (owner_id <> colleague_id))""",
    "CREATE INDEX standing_share_colleague_id_owner_id ON standing_share (colleague_id, owner_id)",
    "CREATE INDEX standing_share_owner_id_colleague_id_subscription_id "
    "ON standing_share (owner_id, colleague_id, subscription_id)",
    "CREATE INDEX standing_share_subscription_id ON standing_share (subscription_id)",
    "CREATE UNIQUE INDEX standing_share_open ON standing_share (owner_id, colleague_id, subscription_id) "
    f"WHERE ended_at = {_FOREVER}",
    f"""CREATE TABLE entity (pk {{serial}}, type {{id}} NOT NULL, id {{id}} NOT NULL,
        properties {{json}} NOT NULL, {_LIFE})""",
    "CREATE INDEX entity_type_id_started_at ON entity (type, id, started_at)",
    f"CREATE UNIQUE INDEX entity_open ON entity (type, id) WHERE ended_at = {_FOREVER}",
    """CREATE TABLE entity_link (entity_id {big} NOT NULL REFERENCES entity (pk), property {id} NOT NULL,
        type {id} NOT NULL, target {id} NOT NULL, PRIMARY KEY (entity_id, property))""",
    "CREATE INDEX entity_link_target_type_property_entity_id ON entity_link (target, type, property, entity_id)",
    """CREATE TABLE client (id {serial}, name TEXT NOT NULL, key_hash {id} NOT NULL, scopes TEXT NOT NULL,
        subscription_id {id} REFERENCES subscription (id), created_at {big} NOT NULL, revoked_at {big} NOT NULL)""",
    "CREATE UNIQUE INDEX client_key_hash ON client (key_hash)",
    "CREATE INDEX client_subscription_id ON client (subscription_id)",
    """CREATE TABLE event (id {serial}, at {big} NOT NULL, kind TEXT NOT NULL, subscription {id} NOT NULL,
        body {json} NOT NULL)""",
    "CREATE INDEX event_subscription_id ON event (subscription, id)",
    """CREATE TABLE decision (id {serial}, at {big} NOT NULL, asked_at {big} NOT NULL,
        client_id {big} NOT NULL REFERENCES client (id), request_id TEXT NOT NULL, subject_type {id} NOT NULL,
        subject {id} NOT NULL, action {id} NOT NULL, resource_type {id} NOT NULL, resource {id} NOT NULL,
        allowed {bool} NOT NULL, reason TEXT NOT NULL, rule TEXT NOT NULL, "grant" {big},
        policy_version {id} NOT NULL)""",
    "CREATE INDEX decision_resource_type_resource_at ON decision (resource_type, resource, at)",
]

# No grant crosses subscriptions, and no two grants of a practitioner, nor two owners, of one patient overlap.
# On PostgreSQL the patient's row lock makes concurrent writers take turns; on SQLite writers always do.
_CROSSES = """SELECT 1 FROM patient p WHERE p.id = NEW.patient_id AND NOT EXISTS (SELECT 1 FROM membership m
    WHERE m.practitioner_id = NEW.practitioner_id AND m.subscription_id = p.subscription_id)"""
_OVERLAPS = """SELECT 1 FROM "grant" o WHERE o.patient_id = NEW.patient_id AND o.id <> NEW.id
    AND o.started_at < NEW.ended_at AND NEW.started_at < o.ended_at AND NEW.started_at < NEW.ended_at
    AND o.started_at < o.ended_at
    AND (o.practitioner_id = NEW.practitioner_id OR (o.role = 'owner' AND NEW.role = 'owner'))"""
_CHECKS = [(_CROSSES, "grant crosses subscriptions"), (_OVERLAPS, "grant overlaps another")]
# An answer or a change that was recorded stays recorded.
_APPEND_ONLY = ["event", "decision"]


def _sqlite_triggers() -> list[str]:
    made = []
    for timing in ("INSERT", "UPDATE"):
        for number, (check, why) in enumerate(_CHECKS):
            # On INSERT the row has no id yet, and nothing can be its own rival.
            found = check.replace("AND o.id <> NEW.id", "") if timing == "INSERT" else check
            made.append(
                f'CREATE TRIGGER grant_{timing.lower()}_{number} BEFORE {timing} ON "grant" '
                f"WHEN EXISTS ({found}) BEGIN SELECT RAISE(ABORT, '{why}'); END"
            )
    for table in _APPEND_ONLY:
        for timing in ("UPDATE", "DELETE"):
            made.append(
                f"CREATE TRIGGER {table}_{timing.lower()} BEFORE {timing} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    return made


def _postgresql_triggers() -> list[str]:
    raises = "\n".join(
        f"IF EXISTS ({check}) THEN RAISE EXCEPTION '{why}' USING ERRCODE = 'integrity_constraint_violation'; END IF;"
        for check, why in _CHECKS
    )
    made = [
        f"""CREATE FUNCTION caregrant_check_grant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM 1 FROM patient WHERE id = NEW.patient_id FOR UPDATE;
        {raises} RETURN NEW; END $$""",
        """CREATE TRIGGER grant_check BEFORE INSERT OR UPDATE ON "grant"
        FOR EACH ROW EXECUTE FUNCTION caregrant_check_grant()""",
        """CREATE FUNCTION caregrant_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only',
        ERRCODE = 'integrity_constraint_violation'; END $$""",
    ]
    for table in _APPEND_ONLY:
        made.append(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION caregrant_append_only()"
        )
    return made


def up(migrator: Any, db: Any) -> None:
    for statement in _TABLES:
        db.execute_sql(statement.format(**_TYPES[db.dialect]))
    for statement in _sqlite_triggers() if db.dialect == "sqlite" else _postgresql_triggers():
        db.execute_sql(statement)
