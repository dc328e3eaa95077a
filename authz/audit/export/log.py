"""The log as lines of JSON: what `verify.py` reads. Streamed in bounded memory, as it stands at one instant.

The head, then the checkpoints that were given out, then each tree with its leaves in order; a leaf of sealed decisions
has them with it. What no tree covers comes last. docs/audit.md defines every line.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from peewee import fn

from authz.audit.verify import Malformed, Note
from authz.database import Database, database_connection
from authz.database.statements import run, select_in
from authz.models import Event, MerkleLeaf, MerkleNode, RecordedDecision, Seal
from authz.record.events import event_leaf_contents
from authz.record.facts import stored_facts, unreadable_nouns
from authz.record.leaves import DECISION_FIELDS, EVENT_FIELDS, parse_document, seal_leaf, stored_bytes
from authz.record.merkle import Frontier
from authz.record.partitions import month_bounds
from authz.record.sealing import SEALED, count_unsealed, decision_leaf_contents, last_sealed
from authz.record.trees import STRIDE, kept_hashes, trees

Line = dict[str, Any]
UNNAMED = "caregrant"
"""The name of a log that no key names yet."""

_CHUNK = 1000
_HASHES = 4096


def origin_of(name: str, tree: str) -> str:
    """The origin of a tree: the log's name, and the subscription's id with its unusual characters written as %XX.

    The tree of no subscription is ``-``; a subscription of that name is written ``%2D``.
    """
    return f"{name}/{segment(tree)}"


def names_of_trees(database: Database) -> list[str]:
    """The trees of a database, by their subscriptions."""
    with database_connection(database):
        return list(trees(database))


def segment(tree: str) -> str:
    """A subscription's id as part of a path or an origin."""
    written = quote(tree, safe="")
    if not tree:
        return "-"
    return "".join(f"%{ord(one):02X}" for one in tree) if not tree.strip("-.") else written


def log_lines(database: Database, name: str = "", *, apart: bool = False, waiting: int = 0) -> Iterator[Line]:
    """Every line of the log; `name` is the log's, by default that of its last checkpoint. `apart`: without decisions,
    which `batches` has in the order in which they are stored. `waiting` answers are not in the database yet.
    """
    with database_connection(database), as_it_stands(database):
        notes = _checkpoints(database)
        name = name or _named(notes)
        yield {"log": "caregrant", "version": 2, "name": name}
        yield from ({"checkpoint": str(note["note"]), "at": note["at"]} for note in notes)
        covered = {"event": 0, "seal": 0}
        sealed = 0
        dropped = _dropped(database)
        for tree, edge in trees(database).items():
            yield head(name, tree, edge)
            for line in _leaves(database, tree, dropped, apart):
                if line["leaf"] is not None:
                    covered[line["leaf"]["type"]] += 1
                    sealed += len(line.get("rows") or ())
                yield line
        yield from _strays(database, covered)
        if not apart:
            yield from _stray_decisions(database, sealed)
        yield from _wrong_checkpoints(notes)
        yield from _wrong_nodes(database)
        yield from ({"unread": noun} for noun in unreadable_nouns(database))
        yield from ({"fact": noun, "id": key, "row": row} for noun, key, row in stored_facts(database))
        yield {"unsealed": count_unsealed(database) + waiting}


def head(name: str, tree: str, edge: Frontier) -> Line:
    """The line that begins a tree."""
    return {"tree": tree, "origin": origin_of(name, tree), "size": edge.size, "root": edge.root.hex()}


def _checkpoints(database: Database) -> list[Line]:
    columns = ("id", "at", "tree", "size", "root", "note")
    found = database.execute_sql(f"SELECT {', '.join(columns)} FROM checkpoint ORDER BY id").fetchall()
    return [dict(zip(columns, row, strict=True)) for row in found]


def _named(notes: list[Line]) -> str:
    return str(notes[-1]["note"]).split("\n", 1)[0].rpartition("/")[0] if notes else UNNAMED


def _wrong_checkpoints(notes: list[Line]) -> Iterator[Line]:
    """The checkpoints whose columns are not what their note says: signing reads the columns."""
    for row in notes:
        try:
            note = Note.parse(str(row["note"]))
        except Malformed:
            continue  # the verifier reads the note itself
        columns = (segment(str(row["tree"])), row["size"], stored_bytes(row["root"]))
        if columns != (note.origin.rpartition("/")[2], note.size, note.root):
            where, why = f"checkpoint {row['id']}", "its row is not what its note says"
            yield {"wrong": "forged checkpoint", "of": str(row["tree"]), "where": where, "why": why}


def _wrong_nodes(database: Database) -> Iterator[Line]:
    """The first kept node of each tree that is not the hash of what is below it: no proof could be made with it."""
    known = trees(database)
    for tree in known:
        node = _first_wrong_node(database, tree)
        if node:
            yield _wrong_node(tree, node, "it is not the hash of what is below it")
    for noun, model in (("leaf", MerkleLeaf), ("node", MerkleNode)):
        others = model.select(model.tree).distinct().where(model.tree.not_in(list(known)))
        for (tree,) in others.tuples().execute(database):
            yield _wrong_node(str(tree), f"a {noun}", "its tree is not there")


def _wrong_node(tree: str, where: str, why: str) -> Line:
    return {"wrong": "changed row", "of": tree, "where": where, "why": why}


def _first_wrong_node(database: Database, tree: str) -> str:
    edge, expected = Frontier(), 0
    while leaves := kept_hashes(database, tree, 0, edge.size, _HASHES):
        edge, completed = edge.append(leaves)
        for level, first, hashes in completed:
            if level % STRIDE == 0:
                expected += len(hashes)
                if kept_hashes(database, tree, level, first, len(hashes)) != hashes:
                    return f"node {first} of level {level}"
    stored: int = MerkleNode.select().where(MerkleNode.tree == tree).count(database)
    return "" if stored == expected else f"node: {stored} are there, {expected} there should be;"


