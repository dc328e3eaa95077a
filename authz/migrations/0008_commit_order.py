"""PostgreSQL gives events and seals their places inside COMMIT: they are queued, and the server puts them in order.

A client only adds rows to a queue. A deferred trigger takes the lock that orders the record, gives ids, hashes, grows
the trees and empties the queue, all within COMMIT: no client is waited for while that lock is held
(docs/decisions/0055). On SQLite, where one transaction writes at a time, nothing changes.
"""

from typing import Any

_APPENDING = 0x43617265  # authz/record/trees.py
_PERSON = 0x70657273  # authz/record/commitments.py
_RECORDING = 0x43617266  # authz/database/statements.py
_STRIPES = 64

_ID = 'TEXT COLLATE "C" NOT NULL'
_QUEUES = [
    f"""CREATE TABLE pending_event (tx XID8 NOT NULL DEFAULT pg_current_xact_id(),
        number BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY, at BIGINT NOT NULL, kind TEXT NOT NULL,
        subscription {_ID}, patient {_ID}, actor {_ID}, client BIGINT, request_id TEXT NOT NULL,
        address TEXT NOT NULL, reason TEXT NOT NULL, body JSONB NOT NULL, leaf TEXT NOT NULL,
        whose_address {_ID}, whose_reason {_ID}, address_secret BYTEA, reason_secret BYTEA,
        PRIMARY KEY (tx, number))""",
    f"""CREATE TABLE pending_seal (tx XID8 NOT NULL DEFAULT pg_current_xact_id(),
        number BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY, after BIGINT NOT NULL, at BIGINT NOT NULL,
        subscription {_ID}, month TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, upto BIGINT NOT NULL,
        count BIGINT NOT NULL, root BYTEA NOT NULL, leaf TEXT NOT NULL, PRIMARY KEY (tx, number))""",
]

# RFC 2104 over SHA-256, for keys of 32 bytes: those of personal_secret.
_HMAC = [
    r"""CREATE FUNCTION caregrant_pad(secret BYTEA, mask BIGINT) RETURNS BYTEA
        LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN
        RETURN int8send(('x' || encode(substr(secret, 1, 8), 'hex'))::bit(64)::bigint # mask)
            || int8send(('x' || encode(substr(secret, 9, 8), 'hex'))::bit(64)::bigint # mask)
            || int8send(('x' || encode(substr(secret, 17, 8), 'hex'))::bit(64)::bigint # mask)
            || int8send(('x' || encode(substr(secret, 25, 8), 'hex'))::bit(64)::bigint # mask)
            || int8send(mask) || int8send(mask) || int8send(mask) || int8send(mask);
    END $$""",
    r"""CREATE FUNCTION caregrant_commitment(secret BYTEA, id BIGINT, field TEXT, value TEXT) RETURNS TEXT
        LANGUAGE plpgsql STABLE AS $$ BEGIN
        IF value = '' THEN RETURN ''; END IF;
        RETURN encode(sha256(caregrant_pad(secret, x'5c5c5c5c5c5c5c5c'::bigint)
            || sha256(caregrant_pad(secret, x'3636363636363636'::bigint)
                || convert_to('["event",' || id || ',"' || field || '",' || to_json(value) || ']', 'UTF8'))), 'hex');
    END $$""",
]

