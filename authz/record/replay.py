"""The facts rebuilt from the events alone, and where the tables say otherwise.

Each event tells a row before and after; folding them in order from nothing must give the rows that stand.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import orjson

from authz.database import Database, answering
from authz.models import Entity, EntityLink, Event
from authz.record.events import NOUNS, told, told_entity

_NOUNS = (*NOUNS, "entity")
_LINKS = EntityLink.select(EntityLink.entity, EntityLink.property, EntityLink.target)


@dataclass(frozen=True)
class Difference:
    """A row that only one side has: `told` by the events, or `stored` without an event."""

    noun: str
    side: str
    row: str


def replayed(database: Database) -> tuple[int, list[Difference]]:
    """How many events were read, and every difference between what they tell and what stands."""
    rows: Counter[tuple[str, str]] = Counter()
    read = 0
    alone = not database.in_transaction()
    with answering(database), database.atomic():
        if alone and database.dialect == "postgresql":
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        events = Event.select(Event.kind, Event.body).order_by(Event.id).tuples()
        for kind, body in events.execute(database):
            read += 1
            noun = kind.partition(":")[0]
            for side, change in (("before", -1), ("after", 1)) if noun in _NOUNS else ():
                if body[side] is not None:
                    rows[noun, _line(body[side])] += change
        for noun, model in NOUNS.items():
            for row in model.select().dicts().execute(database):
                rows[noun, _line(told(noun, row))] -= 1
        links: dict[int, dict[str, str]] = defaultdict(dict)
        for version, name, target in _LINKS.tuples().execute(database):
            links[version][name] = target
        for row in Entity.select().dicts().execute(database):
            rows["entity", _line(told_entity(row, links[row["pk"]]))] -= 1
    differences = [
        Difference(noun, "told" if count > 0 else "stored", row) for (noun, row), count in sorted(rows.items()) if count
    ]
    return read, differences


def _line(row: dict[str, Any]) -> str:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()
