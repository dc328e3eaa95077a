"""The log as lines of JSON, which `verify.py` reads: streamed in bounded memory, at one state of the database.

The head comes first, then the published checkpoints, then each tree with its leaves in order. The line of a seal holds
its decisions. What no tree covers comes last. docs/reference/record.md defines every line.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
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
from authz.record.sealing import SEAL_COLUMNS, count_unsealed, decision_leaf_contents, last_sealed
from authz.record.trees import STRIDE, kept_hashes, trees

LogLine = dict[str, Any]
"""One line of the log, before it is written as JSON."""

_LINES_BETWEEN = 1000
UNNAMED = "caregrant"
"""The name of a log before a key names it."""

_LEAVES_AT_ONCE = 1000
_HASHES_AT_ONCE = 4096


def origin_of(name: str, tree: str) -> str:
    """Return the origin of a tree: the name of the log, a slash, and the subscription as `origin_segment` writes it."""
    return f"{name}/{origin_segment(tree)}"


def names_of_trees(database: Database) -> list[str]:
    """Return the names of the trees of a database, which are those of their subscriptions."""
    with database_connection(database):
        return list(trees(database))


def origin_segment(tree: str) -> str:
    """Return a subscription's id as a segment of a path or an origin, with unusual characters as %XX.

    The tree of no subscription is ``-``; a subscription of that name is written ``%2D``.
    """
    if not tree:
        return "-"
    if not tree.strip("-."):
        return "".join(f"%{ord(character):02X}" for character in tree)
    return quote(tree, safe="")


def count_lines(lines: Iterable[LogLine], progress: Callable[[int], object]) -> Iterator[LogLine]:
    """Yield the lines; call `progress` with their number at every thousand, and at the end."""
    number = 0
    for number, line in enumerate(lines, 1):
        if number % _LINES_BETWEEN == 0:
            progress(number)
        yield line
    progress(number)


def log_lines(database: Database, name: str = "", *, decisions: bool = True, waiting: int = 0) -> Iterator[LogLine]:
    """Yield every line of the log.

    `name` is the name of the log, by default that of its last checkpoint. Without `decisions` the lines of seals do not
    hold their decisions; `batches` reads them in the order in which they are stored. `waiting` answers are not in the
    database yet.
    """
    with database_connection(database), snapshot(database):
        notes = _checkpoints(database)
        name = name or _name_of_log(notes)
        yield {"log": "caregrant", "version": 2, "name": name}
        yield from ({"checkpoint": str(note["note"]), "at": note["at"]} for note in notes)
        covered = {"event": 0, "seal": 0}
        sealed = 0
        dropped = _dropped_months(database)
        for tree, frontier in trees(database).items():
            yield _begin_tree(name, tree, frontier)
            for line in _leaves(database, tree, dropped, decisions=decisions):
                if line["leaf"] is not None:
                    covered[line["leaf"]["type"]] += 1
                    sealed += len(line.get("rows") or ())
                yield line
        yield from _strays(database, covered)
        if decisions:
            yield from _stray_decisions(database, sealed)
        yield from _wrong_checkpoints(notes)
        yield from _wrong_nodes(database)
        yield from ({"unread": noun} for noun in unreadable_nouns(database))
        yield from ({"fact": noun, "id": key, "row": row} for noun, key, row in stored_facts(database))
        yield {"unsealed": count_unsealed(database) + waiting}


def _begin_tree(name: str, tree: str, frontier: Frontier) -> LogLine:
    return {"tree": tree, "origin": origin_of(name, tree), "size": frontier.size, "root": frontier.root.hex()}


def _checkpoints(database: Database) -> list[LogLine]:
    columns = ("id", "at", "tree", "size", "root", "note")
    rows = database.execute_sql(f"SELECT {', '.join(columns)} FROM checkpoint ORDER BY id").fetchall()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _name_of_log(notes: list[LogLine]) -> str:
    return str(notes[-1]["note"]).split("\n", 1)[0].rpartition("/")[0] if notes else UNNAMED


def _wrong_checkpoints(notes: list[LogLine]) -> Iterator[LogLine]:
    """Yield the checkpoints whose columns differ from their note: signing reads the columns."""
    for row in notes:
        try:
            note = Note.parse(str(row["note"]))
        except Malformed:
            continue  # the verifier reads the note itself
        columns = (origin_segment(str(row["tree"])), row["size"], stored_bytes(row["root"]))
        if columns != (note.origin.rpartition("/")[2], note.size, note.root):
            where, why = f"checkpoint {row['id']}", "its row is not what its note says"
            yield {"wrong": "forged checkpoint", "of": str(row["tree"]), "where": where, "why": why}


def _wrong_nodes(database: Database) -> Iterator[LogLine]:
    """Yield the first stored node of each tree that is not the hash of its children: it would spoil every proof."""
    names = list(trees(database))
    for tree in names:
        node = _first_wrong_node(database, tree)
        if node:
            yield _wrong_node(tree, node, "it is not the hash of what is below it")
    for noun, model in (("leaf", MerkleLeaf), ("node", MerkleNode)):
        others = model.select(model.tree).distinct().where(model.tree.not_in(names))
        for (tree,) in others.tuples().execute(database):
            yield _wrong_node(str(tree), f"a {noun}", "its tree is not there")


def _wrong_node(tree: str, where: str, why: str) -> LogLine:
    return {"wrong": "changed row", "of": tree, "where": where, "why": why}


def _first_wrong_node(database: Database, tree: str) -> str:
    frontier, expected = Frontier(), 0
    while leaves := kept_hashes(database, tree, 0, frontier.size, _HASHES_AT_ONCE):
        frontier, completed = frontier.append(leaves)
        for level, first, hashes in completed:
            if level % STRIDE == 0:
                expected += len(hashes)
                if kept_hashes(database, tree, level, first, len(hashes)) != hashes:
                    return f"node {first} of level {level}"
    stored: int = MerkleNode.select().where(MerkleNode.tree == tree).count(database)
    return "" if stored == expected else f"node: {stored} are there, {expected} there should be;"


def snapshot(database: Database) -> AbstractContextManager[object]:
    """Return a transaction that sees one state of the database and lets others write."""
    if database.dialect == "sqlite":
        return database.atomic("DEFERRED")
    return database.atomic(isolation_level="REPEATABLE READ")


def _dropped_months(database: Database) -> frozenset[str]:
    events = Event.select(Event.body).where(Event.kind == "decisions:dropped").tuples().execute(database)
    return frozenset(str(body.get("month")) for (body,) in events if isinstance(body, dict))


def _leaves(database: Database, tree: str, dropped: frozenset[str], *, decisions: bool) -> Iterator[LogLine]:
    after = -1
    sql = "SELECT number, event, seal, hash FROM leaf WHERE tree = {0} AND number > {0} ORDER BY number LIMIT {0}"
    while leaves := database.execute_sql(sql.format(database.param), (tree, after, _LEAVES_AT_ONCE)).fetchall():
        events, erased = _events(database, [event for _, event, _, _ in leaves if isinstance(event, int)])
        seals = _seals(database, [seal for _, _, seal, _ in leaves if isinstance(seal, int)])
        for number, event, seal, leaf in leaves:
            line: LogLine = {"number": number, "hash": stored_bytes(leaf).hex()}
            if event is not None:
                line |= {"row": f"event {event}", "leaf": events.get(event) if seal is None else None}
                yield {**line, "erased": erased[event]} if event in erased else line
            elif seal not in seals:
                yield {**line, "row": f"seal {seal}", "leaf": None}
            else:
                line |= {"row": f"seal {seal}", "leaf": seal_leaf(seals[seal])}
                yield {**line, **_decisions(database, seals[seal], dropped)} if decisions else line
        after = leaves[-1][0]


def _events(database: Database, ids: list[int]) -> tuple[dict[int, LogLine], dict[int, list[str]]]:
    """Return the leaves of events by their ids, and which personal fields of each are erased."""
    sql = f"SELECT {', '.join(EVENT_FIELDS)} FROM event WHERE id"
    rows = [(*row[:-1], parse_document(row[-1])) for row in select_in(database, sql, ids)] if ids else []
    leaves, erased = {}, {}
    for row, leaf in zip(sorted(rows), event_leaf_contents(database, sorted(rows)), strict=True):
        leaves[row[0]] = leaf
        stored = dict(zip(EVENT_FIELDS, row, strict=True))
        fields = [name for name in ("address", "reason") if leaf[name] and not stored[name]]
        if fields:
            erased[row[0]] = fields
    return leaves, erased


def _seals(database: Database, ids: list[int]) -> dict[int, LogLine]:
    rows = select_in(database, f"SELECT {', '.join(SEAL_COLUMNS)} FROM seal WHERE id", ids) if ids else []
    return {row[0]: dict(zip(SEAL_COLUMNS, row, strict=True)) for row in rows}


def _decisions(database: Database, seal: LogLine, dropped: frozenset[str]) -> LogLine:
    """Return the decisions of a seal, its marks, and the ids of the decisions whose address is erased."""
    stored = sealed_rows(database, seal)
    rows = list(decision_leaf_contents(database, stored))
    pairs = zip(rows, stored, strict=True)
    erased = [leaf["id"] for leaf, row in pairs if leaf["address"] and not row["address"]]
    line: LogLine = {"rows": None if not rows and seal["month"] in dropped else rows}
    if seal["marks"] is not None:
        line["marks"] = stored_bytes(seal["marks"]).hex()
    return {**line, "erased": erased} if erased else line


def sealed_rows(database: Database, seal: LogLine) -> list[LogLine]:
    """Return the decisions of a seal that are there, as they are stored."""
    columns = ", ".join(f'"{name}"' if name != "client" else "client_id" for name in DECISION_FIELDS)
    sql = f"""SELECT {columns} FROM decision WHERE subscription = {{}} AND id BETWEEN {{}} AND {{}}
        AND asked_at >= {{}} AND asked_at < {{}} ORDER BY id"""
    try:
        values = (seal["subscription"], seal["first"], seal["last"], *month_bounds(str(seal["month"])))
    except ValueError:
        return []  # a seal that was changed: no decision belongs to what is no month
    rows = run(database, sql, *values).fetchall()
    return [dict(zip(DECISION_FIELDS, row, strict=True)) for row in rows]


def _strays(database: Database, covered: dict[str, int]) -> Iterator[LogLine]:
    """Yield the first event and the first seal that no leaf covers, if there are any."""
    models: dict[str, type[Event] | type[Seal]] = {"event": Event, "seal": Seal}
    for noun, model in models.items():
        if model.select().count(database) > covered[noun]:
            in_trees = MerkleLeaf.select(getattr(MerkleLeaf, noun)).where(getattr(MerkleLeaf, noun).is_null(False))
            first = model.select(fn.MIN(model.id)).where(model.id.not_in(in_trees))
            yield {"stray": f"{noun} {next(iter(first.tuples().execute(database)))[0]}"}


def _stray_decisions(database: Database, sealed: int) -> Iterator[LogLine]:
    """Yield the first decision that no seal covers, if there is one among those that should be sealed."""
    upto = last_sealed(database)
    if RecordedDecision.select().where(RecordedDecision.id <= upto).count(database) > sealed:
        covers = (Seal.first <= RecordedDecision.id, Seal.last >= RecordedDecision.id)
        seals = Seal.select().where(Seal.subscription == RecordedDecision.subscription, *covers)
        uncovered = (RecordedDecision.id <= upto, ~fn.EXISTS(seals))
        first = RecordedDecision.select(fn.MIN(RecordedDecision.id)).where(*uncovered)
        for (number,) in first.tuples().execute(database):
            if number is not None:
                yield {"stray": f"decision {number}"}
