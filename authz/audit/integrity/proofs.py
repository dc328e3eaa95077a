"""Proofs for somebody who has a checkpoint and not the log: a row is in the tree, a later tree extends an earlier."""

from typing import Any

from peewee import Expression

from authz.audit.export.log import sealed_rows
from authz.audit.integrity.checkpoints import format_note, stored_checkpoints
from authz.audit.verify import Malformed, Note, parse_notes
from authz.database import Database, database_connection
from authz.domain import to_micros
from authz.errors import InvalidInput, NotFound
from authz.models import Event, MerkleLeaf, RecordedDecision, Seal
from authz.record.events import event_leaf_contents
from authz.record.leaves import EVENT_FIELDS, canonical, seal_leaf
from authz.record.merkle import inclusion, leaf_hash, node_hash
from authz.record.sealing import SEAL_COLUMNS, decision_leaf_contents
from authz.record.trees import consistency_proof, inclusion_proof

Proof = dict[str, Any]
"""A proof as JSON; ``verify.py --proof`` checks it."""


def prove_event(database: Database, number: int) -> Proof:
    """Prove that an event is in the tree of the last checkpoint.

    Raises `NotFound` if there is no such event, and `InvalidInput` if no checkpoint covers it yet.
    """
    with database_connection(database):
        events = Event.select(*(getattr(Event, name) for name in EVENT_FIELDS)).where(Event.id == number)
        row = next(iter(events.tuples().execute(database)), None)
        if row is None:
            raise NotFound
        (leaf,) = event_leaf_contents(database, [(row[0], to_micros(row[1]), *row[2:])])
        return _prove_leaf(database, leaf["subscription"], MerkleLeaf.event == number, leaf)


def prove_decision(database: Database, number: int) -> Proof:
    """Prove that a decision is in a batch, and that the batch is in the tree of the last checkpoint.

    Raises `NotFound` if there is no such decision, and `InvalidInput` if no checkpoint covers it yet.
    """
    with database_connection(database):
        rows = RecordedDecision.select().where(RecordedDecision.id == number).dicts().execute(database)
        decision = next(iter(rows), None)
        if decision is None:
            raise NotFound
        covers = (Seal.subscription == decision["subscription"], Seal.first <= number, Seal.last >= number)
        seals = Seal.select(*(getattr(Seal, name) for name in SEAL_COLUMNS)).where(*covers)
        for row in seals.dicts().execute(database):
            seal = {**row, "at": to_micros(row["at"]), "root": bytes(row["root"])}
            decisions = list(decision_leaf_contents(database, sealed_rows(database, seal)))
            place = next((place for place, leaf in enumerate(decisions) if leaf["id"] == number), None)
            if place is not None:
                proof = _prove_leaf(database, seal["subscription"], MerkleLeaf.seal == seal["id"], seal_leaf(seal))
                path = _path_in_batch([leaf_hash(canonical(leaf)) for leaf in decisions], place)
                return {
                    **proof,
                    "row": decisions[place],
                    "row_number": place,
                    "row_path": [node.hex() for node in path],
                }
    raise InvalidInput("this decision is not sealed yet; run: caregrant audit checkpoint")


def prove_consistency(database: Database, since: str) -> list[Proof]:
    """Prove that the last checkpoint of each tree extends the checkpoints in the text `since`.

    Raises `InvalidInput` for a text that holds no checkpoint, or the checkpoint of a tree that is not here.
    """
    try:
        earlier = parse_notes(since)
    except Malformed as error:
        raise InvalidInput(str(error)) from error
    proofs: list[Proof] = []
    with database_connection(database):
        last = {note.origin: (tree, note) for tree, note in stored_checkpoints(database).items()}
        for old in earlier:
            tree, note = last.get(old.origin, ("", None))
            if note is None or old.size > note.size:
                raise InvalidInput(f"there is no later checkpoint of {old.origin} here")
            path = [node.hex() for node in consistency_proof(database, tree, old.size, note.size)]
            proofs.append({"old": format_note(old), "checkpoint": format_note(note), "path": path})
    return proofs


def _prove_leaf(database: Database, tree: str, condition: Expression, leaf: dict[str, object]) -> Proof:
    numbers = MerkleLeaf.select(MerkleLeaf.number).where(MerkleLeaf.tree == tree, condition).tuples().execute(database)
    number = next((number for (number,) in numbers), None)
    note: Note | None = stored_checkpoints(database).get(tree)
    if number is None or note is None or number >= note.size:
        raise InvalidInput("no checkpoint covers this yet; run: caregrant audit checkpoint")
    path = [node.hex() for node in inclusion_proof(database, tree, number, note.size)]
    return {"checkpoint": format_note(note), "number": number, "leaf": leaf, "path": path}


def _path_in_batch(leaves: list[bytes], place: int) -> list[bytes]:
    """Return the inclusion proof of a decision in the small tree of its batch."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return inclusion(node, place, len(leaves))
