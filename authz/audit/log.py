"""The log as lines of JSON: what `verify.py` reads. Streamed in bounded memory, as it stands at one instant.

The head, then the checkpoints that were given out, then each tree with its leaves in order; a leaf of sealed decisions
has them with it. What no tree covers comes last. docs/audit.md defines every line.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
from peewee import fn

from authz.database import Database, answering, rows_of
from authz.models import Checkpoint, Decision, Event, Leaf, Seal
from authz.record.events import told_events
from authz.record.leaves import DECISION_FIELDS, EVENT_FIELDS, seal_leaf
from authz.record.months import bounds
from authz.record.proof import trees
from authz.record.sealing import SEALED, last_sealed, told_decisions
from authz.record.tree import Edge

Line = dict[str, Any]
UNNAMED = "caregrant"
"""The name of a log that no key names yet."""

_CHUNK = 1000


def origin_of(name: str, tree: str) -> str:
    """The origin of a tree: the log's name, and the subscription's id with its unusual characters written as %XX.

    The tree of no subscription is ``-``; a subscription of that name is written ``%2D``.
    """
    return f"{name}/{segment(tree)}"


def segment(tree: str) -> str:
    """A subscription's id as part of a path or an origin."""
    written = quote(tree, safe="")
    if not tree:
        return "-"
    return "".join(f"%{ord(one):02X}" for one in tree) if not tree.strip("-.") else written


def log_lines(database: Database, name: str = "") -> Iterator[Line]:
    """Every line of the log; `name` is the log's, by default that of its last checkpoint."""
    with answering(database), _as_it_stands(database):
        notes = list(
            Checkpoint.select(Checkpoint.note, Checkpoint.at).order_by(Checkpoint.id).dicts().execute(database)
        )
        name = name or _named(notes)
        yield {"log": "caregrant", "version": 1, "name": name}
        for note in notes:
            yield {"checkpoint": note["note"], "at": note["at"].isoformat()}
        events, sealed = 0, 0
        dropped = _dropped(database)
        for tree, edge in trees(database).items():
            yield head(name, tree, edge)
            for line in _leaves(database, tree, dropped):
                events += line["row"].startswith("event ") and line["leaf"] is not None
                sealed += len(line.get("rows") or ())
                yield line
        yield from _strays(database, events, sealed)


def head(name: str, tree: str, edge: Edge) -> Line:
    """The line that begins a tree."""
    return {"tree": tree, "origin": origin_of(name, tree), "size": edge.size, "root": edge.root.hex()}


def _named(notes: list[dict[str, Any]]) -> str:
    return str(notes[-1]["note"]).split("\n", 1)[0].rpartition("/")[0] if notes else UNNAMED


def _as_it_stands(database: Database) -> Any:
    """A transaction that sees one instant and keeps nobody from writing."""
    if database.dialect == "sqlite":
        return database.atomic("DEFERRED")
    return database.atomic(isolation_level="REPEATABLE READ")


def _dropped(database: Database) -> frozenset[str]:
    found = Event.select(Event.body).where(Event.kind == "decisions:dropped").tuples().execute(database)
    return frozenset(body["month"] for (body,) in found)


def _leaves(database: Database, tree: str, dropped: frozenset[str]) -> Iterator[Line]:
    after = -1
    while True:
        found = Leaf.select(Leaf.number, Leaf.event, Leaf.seal, Leaf.hash).where(Leaf.tree == tree, Leaf.number > after)
        leaves = list(found.order_by(Leaf.number).limit(_CHUNK).tuples().execute(database))
        if not leaves:
            return
        events = _events(database, [event for _, event, _, _ in leaves if event is not None])
        seals = _seals(database, [seal for _, _, seal, _ in leaves if seal is not None])
        for number, event, seal, leaf in leaves:
            line = {"number": number, "hash": bytes(leaf).hex()}
            if event is not None:
                yield {**line, "row": f"event {event}", "leaf": events.get(event) if seal is None else None}
            elif seal not in seals:
                yield {**line, "row": f"seal {seal}", "leaf": None}
            else:
                rows = _sealed(database, seals[seal])
                told, gone = seal_leaf(seals[seal]), not rows and seals[seal]["month"] in dropped
                yield {**line, "row": f"seal {seal}", "leaf": told, "rows": None if gone else rows}
        after = leaves[-1][0]


def _events(database: Database, ids: list[int]) -> dict[int, Line]:
    sql = f"SELECT {', '.join(EVENT_FIELDS)} FROM event WHERE id"
    rows = [(*row[:-1], _json(row[-1])) for row in rows_of(database, sql, ids)] if ids else []
    return {one["id"]: one for one in told_events(database, sorted(rows))}


def _json(body: Any) -> Any:
    return orjson.loads(body) if isinstance(body, str | bytes) else body


def _seals(database: Database, ids: list[int]) -> dict[int, Line]:
    rows = rows_of(database, f"SELECT {', '.join(SEALED)} FROM seal WHERE id", ids) if ids else []
    seals = (dict(zip(SEALED, row, strict=True)) for row in rows)
    return {one["id"]: {**one, "root": bytes(one["root"])} for one in seals}


def _sealed(database: Database, seal: Line) -> list[Line]:
    return list(told_decisions(database, sealed_rows(database, seal)))


def sealed_rows(database: Database, seal: Line) -> list[Line]:
    """The decisions of a seal that are there, as they are stored."""
    columns = ", ".join(f'"{name}"' if name != "client" else "client_id" for name in DECISION_FIELDS)
    sql = f"""SELECT {columns} FROM decision WHERE subscription = {{}} AND id BETWEEN {{}} AND {{}}
        AND asked_at >= {{}} AND asked_at < {{}} ORDER BY id"""
    values = (seal["subscription"], seal["first"], seal["last"], *bounds(seal["month"]))
    found = database.execute_sql(sql.format(*[database.param] * 5), values).fetchall()
    return [dict(zip(DECISION_FIELDS, row, strict=True)) for row in found]


def _strays(database: Database, events: int, sealed: int) -> Iterator[Line]:
    """Rows that no leaf covers, if there are any: the first of each kind."""
    if Event.select().count(database) > events:
        covered = Leaf.select(Leaf.event).where(Leaf.event.is_null(False))
        for (number,) in Event.select(fn.MIN(Event.id)).where(Event.id.not_in(covered)).tuples().execute(database):
            if number is not None:
                yield {"stray": f"event {number}"}
    upto = last_sealed(database)
    if Decision.select().where(Decision.id <= upto).count(database) > sealed:
        sealing = Seal.select().where(
            Seal.subscription == Decision.subscription, Decision.id >= Seal.first, Decision.id <= Seal.last
        )
        found = Decision.select(fn.MIN(Decision.id)).where(Decision.id <= upto, ~fn.EXISTS(sealing))
        for (number,) in found.tuples().execute(database):
            if number is not None:
                yield {"stray": f"decision {number}"}
