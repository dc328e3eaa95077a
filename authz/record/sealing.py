"""Sealing: decisions go into the trees in batches, some seconds after they were answered.

A batch of a subscription and a month becomes one leaf, which names the first and the last of it, how many they are, and
the root of a tree of its own over them: so that one decision can be proven without showing the others. An answer
waits for its row and not for its seal: who can write to the database can rewrite every tree since the last
checkpoint that somebody keeps, and a checkpoint seals first (docs/decisions/0030).
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import peewee

from authz.database import Database, database_connection
from authz.database.statements import insert_rows
from authz.domain import to_micros
from authz.errors import Unavailable
from authz.models import RecordedDecision, Seal
from authz.record.commit_queue import queue_seals
from authz.record.commitments import commitment, erased, secrets_of, whose_address
from authz.record.leaves import DECISION_FIELDS, canonical, decision_leaf, seal_leaf
from authz.record.merkle import Frontier, leaf_hash
from authz.record.partitions import month_of_instant
from authz.record.spool import drain_spool
from authz.record.trees import extend

_PAUSE = 0.1
BATCH = 1000
"""The most decisions of one seal."""

SEALED = ("id", "at", "subscription", "month", "first", "last", "upto", "count", "root", "marks")
"""The columns of a seal."""

MARK = 8
"""The bytes that a seal keeps of the hash of each decision, so that a changed one is named. Its leaf holds the root."""

_COLUMNS = [getattr(RecordedDecision, name) for name in DECISION_FIELDS]


def seal(database: Database, now: datetime, *, patience: str = "200ms", tries: int = 10) -> int:
    """Seal every decision that is recorded and not sealed; return how many. On PostgreSQL a try waits for transactions
    that are recording, such as ``200ms``: who begins to record meanwhile waits behind it.

    Raises `Unavailable`; what was sealed until then stays sealed.
    """
    sealed = 0
    drain_spool(database)
    upto = _settled(database, patience, tries)
    with database_connection(database):
        while count := _seal_batch(database, now, upto):
            sealed += count
    return sealed


def _settled(database: Database, patience: str, tries: int) -> int:
    """The last decision of which no earlier one can still appear; one statement, after which no lock is held."""
    if database.dialect == "sqlite":
        asked, values = "SELECT id FROM decision ORDER BY id DESC LIMIT 1", []
    else:
        asked, values = "SELECT caregrant_settled(%s)", [patience]
    while True:
        tries -= 1
        try:
            with database_connection(database):
                found = database.execute_sql(asked, values).fetchone()
            return found[0] if found else 0
        except Unavailable:
            if tries <= 0:
                raise
        time.sleep(_PAUSE)


def last_sealed(database: Database, most: int = 2**63 - 1) -> int:
    """The last decision that was sealed, with others up to `most`."""
    found = Seal.select(peewee.fn.MAX(Seal.upto)).where(Seal.upto <= most).tuples().execute(database)
    return next(iter(found))[0] or 0


def _seal_batch(database: Database, now: datetime, upto: int) -> int:
    """Seal some decisions. They are hashed before the transaction: whoever records or changes must not wait for it.

    Should one of them be erased meanwhile, its commitment stays what it was.
    """
    after = last_sealed(database)
    rows = decisions(database, after, upto, BATCH)
    if not rows:
        return 0
    groups: dict[tuple[str, str], list[bytes]] = {}
    ends: dict[tuple[str, str], tuple[int, int]] = {}
    for row in decision_leaf_contents(database, rows, make=True):
        key = row["subscription"], month_of_instant(row["asked_at"])
        groups.setdefault(key, []).append(leaf_hash(canonical(row)))
        ends[key] = ends.get(key, (row["id"],))[0], row["id"]
    seals = []
    for key, leaves in groups.items():
        root, marks = Frontier().append(leaves)[0].root, b"".join(leaf[:MARK] for leaf in leaves)
        values = (to_micros(now), *key, *ends[key], rows[-1]["id"], len(leaves), root, marks)
        seals.append(dict(zip(SEALED[1:], values, strict=True)))
    with database.atomic():
        (queue_seals if database.dialect == "postgresql" else _append_seals)(database, after, seals)
    return len(rows)


def _append_seals(database: Database, after: int, seals: Sequence[dict[str, Any]]) -> None:
    """Append seals of what was answered after the decision `after`, unless another process was faster."""
    if last_sealed(database) != after:
        return
    first = (next(iter(Seal.select(peewee.fn.MAX(Seal.id)).tuples().execute(database)))[0] or 0) + 1
    numbered = [{"id": first + place, **one} for place, one in enumerate(seals)]
    insert_rows(database, Seal, SEALED, [tuple(one.values()) for one in numbered])
    leaves = ((one["subscription"], one["id"], leaf_hash(canonical(seal_leaf(one)))) for one in numbered)
    extend(database, "seal", leaves)


def decisions(database: Database, after: int, upto: int, limit: int) -> list[dict[str, Any]]:
    """Decisions with ids above `after` up to `upto`, as they are stored, by id."""
    found = (
        RecordedDecision.select(*_COLUMNS)
        .where(RecordedDecision.id > after, RecordedDecision.id <= upto)
        .order_by(RecordedDecision.id)
    )
    sql, values = database.get_sql_context().sql(found.limit(limit)).query()
    return [dict(zip(DECISION_FIELDS, row, strict=True)) for row in database.execute_sql(sql, values).fetchall()]


def decision_leaf_contents(
    database: Database, rows: Sequence[dict[str, Any]], *, make: bool = False
) -> Iterator[dict[str, Any]]:
    """What the leaves of decisions tell. `make`: the secrets of persons that are new are made."""
    persons = [whose_address(row["actor"], row["client"]) if row["address"] else "" for row in rows]
    secrets = secrets_of(database, set(persons) - {""}, make=make)
    gone = erased(database, "decision", rows[0]["id"], rows[-1]["id"]) if rows else {}
    for row, whose in zip(rows, persons, strict=True):
        address = gone.get((row["id"], "address"), "") if gone else ""
        if whose and not (make and address):  # erased after it was read: then its text is no forgery
            address = commitment(secrets.get(whose), "decision", row["id"], "address", row["address"])
        yield decision_leaf(row, address)


def count_unsealed(database: Database) -> int:
    """How many decisions are recorded and not sealed yet."""
    count: int = RecordedDecision.select().where(RecordedDecision.id > last_sealed(database)).count(database)
    return count
