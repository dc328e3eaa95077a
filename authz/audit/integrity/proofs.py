"""Proofs for somebody who has a checkpoint and not the log: that a row is in it, that a later one goes on from it."""

from typing import Any

from authz.audit.export.log import sealed_rows
from authz.audit.integrity.checkpoints import format_note, kept
from authz.audit.verify import Malformed, Note, parse_notes
from authz.database import Database, database_connection
from authz.domain import to_micros
from authz.errors import InvalidInput, NotFound
from authz.models import Event, MerkleLeaf, RecordedDecision, Seal
from authz.record.events import event_leaf_contents
from authz.record.leaves import EVENT_FIELDS, canonical, seal_leaf
from authz.record.merkle import inclusion, leaf_hash, node_hash
from authz.record.sealing import SEALED, decision_leaf_contents
from authz.record.trees import consistency_proof, inclusion_proof

Proof = dict[str, Any]


def prove_event(database: Database, number: int) -> Proof:
    """That an event is in the tree of the last checkpoint. Raises `NotFound`, and `InvalidInput` before one is."""
    with database_connection(database):
        found = Event.select(*(getattr(Event, name) for name in EVENT_FIELDS)).where(Event.id == number)
        row = next(iter(found.tuples().execute(database)), None)
        if row is None:
            raise NotFound
        (content,) = event_leaf_contents(database, [(row[0], to_micros(row[1]), *row[2:])])
        return _included(database, content["subscription"], MerkleLeaf.event == number, content)


def prove_decision(database: Database, number: int) -> Proof:
    """That a decision is in a batch, and the batch in the tree of the last checkpoint. Raises as above."""
    with database_connection(database):
        decision = next(
            iter(RecordedDecision.select().where(RecordedDecision.id == number).dicts().execute(database)), None
        )
        if decision is None:
            raise NotFound
        where = (Seal.subscription == decision["subscription"], Seal.first <= number, Seal.last >= number)
        found = Seal.select(*(getattr(Seal, name) for name in SEALED)).where(*where)
        for seal in found.dicts().execute(database):
            told = {**seal, "at": to_micros(seal["at"]), "root": bytes(seal["root"])}
            rows = list(decision_leaf_contents(database, sealed_rows(database, told)))
            at = next((index for index, row in enumerate(rows) if row["id"] == number), None)
            if at is not None:
                proof = _included(database, seal["subscription"], MerkleLeaf.seal == seal["id"], seal_leaf(told))
                path = _path([leaf_hash(canonical(row)) for row in rows], at)
                return {**proof, "row": rows[at], "row_number": at, "row_path": [one.hex() for one in path]}
    raise InvalidInput("this decision is not sealed yet; run: caregrant audit checkpoint")


def prove_consistency(database: Database, since: str) -> list[Proof]:
    """That the last checkpoint of each tree begins with those of `since`, a text of earlier ones.

    Raises `InvalidInput` for a text that holds none, or one of a tree that is not here.
    """
    try:
        earlier = parse_notes(since)
    except Malformed as error:
        raise InvalidInput(str(error)) from error
    proofs: list[Proof] = []
    with database_connection(database):
        last = {note.origin: (tree, note) for tree, note in kept(database).items()}
        for old in earlier:
            tree, note = last.get(old.origin, ("", None))
            if note is None or old.size > note.size:
                raise InvalidInput(f"there is no later checkpoint of {old.origin} here")
            path = consistency_proof(database, tree, old.size, note.size)
            proofs.append(
                {"old": format_note(old), "checkpoint": format_note(note), "path": [one.hex() for one in path]}
            )
    return proofs


def _included(database: Database, tree: str, which: Any, content: dict[str, Any]) -> Proof:
    found = MerkleLeaf.select(MerkleLeaf.number).where(MerkleLeaf.tree == tree, which).tuples().execute(database)
    number = next((one for (one,) in found), None)
    note: Note | None = kept(database).get(tree)
    if number is None or note is None or number >= note.size:
        raise InvalidInput("no checkpoint covers this yet; run: caregrant audit checkpoint")
    path = [one.hex() for one in inclusion_proof(database, tree, number, note.size)]
    return {"checkpoint": format_note(note), "number": number, "leaf": content, "path": path}


def _path(leaves: list[bytes], at: int) -> list[bytes]:
    """The proof in the small tree of a batch."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return inclusion(node, at, len(leaves))
