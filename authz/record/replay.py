"""Rebuild the facts from the events alone, and compare them with the tables.

Each event about a fact with a life contains its row before and after; applied in order to no rows, the events must give
the stored rows. Of a fact with an id the last event counts (`facts`). Events from before release 0.2 contain no clinic
of an entity: such a version must have a clinic that the upgrade may have assigned (`upgraded_entities`), and is
unproven if there are several.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from authz.database import Database, database_connection
from authz.domain import Row
from authz.models import Event
from authz.record.facts import KEYED, NOUNS, read_pages, stored_facts, unreadable_nouns
from authz.record.leaves import canonical, parse_document
from authz.record.upgraded_entities import possible_clinics

_NOUNS = (*NOUNS, "entity", "policy")


@dataclass(frozen=True)
class Difference:
    """A row that only one side has: ``told`` by the events, or ``stored`` without an event."""

    noun: str
    side: str
    row: str


@dataclass(frozen=True)
class _RowChange:
    """A row that an event begins (`sign` 1) or ends (-1), or that is stored (-1)."""

    noun: str
    digest: bytes
    sign: int
    row: Row | None = None


class Replay(NamedTuple):
    """The number of events, the differences between the events and the tables, and the unproven entities.

    An entity is unproven, as ``type:id``, if the events do not prove its clinic.
    """

    events: int
    differences: list[Difference]
    unproven: list[str]


def replay_facts(database: Database, most: int | None = None) -> Replay:
    """Compare the rows of the events with the stored rows; return all differences, or the first `most`.

    Only the digest of a row is kept, so that a database may be larger than memory; rows that differ are read again.
    """
    nested = database.in_transaction()
    with database_connection(database), database.atomic():
        if not nested and database.dialect == "postgresql":
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        counts: Counter[bytes] = Counter()
        unproven: set[str] = set()
        for change in _row_changes(database):
            digest = _counted_digest(database, counts, unproven, change)
            counts[digest] += change.sign
            if not counts[digest]:
                del counts[digest]
        differences = sorted(_differences(database, counts, most), key=attrgetter("noun", "row"))
        return Replay(Event.select().count(database), differences, sorted(unproven))


def _differences(database: Database, counts: Counter[bytes], most: int | None) -> Iterator[Difference]:
    """Yield the rows whose digests are counted, at most `most`; a positive count: only the events contain the row."""
    yielded = 0
    for change in _row_changes(database) if counts else ():
        if not counts or yielded == most:
            return
        count = counts.pop(change.digest, 0) if change.row is not None else 0
        if count:
            yielded += 1
            yield Difference(change.noun, "told" if count > 0 else "stored", canonical(change.row).decode())


def _row_changes(database: Database) -> Iterator[_RowChange]:
    """Yield each row that an event begins or ends, then each stored row; none that this account may not read."""
    keyed = KEYED.keys() - set(unreadable_nouns(database))
    last: dict[tuple[str, str], bytes] = {}
    events = chain.from_iterable(read_pages(database, "SELECT id, kind, body FROM event", "id"))
    for _, kind, stored in events:
        noun, body = kind.partition(":")[0], parse_document(stored)
        if not isinstance(body, dict):
            continue  # a forged body contains no row: its facts differ
        if noun in _NOUNS:
            yield from (
                _row_change(noun, body[side], sign)
                for side, sign in (("before", -1), ("after", 1))
                if body.get(side) is not None
            )
        for fact_noun, row in _adopted_facts(body) if noun == "facts" else [(noun, body.get("after"))]:
            if fact_noun in keyed and isinstance(row, dict):
                begun = _row_change(fact_noun, row, 1)
                key = fact_noun, str(row.get(fact_noun))
                if key in last:
                    yield _RowChange(fact_noun, last[key], -1)
                last[key] = begun.digest
                yield begun
    for noun, _, row in stored_facts(database):
        yield _row_change(noun, row, -1)


def _adopted_facts(body: Row) -> list[tuple[str, object]]:
    """Return the facts in an event of the upgrade: noun and row."""
    facts = body.get("facts")
    if not isinstance(facts, list):
        return []
    return [(fact[0], fact[1]) for fact in facts if isinstance(fact, list) and len(fact) == 2]


def _counted_digest(database: Database, counts: Counter[bytes], unproven: set[str], change: _RowChange) -> bytes:
    """Return the digest under which a row is counted.

    It is the digest without the clinic if the event that began the row contains none, and if the upgrade may have
    assigned the clinic of the row.
    """
    if change.noun == "entity" and change.sign < 0 and change.row is not None and counts.get(change.digest, 0) <= 0:
        row = {name: value for name, value in change.row.items() if name != "subscription"}
        older = _row_change("entity", row, -1).digest
        links = row.get("links")
        if counts.get(older, 0) > 0 and isinstance(links, dict):  # a forged event may contain anything
            clinics = possible_clinics(database, map(str, links.values()))
            if change.row.get("subscription") in clinics:
                if len(clinics) > 1:
                    unproven.add(f"{row.get('type')}:{row.get('id')}")
                return older
    return change.digest


def _row_change(noun: str, row: Row, sign: int) -> _RowChange:
    return _RowChange(noun, blake2b(canonical([noun, row]), digest_size=16).digest(), sign, row)
