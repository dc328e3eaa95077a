"""The facts rebuilt from the events alone, and where the tables say otherwise.

Each event tells a row before and after; folding them in order from nothing must give the rows that stand. Events of
before 0.2 tell no clinic of an entity: such a version must have a clinic that the upgrade may have given it
(`upgraded`), and if there are several it is counted as unproven.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from authz.database import Database, answering
from authz.models import Entity, EntityLink, Event
from authz.record.events import NOUNS, told, told_entity
from authz.record.upgraded import possible_clinics

_NOUNS = (*NOUNS, "entity")
_LINKS = EntityLink.select(EntityLink.entity, EntityLink.property, EntityLink.target)


@dataclass(frozen=True)
class Difference:
    """A row that only one side has: `told` by the events, or `stored` without an event."""

    noun: str
    side: str
    row: str


class Replay(NamedTuple):
    """How many events were read, the differences between what they tell and what stands, and the entities of which the
    events do not prove the clinic, as ``type:id``.
    """

    events: int
    differences: list[Difference]
    unproven: list[str]


def replayed(database: Database, most: int | None = None) -> Replay:
    """Compare what the events tell with what stands: all differences, or the first `most`.

    A row is remembered by its digest alone, so that a database may be larger than memory; what differs is read again.
    """
    alone = not database.in_transaction()
    with answering(database), database.atomic():
        if alone and database.dialect == "postgresql":
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        counts: Counter[bytes] = Counter()
        unproven: set[str] = set()
        for noun, line, change in _lines(database):
            one = _counted(database, counts, unproven, noun, line, change)
            counts[one] += change
            if not counts[one]:
                del counts[one]
        differences: list[Difference] = []
        for noun, line, _ in _lines(database) if counts else ():
            if not counts or len(differences) == most:
                break
            count = counts.pop(_digest(noun, line), 0)
            if count:
                differences.append(Difference(noun, "told" if count > 0 else "stored", line))
        ordered = sorted(differences, key=lambda one: (one.noun, one.row))
        return Replay(Event.select().count(database), ordered, sorted(unproven))


def _lines(database: Database) -> Iterator[tuple[str, str, int]]:
    """Every row that an event begins (1) or ends (-1), then every row that stands (-1)."""
    events = Event.select(Event.kind, Event.body).order_by(Event.id).tuples()
    for kind, body in events.iterator(database):
        noun = kind.partition(":")[0]
        for side, change in (("before", -1), ("after", 1)) if noun in _NOUNS else ():
            row = body.get(side) if isinstance(body, dict) else None  # a forged body tells nothing: its facts differ
            if row is not None:
                yield noun, _line(row), change
    for noun, model in NOUNS.items():
        for row in model.select().dicts().iterator(database):
            yield noun, _line(told(noun, row)), -1
    links: dict[int, dict[str, str]] = defaultdict(dict)
    for version, name, target in _LINKS.tuples().iterator(database):
        links[version][name] = target
    for row in Entity.select().dicts().iterator(database):
        yield "entity", _line(told_entity(row, links[row["pk"]])), -1


def _counted(
    database: Database, counts: Counter[bytes], unproven: set[str], noun: str, line: str, change: int
) -> bytes:
    """The digest by which a row is counted: without its clinic if the event that began it told none, and if the upgrade
    may have given it this one.
    """
    one = _digest(noun, line)
    if noun == "entity" and change < 0 and counts.get(one, 0) <= 0:
        row = orjson.loads(line)
        clinic = row.pop("subscription", None)
        older = _digest(noun, _line(row))
        clinics = possible_clinics(database, row["links"].values()) if counts.get(older, 0) > 0 else ()
        if clinic in clinics:
            if len(clinics) > 1:
                unproven.add(f"{row['type']}:{row['id']}")
            return older
    return one


def _digest(noun: str, line: str) -> bytes:
    return blake2b(f"{noun} {line}".encode(), digest_size=16).digest()


def _line(row: dict[str, Any]) -> str:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()