# authz/record/merkle.py, `Edge.grown`, and authz/record/trees.py, `extend`: the tests hold the two together.
_GROW = r"""CREATE FUNCTION caregrant_grow(tree_name TEXT, events BIGINT[], seals BIGINT[], hashes BYTEA[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    old_size BIGINT; old_edge BYTEA; new_size BIGINT;
    new_edge BYTEA := ''; here BYTEA[]; fresh BYTEA[] := hashes; height INTEGER := 0; used INTEGER := 0; many INTEGER;
BEGIN
    SELECT t.size, t.edge INTO old_size, old_edge FROM tree t WHERE t.name = tree_name;
    IF NOT FOUND THEN old_size := 0; old_edge := ''; END IF;
    new_size := old_size + cardinality(hashes);
    INSERT INTO leaf (tree, number, event, seal, hash)
        SELECT tree_name, old_size + l.place - 1, l.event, l.seal, l.hash
        FROM unnest(events, seals, hashes) WITH ORDINALITY AS l (event, seal, hash, place);
    WHILE (new_size >> height) > 0 LOOP
        many := cardinality(fresh);
        IF height > 0 AND (height & 3) = 0 AND many > 0 THEN
            INSERT INTO node (tree, level, number, hash)
                SELECT tree_name, height, (old_size >> height) + n.place - 1, n.hash
                FROM unnest(fresh) WITH ORDINALITY AS n (hash, place);
        END IF;
        here := fresh;
        IF ((old_size >> height) & 1) = 1 THEN
            used := used + 1;
            here := array_prepend(substr(old_edge, octet_length(old_edge) - 32 * used + 1, 32), fresh);
            many := many + 1;
        END IF;
        IF (many & 1) = 1 THEN new_edge := here[many] || new_edge; END IF;
        IF many < 2 THEN
            fresh := '{}';
        ELSIF many < 4 THEN
            fresh := ARRAY[sha256('\x01'::bytea || here[1] || here[2])];
        ELSE
            SELECT array_agg(pair.hash ORDER BY pair.place) INTO fresh FROM (
                SELECT (n.place - 1) >> 1, sha256('\x01'::bytea || string_agg(n.hash, ''::bytea ORDER BY n.place))
                FROM unnest(here) WITH ORDINALITY AS n (hash, place) WHERE n.place <= (many >> 1) << 1 GROUP BY 1
            ) AS pair (place, hash);
        END IF;
        height := height + 1;
    END LOOP;
    INSERT INTO tree (name, size, edge) VALUES (tree_name, new_size, new_edge)
        ON CONFLICT (name) DO UPDATE SET size = excluded.size, edge = excluded.edge;
END $$"""

# Planning anew would take longer than the work, and what the queue holds is always few rows by its index.
_PLANS = "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off"

