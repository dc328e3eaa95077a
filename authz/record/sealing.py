"""Sealing: decisions are appended to the trees in batches, some seconds after they were given.

The batch of a subscription and a month becomes one leaf. The leaf contains the first and last id, the number of
decisions, and the root of a separate tree over them, so that one decision can be proven without disclosing the others.
An answer waits until its row is committed, but not until the row is sealed. A faster seal would prove nothing more: an
attacker with write access to the database can rewrite everything after the last checkpoint that somebody keeps. Before
a checkpoint is signed, all decisions are sealed (docs/decisions/0030).
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime

import peewee

from authz.database import Database, database_connection
from authz.database.statements import insert_rows
from authz.domain import Row, to_micros
from authz.errors import Unavailable
from authz.models import RecordedDecision, Seal
from authz.record.commit_queue import queue_seals
from authz.record.commitments import address_owner, commitment, erased_commitments, read_secrets
from authz.record.leaves import DECISION_FIELDS, canonical, decision_leaf, seal_leaf
from authz.record.merkle import Frontier, leaf_hash
from authz.record.partitions import month_of_instant
from authz.record.spool import drain_spool
from authz.record.trees import append_leaves

_PAUSE_SECONDS = 0.1
BATCH_SIZE = 1000
"""The largest number of decisions in a seal."""

SEAL_COLUMNS = ("id", "at", "subscription", "month", "first", "last", "upto", "count", "root", "marks")
"""The columns of a seal."""

MARK_BYTES = 8
"""The bytes of each decision's hash that a seal keeps: the marks.

Marks are no proof, which is the root in the leaf. They help to find which decision was changed.
"""

_COLUMNS = [getattr(RecordedDecision, name) for name in DECISION_FIELDS]


def seal(database: Database, now: datetime, *, lock_timeout: str = "200ms", tries: int = 10) -> int:
    """Seal every decision that is recorded and not sealed; return how many.

    On PostgreSQL each try waits up to `lock_timeout` for the transactions that are recording. A transaction that begins
    to record in that time waits, too. Raises `Unavailable`; batches that were sealed before the error stay sealed.
    """
    sealed = 0
    drain_spool(database)
    upto = _read_last_settled(database, lock_timeout, tries)
    with database_connection(database):
        while count := _seal_batch(database, now, upto):
            sealed += count
    return sealed


def _read_last_settled(database: Database, lock_timeout: str, tries: int) -> int:
    """Return the id up to which no decision can be added any more: every transaction that took a lower id has ended.

    No lock is held afterwards.
    """
    if database.dialect == "sqlite":
        sql, values = "SELECT id FROM decision ORDER BY id DESC LIMIT 1", []
    else:
        sql, values = "SELECT caregrant_settled(%s)", [lock_timeout]
    while True:
        tries -= 1
        try:
            with database_connection(database):
                row = database.execute_sql(sql, values).fetchone()
            return row[0] if row else 0
        except Unavailable:
            if tries <= 0:
                raise
        time.sleep(_PAUSE_SECONDS)


def last_sealed(database: Database, most: int = 2**63 - 1) -> int:
    """Return the id of the last sealed decision, or of the last seal up to the id `most`; 0 if there is none."""
    ((last,),) = Seal.select(peewee.fn.MAX(Seal.upto)).where(Seal.upto <= most).tuples().execute(database)
    return last or 0


def _seal_batch(database: Database, now: datetime, upto: int) -> int:
    """Seal up to `BATCH_SIZE` decisions after the last sealed one; return how many.

    The decisions are hashed before the transaction begins, so that neither answers nor changes wait for the hashing. If
    an address is erased in the meantime, its commitment stays the same.
    """
    after = last_sealed(database)
    rows = read_decisions(database, after, upto, BATCH_SIZE)
    if not rows:
        return 0
    groups: dict[tuple[str, str], list[bytes]] = {}
    ends: dict[tuple[str, str], tuple[int, int]] = {}
    for content in decision_leaf_contents(database, rows, create=True):
        key = content["subscription"], month_of_instant(content["asked_at"])
        groups.setdefault(key, []).append(leaf_hash(canonical(content)))
        ends[key] = ends.get(key, (content["id"],))[0], content["id"]
    seals = []
    for key, leaves in groups.items():
        root, marks = Frontier().append(leaves)[0].root, b"".join(leaf[:MARK_BYTES] for leaf in leaves)
        values = (to_micros(now), *key, *ends[key], rows[-1]["id"], len(leaves), root, marks)
        seals.append(dict(zip(SEAL_COLUMNS[1:], values, strict=True)))
    with database.atomic():
        (queue_seals if database.dialect == "postgresql" else _append_seals)(database, after, seals)
    return len(rows)


def _append_seals(database: Database, after: int, seals: Sequence[Row]) -> None:
    """Append the seals of the decisions after the id `after`, unless another process has sealed these decisions."""
    if last_sealed(database) != after:
        return
    ((last,),) = Seal.select(peewee.fn.MAX(Seal.id)).tuples().execute(database)
    numbered = [{"id": number, **seal} for number, seal in enumerate(seals, (last or 0) + 1)]
    insert_rows(database, Seal, SEAL_COLUMNS, [tuple(seal.values()) for seal in numbered])
    leaves = ((seal["subscription"], seal["id"], leaf_hash(canonical(seal_leaf(seal)))) for seal in numbered)
    append_leaves(database, "seal", leaves)


def read_decisions(database: Database, after: int, upto: int, limit: int) -> list[Row]:
    """Return up to `limit` decisions with ids above `after` up to `upto`, as they are stored, ordered by id.

    Returns none only if there is none. Ids are read by ranges, because PostgreSQL sorts all that a condition selects
    if it expects few: a page would then cost as much as all that is left.
    """
    width, rows = limit, list[Row]()
    while not rows and after < upto:
        last = min(after + width, upto)
        query = RecordedDecision.select(*_COLUMNS).order_by(RecordedDecision.id)
        query = query.where(RecordedDecision.id > after, RecordedDecision.id <= last).limit(limit)
        sql, values = database.get_sql_context().sql(query).query()
        rows = [dict(zip(DECISION_FIELDS, row, strict=True)) for row in database.execute_sql(sql, values).fetchall()]
        after, width = last, 2 * width
    return rows


def decision_leaf_contents(database: Database, rows: Sequence[Row], *, create: bool = False) -> Iterator[Row]:
    """Yield the leaf content of each decision. With `create`, which sealing sets, create missing secrets of persons."""
    persons = [address_owner(row["actor"], row["client"]) if row["address"] else "" for row in rows]
    secrets = read_secrets(database, set(persons) - {""}, create=create)
    erased = erased_commitments(database, "decision", rows[0]["id"], rows[-1]["id"]) if rows else {}
    for row, person in zip(rows, persons, strict=True):
        address = erased.get((row["id"], "address"), "") if erased else ""
        # An address that is still in the row is hashed again, so that a forged one is found. Only when a seal is made
        # may the row be older than the erasure of its address: then the commitment that the erasure kept counts.
        if person and not (create and address):
            address = commitment(secrets.get(person), "decision", row["id"], "address", row["address"])
        yield decision_leaf(row, address)


def count_unsealed(database: Database) -> int:
    """Return how many decisions are recorded and not sealed yet."""
    count: int = RecordedDecision.select().where(RecordedDecision.id > last_sealed(database)).count(database)
    return count
