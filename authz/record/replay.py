"""The facts rebuilt from the events alone, and where the tables say otherwise.

Each event tells a row before and after; folding them in order from nothing must give the rows that stand. Events of
before 0.2 tell no clinic of an entity: the upgrade derived it from what the entity led to (decision 0064), so that such
a version is the same with any.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from authz.database import Database, answering
from authz.models import Entity, EntityLink, Event, PolicyText
from authz.policy_history import hash_of_kept
from authz.record.events import NOUNS, told, told_entity

_NOUNS = (*NOUNS, "entity", "policy")
_LINKS = EntityLink.select(EntityLink.entity, EntityLink.property, EntityLink.target)


@dataclass(frozen=True)
class Difference:
    """A row that only one side has: `told` by the events, or `stored` without an event."""

    noun: str
    side: str
    row: str


def replayed(database: Database, most: int | None = None) -> tuple[int, list[Difference]]:
    """How many events were read, and the differences between what they tell and what stands: all, or the first `most`.

    A row is remembered by its digest alone, so that a database may be larger than memory; what differs is read again.
    """
    alone = not database.in_transaction()
    with answering(database), database.atomic():
        if alone and database.dialect == "postgresql":
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        counts: Counter[bytes] = Counter()
        for noun, line, change in _lines(database):
            one = _counted(counts, noun, line, change)
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
        return Event.select().count(database), sorted(differences, key=lambda one: (one.noun, one.row))


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
    for (files,) in PolicyText.select(PolicyText.files).tuples().iterator(database):
        yield "policy", _line({"version": hash_of_kept(files)}), -1


def _counted(counts: Counter[bytes], noun: str, line: str, change: int) -> bytes:
    """The digest by which a row is counted: without its clinic if the event that began it told none."""
    one = _digest(noun, line)
    if noun == "entity" and change < 0 and counts.get(one, 0) <= 0:
        row = orjson.loads(line)
        row.pop("subscription", None)
        older = _digest(noun, _line(row))
        return older if counts.get(older, 0) > 0 else one
    return one


def _digest(noun: str, line: str) -> bytes:
    return blake2b(f"{noun} {line}".encode(), digest_size=16).digest()


def _line(row: dict[str, Any]) -> str:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()