def as_it_stands(database: Database) -> Any:
    """A transaction that sees one instant and keeps nobody from writing."""
    if database.dialect == "sqlite":
        return database.atomic("DEFERRED")
    return database.atomic(isolation_level="REPEATABLE READ")


def _dropped(database: Database) -> frozenset[str]:
    found = Event.select(Event.body).where(Event.kind == "decisions:dropped").tuples().execute(database)
    return frozenset(str(body.get("month")) for (body,) in found if isinstance(body, dict))


def _leaves(database: Database, tree: str, dropped: frozenset[str], apart: bool) -> Iterator[Line]:
    after = -1
    sql = "SELECT number, event, seal, hash FROM leaf WHERE tree = {0} AND number > {0} ORDER BY number LIMIT {0}"
    while leaves := database.execute_sql(sql.format(database.param), (tree, after, _CHUNK)).fetchall():
        events, erased = _events(database, [event for _, event, _, _ in leaves if isinstance(event, int)])
        seals = _seals(database, [seal for _, _, seal, _ in leaves if isinstance(seal, int)])
        for number, event, seal, leaf in leaves:
            line: Line = {"number": number, "hash": stored_bytes(leaf).hex()}
            if event is not None:
                line |= {"row": f"event {event}", "leaf": events.get(event) if seal is None else None}
                yield {**line, "erased": erased[event]} if event in erased else line
            elif seal not in seals:
                yield {**line, "row": f"seal {seal}", "leaf": None}
            else:
                told = {**line, "row": f"seal {seal}", "leaf": seal_leaf(seals[seal])}
                yield told if apart else {**told, **_decisions(database, seals[seal], dropped)}
        after = leaves[-1][0]


def _events(database: Database, ids: list[int]) -> tuple[dict[int, Line], dict[int, list[str]]]:
    """What the leaves of events tell, and which of their personal fields are erased."""
    sql = f"SELECT {', '.join(EVENT_FIELDS)} FROM event WHERE id"
    rows = [(*row[:-1], parse_document(row[-1])) for row in select_in(database, sql, ids)] if ids else []
    leaves, erased = {}, {}
    for row, leaf in zip(sorted(rows), event_leaf_contents(database, sorted(rows)), strict=True):
        leaves[row[0]] = leaf
        stored = dict(zip(EVENT_FIELDS, row, strict=True))
        gone = [name for name in ("address", "reason") if leaf[name] and not stored[name]]
        if gone:
            erased[row[0]] = gone
    return leaves, erased


def _seals(database: Database, ids: list[int]) -> dict[int, Line]:
    rows = select_in(database, f"SELECT {', '.join(SEALED)} FROM seal WHERE id", ids) if ids else []
    return {row[0]: dict(zip(SEALED, row, strict=True)) for row in rows}


def _decisions(database: Database, seal: Line, dropped: frozenset[str]) -> Line:
    """The decisions of a seal, its marks, and of which decisions the address is erased."""
    stored = sealed_rows(database, seal)
    rows = list(decision_leaf_contents(database, stored))
    both = zip(rows, stored, strict=True)
    erased = [leaf["id"] for leaf, row in both if leaf["address"] and not row["address"]]
    line: Line = {"rows": None if not rows and seal["month"] in dropped else rows}
    if seal["marks"] is not None:
        line["marks"] = stored_bytes(seal["marks"]).hex()
    return {**line, "erased": erased} if erased else line


def sealed_rows(database: Database, seal: Line) -> list[Line]:
    """The decisions of a seal that are there, as they are stored."""
    columns = ", ".join(f'"{name}"' if name != "client" else "client_id" for name in DECISION_FIELDS)
    sql = f"""SELECT {columns} FROM decision WHERE subscription = {{}} AND id BETWEEN {{}} AND {{}}
        AND asked_at >= {{}} AND asked_at < {{}} ORDER BY id"""
    try:
        values = (seal["subscription"], seal["first"], seal["last"], *month_bounds(str(seal["month"])))
    except ValueError:
        return []  # a seal that was changed: no decision belongs to what is no month
    found = run(database, sql, *values).fetchall()
    return [dict(zip(DECISION_FIELDS, row, strict=True)) for row in found]


def _strays(database: Database, covered: dict[str, int]) -> Iterator[Line]:
    """Events and seals that no leaf covers, if there are any: the first of each."""
    models: dict[str, Any] = {"event": Event, "seal": Seal}
    for noun, model in models.items():
        if model.select().count(database) > covered[noun]:
            there = MerkleLeaf.select(getattr(MerkleLeaf, noun)).where(getattr(MerkleLeaf, noun).is_null(False))
            first = model.select(fn.MIN(model.id)).where(model.id.not_in(there))
            yield {"stray": f"{noun} {next(iter(first.tuples().execute(database)))[0]}"}


def _stray_decisions(database: Database, sealed: int) -> Iterator[Line]:
    """The first decision that no seal covers, if there is any among those that were sealed."""
    upto = last_sealed(database)
    if RecordedDecision.select().where(RecordedDecision.id <= upto).count(database) > sealed:
        sealing = Seal.select().where(
            Seal.subscription == RecordedDecision.subscription,
            RecordedDecision.id >= Seal.first,
            RecordedDecision.id <= Seal.last,
        )
        found = RecordedDecision.select(fn.MIN(RecordedDecision.id)).where(
            RecordedDecision.id <= upto, ~fn.EXISTS(sealing)
        )
        for (number,) in found.tuples().execute(database):
            if number is not None:
                yield {"stray": f"decision {number}"}
