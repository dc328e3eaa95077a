"""The facts rebuilt from the events alone, and where the tables say otherwise.

Each event of a fact with a life tells its row before and after; folding them in order from nothing must give the rows
that stand. Of a fact with an id the last event counts (`facts`). Events of before 0.2 tell no clinic of an entity: such
a version must have a clinic that the upgrade may have given it (`upgraded`), and if there are several it is counted as
unproven.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from authz.database import Database, database_connection
from authz.models import Event
from authz.record.facts import KEYED, NOUNS, pages, stored_facts, unreadable_nouns
from authz.record.leaves import canonical, parse_document
from authz.record.upgraded_entities import possible_clinics

_NOUNS = (*NOUNS, "entity", "policy")


@dataclass(frozen=True)
class Difference:
    """A row that only one side has: `told` by the events, or `stored` without an event."""

    noun: str
    side: str
    row: str


@dataclass(frozen=True)
class _Line:
    """A row that an event begins (`change` 1) or ends, or that stands (-1)."""

    noun: str
    digest: bytes
    change: int
    row: dict[str, Any] | None = None


class Replay(NamedTuple):
    """How many events were read, the differences between what they tell and what stands, and the entities of which the
    events do not prove the clinic, as ``type:id``.
    """

    events: int
    differences: list[Difference]
    unproven: list[str]


def replay_facts(database: Database, most: int | None = None) -> Replay:
    """Compare what the events tell with what stands: all differences, or the first `most`.

    A row is remembered by its digest alone, so that a database may be larger than memory; what differs is read again.
    """
    alone = not database.in_transaction()
    with database_connection(database), database.atomic():
        if alone and database.dialect == "postgresql":
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        counts: Counter[bytes] = Counter()
        unproven: set[str] = set()
        for line in _lines(database):
            one = _counted(database, counts, unproven, line)
            counts[one] += line.change
            if not counts[one]:
                del counts[one]
        differences: list[Difference] = []
        for line in _lines(database) if counts else ():
            if not counts or len(differences) == most:
                break
            count = counts.pop(line.digest, 0) if line.row is not None else 0
            if count:
                side = "told" if count > 0 else "stored"
                differences.append(Difference(line.noun, side, canonical(line.row).decode()))
        ordered = sorted(differences, key=lambda one: (one.noun, one.row))
        return Replay(Event.select().count(database), ordered, sorted(unproven))


def _lines(database: Database) -> Iterator[_Line]:
    """Every row that an event begins or ends, then every row that stands; none that this account may not read."""
    keyed = KEYED.keys() - set(unreadable_nouns(database))
    last: dict[tuple[str, str], bytes] = {}
    events = chain.from_iterable(pages(database, "SELECT id, kind, body FROM event", "id"))
    for _, kind, stored in events:
        noun, body = kind.partition(":")[0], parse_document(stored)
        if not isinstance(body, dict):
            continue  # a forged body tells nothing: its facts differ
        if noun in _NOUNS:
            yield from (
                _line(noun, body[side], change)
                for side, change in (("before", -1), ("after", 1))
                if body.get(side) is not None
            )
        for of, row in _adopted(body) if noun == "facts" else [(noun, body.get("after"))]:
            if of in keyed and isinstance(row, dict):
                line = _line(of, row, 1)
                key = of, str(row.get(of))
                if key in last:
                    yield _Line(of, last[key], -1)
                last[key] = line.digest
                yield line
    for noun, _, row in stored_facts(database):
        yield _line(noun, row, -1)


def _adopted(body: dict[str, Any]) -> list[tuple[str, Any]]:
    """The facts that an event of the upgrade tells."""
    facts = body.get("facts")
    return [tuple(one) for one in facts if isinstance(one, list) and len(one) == 2] if isinstance(facts, list) else []


def _counted(database: Database, counts: Counter[bytes], unproven: set[str], line: _Line) -> bytes:
    """The digest by which a row is counted: without its clinic if the event that began it told none, and if the upgrade
    may have given it this one.
    """
    if line.noun == "entity" and line.change < 0 and line.row is not None and counts.get(line.digest, 0) <= 0:
        row = {name: value for name, value in line.row.items() if name != "subscription"}
        older = _line("entity", row, -1).digest
        links = row.get("links")
        if counts.get(older, 0) > 0 and isinstance(links, dict):  # a forged event may tell anything
            clinics = possible_clinics(database, map(str, links.values()))
            if line.row.get("subscription") in clinics:
                if len(clinics) > 1:
                    unproven.add(f"{row.get('type')}:{row.get('id')}")
                return older
    return line.digest


def _line(noun: str, row: dict[str, Any], change: int) -> _Line:
    return _Line(noun, blake2b(canonical([noun, row]), digest_size=16).digest(), change, row)
