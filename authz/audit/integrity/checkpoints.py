"""Checkpoints: the size and root of a tree, signed with a key that the database does not hold (C2SP tlog-checkpoint).

The file of the key also holds the name of the log. A second file beside it, with the same name and ``.signed``, holds
the last checkpoint of each tree. Somebody who rewrites the database, with its table of checkpoints, therefore gets no
signature for the rewritten trees.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from peewee import fn

from authz.audit.export.log import origin_of
from authz.audit.verify import Malformed, Note, VerifierKey, is_consistent, key_id, parse_notes
from authz.database import Database, database_connection
from authz.database.statements import CHECKPOINT_LOCK, take_locks
from authz.errors import Conflict, InvalidInput, Unavailable
from authz.models import Checkpoint
from authz.private_files import read_private, write_private
from authz.record import seal
from authz.record.merkle import Frontier
from authz.record.trees import consistency_proof, trees

_PREFIX = "PRIVATE+KEY+"
_ED25519 = b"\1"


@dataclass(frozen=True)
class Signer:
    """A private key that signs checkpoints, from its file."""

    path: Path
    key: VerifierKey
    private: Ed25519PrivateKey

    @classmethod
    def read(cls, path: str) -> "Signer":
        """Return the key of a file. Raises `InvalidInput` if the file holds none."""
        if not path:
            raise InvalidInput(
                "set CAREGRANT_CHECKPOINT_KEY to the file of the key; caregrant audit key --new NAME makes one"
            )
        try:
            text = read_private(path)
            name, claimed_id, body = text.removeprefix(_PREFIX).split("+", 2)
            raw = base64.b64decode(body, validate=True)
            private = Ed25519PrivateKey.from_private_bytes(raw[1:])
        except (ValueError, binascii.Error) as error:
            raise InvalidInput(f"{path} holds no key that signs checkpoints") from error
        key = VerifierKey(name, private.public_key().public_bytes_raw())
        if not text.startswith(_PREFIX) or raw[:1] != _ED25519 or key_id(name, key.public).hex() != claimed_id:
            raise InvalidInput(f"{path} holds no key that signs checkpoints")
        return cls(Path(path), key, private)

    @classmethod
    def make(cls, path: str, name: str) -> "Signer":
        """Make a key for the log `name`, in a new file that only its owner may read. Raises `InvalidInput`."""
        if not name or not name.isprintable() or " " in name or "+" in name:
            raise InvalidInput("a log's name holds visible characters and no plus, such as clinic.example/caregrant")
        private = Ed25519PrivateKey.generate()
        identifier = key_id(name, private.public_key().public_bytes_raw()).hex()
        body = base64.b64encode(_ED25519 + private.private_bytes_raw()).decode()
        try:
            write_private(path, f"{_PREFIX}{name}+{identifier}+{body}\n")
        except FileExistsError as error:
            raise InvalidInput(f"{path}: {error.strerror}; a key is never written over another") from error
        return cls.read(path)

    def sign(self, tree: str, frontier: Frontier) -> Note:
        """Return a checkpoint of a tree."""
        origin = origin_of(self.key.name, tree)
        body = f"{origin}\n{frontier.size}\n{base64.b64encode(frontier.root).decode()}\n"
        signature = key_id(origin, self.key.public) + self.private.sign(body.encode())
        return Note.parse(f"{body}\n— {origin} {base64.b64encode(signature).decode()}\n")

    @property
    def remembered(self) -> Path:
        """The file of the last checkpoints."""
        return self.path.with_name(self.path.name + ".signed")

    def last(self) -> dict[str, Note]:
        """Return the last checkpoint of each tree that this key signed, by origin. Raises `InvalidInput`."""
        try:
            notes = parse_notes(self.remembered.read_text()) if self.remembered.exists() else []
        except (OSError, Malformed) as error:
            raise InvalidInput(f"{self.remembered}: {error}") from error
        return {note.origin: note for note in notes}

    def remember(self, notes: Iterable[Note]) -> None:
        """Store these checkpoints as the last ones. Raises `Unavailable`."""
        last = self.last() | {note.origin: note for note in notes}
        written = self.remembered.with_suffix(".new")
        try:
            written.write_text("\n".join(format_note(note) for note in last.values()))
            written.replace(self.remembered)
        except OSError as error:
            raise Unavailable(f"{self.remembered}: {error.strerror}") from error


def read_trusted(path: str) -> tuple[str, str]:
    """Return the checkpoints and the verifier key by which to verify, from the file of a key.

    The file holds a key that signs, or a verifier key, which has no checkpoints; without a file both are empty. Raises
    `InvalidInput`.
    """
    if not path:
        return "", ""
    try:
        text = Path(path).read_text()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} holds no key") from error
    if not text.startswith(_PREFIX):
        return "", text.strip()
    signer = Signer.read(path)
    return "\n".join(format_note(note) for note in signer.last().values()), str(signer.key)


def format_note(note: Note) -> str:
    """Return a checkpoint with its signatures, as it is published."""
    lines = [f"— {name} {base64.b64encode(signature).decode()}\n" for name, signature in note.signatures]
    return f"{note.text}\n{''.join(lines)}"


def checkpoint(database: Database, signer: Signer, now: datetime) -> list[Note]:
    """Seal what is not sealed, and sign every tree; a tree that has not grown keeps its last checkpoint.

    Raises `Conflict`, with nothing signed, if a tree does not begin with the leaves that were signed before.
    """
    seal(database, now)
    with database_connection(database), database.atomic():
        take_locks(database, CHECKPOINT_LOCK, exclusive=True)
        remembered, stored = signer.last(), stored_checkpoints(database)
        current = trees(database)
        lost = set(remembered) - {origin_of(signer.key.name, tree) for tree in current}
        if lost:
            raise Conflict(f"the tree {min(lost)} was signed before and is not there: nothing was signed")
        notes = []
        for tree, frontier in current.items():
            origin = origin_of(signer.key.name, tree)
            earlier = [note for note in (remembered.get(origin), stored.get(tree)) if note and note.origin == origin]
            notes.append(_sign_tree(database, signer, tree, frontier, earlier))
        signer.remember(notes)
        for tree, note in zip(current, notes, strict=True):
            if stored.get(tree) != note:
                row = {"at": now, "tree": tree, "size": note.size, "root": note.root, "note": format_note(note)}
                Checkpoint.insert(row).execute(database)
    return notes


def _sign_tree(database: Database, signer: Signer, tree: str, frontier: Frontier, earlier: Iterable[Note]) -> Note:
    """Return a checkpoint of a tree: the earlier one of the same size, or a new one."""
    unchanged = None
    for note in earlier:
        _require_extends(database, tree, frontier, note)
        if unchanged is None and note.size == frontier.size and not note.signature_fault(signer.key):
            unchanged = note
    return unchanged or signer.sign(tree, frontier)


def stored_checkpoints(database: Database) -> dict[str, Note]:
    """Return the last checkpoint of each tree in the database. Raises `Conflict` if one of them is no checkpoint."""
    last = Checkpoint.select(fn.MAX(Checkpoint.id)).group_by(Checkpoint.tree)
    rows = Checkpoint.select(Checkpoint.tree, Checkpoint.note).where(Checkpoint.id.in_(last))
    try:
        return {tree: Note.parse(note) for tree, note in rows.tuples().execute(database)}
    except Malformed as error:
        raise Conflict("a stored checkpoint was changed: nothing was signed") from error


def _require_extends(database: Database, tree: str, frontier: Frontier, earlier: Note) -> None:
    """Raise `Conflict` unless a tree begins with the leaves of an earlier checkpoint."""
    try:
        path = consistency_proof(database, tree, earlier.size, frontier.size)
        begins = is_consistent(earlier.size, earlier.root, frontier.size, frontier.root, path)
    except IndexError:  # a node that the proof needs is not there
        begins = False
    if not begins:
        why = f"does not begin with the {earlier.size} leaves that were signed before: nothing was signed"
        raise Conflict(f"the tree {tree or '-'} of {frontier.size} leaves {why}; run: caregrant audit verify")