# Whoever erases a person holds the person's lock alone: it comes before the lock that all appends share, so that nobody
# waits for an erasure while holding that.
_APPEND_EVENTS = rf"""CREATE FUNCTION caregrant_append_events() RETURNS trigger LANGUAGE plpgsql {_PLANS} AS $$
DECLARE
    mine XID8 := NEW.tx; grown RECORD;
BEGIN
    PERFORM 1 FROM pending_event p WHERE p.tx = mine AND p.number = NEW.number;
    IF NOT FOUND THEN RETURN NULL; END IF;  -- the first of a transaction's rows takes all
    PERFORM pg_advisory_xact_lock_shared({_PERSON}, stripe) FROM (
        SELECT DISTINCT hashtext(whose) & {_STRIPES - 1} AS stripe
        FROM pending_event p, unnest(ARRAY[p.whose_address, p.whose_reason]) AS whose
        WHERE p.tx = mine AND whose <> '' ORDER BY 1) AS persons;
    PERFORM pg_advisory_xact_lock({_APPENDING});
    INSERT INTO personal_secret (whose, value)
        SELECT DISTINCT ON (s.whose) s.whose, s.value FROM (
            SELECT p.whose_address, p.address_secret FROM pending_event p WHERE p.tx = mine AND p.whose_address <> ''
            UNION ALL
            SELECT p.whose_reason, p.reason_secret FROM pending_event p WHERE p.tx = mine AND p.whose_reason <> ''
        ) AS s (whose, value) WHERE NOT EXISTS (SELECT FROM personal_secret k WHERE k.whose = s.whose)
        ON CONFLICT (whose) DO NOTHING;
    FOR grown IN
        WITH taken AS (DELETE FROM pending_event p WHERE p.tx = mine RETURNING p.*),
        numbered AS MATERIALIZED (
            SELECT nextval('event_id_seq') AS id,
                greatest(
                    (SELECT e.at FROM event e WHERE e.subscription = o.subscription ORDER BY e.id DESC LIMIT 1),
                    o.latest) AS at,
                o.kind, o.subscription, o.patient, o.actor, o.client, o.request_id, o.address, o.reason, o.body,
                string_to_array(o.leaf, chr(1)) AS leaf, o.whose_address, o.whose_reason
            FROM (
                SELECT t.*, max(t.at) OVER (PARTITION BY t.subscription ORDER BY t.number) AS latest
                FROM taken t ORDER BY t.number) AS o),
        stored AS (
            INSERT INTO event (id, at, kind, subscription, patient, actor, client, request_id, address, reason, body)
            SELECT id, at, kind, subscription, patient, actor, client, request_id, address, reason, body FROM numbered),
        hashed AS (
            SELECT n.subscription, n.id, sha256('\x00'::bytea || convert_to(
                n.leaf[1] || '"' || caregrant_commitment(a.value, n.id, 'address', n.address) || '"'
                || n.leaf[2] || n.at || n.leaf[3] || n.id || n.leaf[4]
                || '"' || caregrant_commitment(r.value, n.id, 'reason', n.reason) || '"' || n.leaf[5], 'UTF8')) AS hash
            FROM numbered n LEFT JOIN personal_secret a ON a.whose = n.whose_address AND n.whose_address <> ''
                LEFT JOIN personal_secret r ON r.whose = n.whose_reason AND n.whose_reason <> '')
        SELECT h.subscription AS tree, array_agg(h.id ORDER BY h.id) AS ids, array_agg(h.hash ORDER BY h.id) AS hashes
        FROM hashed h GROUP BY h.subscription ORDER BY h.subscription
    LOOP
        PERFORM caregrant_grow(grown.tree, grown.ids, NULL, grown.hashes);
    END LOOP;
    RETURN NULL;
END $$"""

_APPEND_SEALS = rf"""CREATE FUNCTION caregrant_append_seals() RETURNS trigger LANGUAGE plpgsql {_PLANS} AS $$
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
            INSERT INTO seal (id, at, subscription, month, first, last, upto, count, root)
            SELECT n.id, n.at, n.subscription, n.month, n.first, n.last, n.upto, n.count, n.root FROM numbered n)
        SELECT n.subscription AS tree, array_agg(n.id ORDER BY n.id) AS ids, array_agg(sha256('\x00'::bytea
            || convert_to(replace(n.leaf, chr(1), n.id::text), 'UTF8')) ORDER BY n.id) AS hashes
        FROM numbered n GROUP BY n.subscription ORDER BY n.subscription
    LOOP
        PERFORM caregrant_grow(grown.tree, NULL, grown.ids, grown.hashes);
    END LOOP;
    RETURN NULL;
END $$"""

# The last answer of which no earlier one can still appear: read after whoever records has ended, in one statement.
_SETTLED = f"""CREATE FUNCTION caregrant_settled(patience TEXT) RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('lock_timeout', patience, true);
    PERFORM pg_advisory_xact_lock({_RECORDING});
    RETURN COALESCE((SELECT d.id FROM decision d ORDER BY d.id DESC LIMIT 1), 0);
END $$"""

_TRIGGERS = [
    f"""CREATE CONSTRAINT TRIGGER pending_{noun}_order AFTER INSERT ON pending_{noun} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION caregrant_append_{noun}s()"""
    for noun in ("event", "seal")
]


def up(migrator: Any, db: Any) -> None:
    if db.dialect == "postgresql":
        for statement in [*_QUEUES, *_HMAC, _GROW, _APPEND_EVENTS, _APPEND_SEALS, _SETTLED, *_TRIGGERS]:
            db.execute_sql(statement)
