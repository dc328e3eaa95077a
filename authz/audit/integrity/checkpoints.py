"""Checkpoints: what a tree is now, signed with a key that the database does not hold (C2SP tlog-checkpoint).

The key's file tells the log's name. Beside it, in a file of its name and ``.signed``, stands the last checkpoint of
each tree: whoever rewrites the database, its table of checkpoints included, gets no signature for it.
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
    """A key that signs, from its file."""

    path: Path
    key: VerifierKey
    private: Ed25519PrivateKey

    @classmethod
    def read(cls, path: str) -> "Signer":
        """The key in a file. Raises `InvalidInput` where there is none."""
        if not path:
            raise InvalidInput(
                "set CAREGRANT_CHECKPOINT_KEY to the key's file; caregrant audit key --new NAME makes one"
            )
        try:
            text = read_private(path)
            name, said, body = text.removeprefix(_PREFIX).split("+", 2)
            raw = base64.b64decode(body, validate=True)
            private = Ed25519PrivateKey.from_private_bytes(raw[1:])
        except (ValueError, binascii.Error) as error:
            raise InvalidInput(f"{path} holds no key that signs checkpoints") from error
        key = VerifierKey(name, private.public_key().public_bytes_raw())
        if not text.startswith(_PREFIX) or raw[:1] != _ED25519 or key_id(name, key.public).hex() != said:
            raise InvalidInput(f"{path} holds no key that signs checkpoints")
        return cls(Path(path), key, private)

    @classmethod
    def make(cls, path: str, name: str) -> "Signer":
        """A new key of a log's name, in a file that only its owner may read and that was not there.

        Raises `InvalidInput`.
        """
        if not name or not name.isprintable() or " " in name or "+" in name:
            raise InvalidInput("a log's name holds visible characters and no plus, such as clinic.example/caregrant")
        private = Ed25519PrivateKey.generate()
        said = key_id(name, private.public_key().public_bytes_raw()).hex()
        body = base64.b64encode(_ED25519 + private.private_bytes_raw()).decode()
        try:
            write_private(path, f"{_PREFIX}{name}+{said}+{body}\n")
        except FileExistsError as error:
            raise InvalidInput(f"{path}: {error.strerror}; a key is never written over another") from error
        return cls.read(path)

    def sign(self, tree: str, edge: Frontier) -> Note:
        """A checkpoint of a tree."""
        origin = origin_of(self.key.name, tree)
        body = f"{origin}\n{edge.size}\n{base64.b64encode(edge.root).decode()}\n"
        signature = key_id(origin, self.key.public) + self.private.sign(body.encode())
        return Note.parse(f"{body}\n— {origin} {base64.b64encode(signature).decode()}\n")

    @property
    def remembered(self) -> Path:
        """The file of the last checkpoints."""
        return self.path.with_name(self.path.name + ".signed")

    def last(self) -> dict[str, Note]:
        """The last checkpoint of each tree that this key signed, by origin. Raises `InvalidInput`."""
        try:
            notes = parse_notes(self.remembered.read_text()) if self.remembered.exists() else []
        except (OSError, Malformed) as error:
            raise InvalidInput(f"{self.remembered}: {error}") from error
        return {note.origin: note for note in notes}

    def remember(self, notes: Iterable[Note]) -> None:
        """Keep these as the last ones."""
        kept = self.last() | {note.origin: note for note in notes}
        written = self.remembered.with_suffix(".new")
        try:
            written.write_text("\n".join(format_note(note) for note in kept.values()))
            written.replace(self.remembered)
        except OSError as error:
            raise Unavailable(f"{self.remembered}: {error.strerror}") from error


def trusted(path: str) -> tuple[str, str]:
    """The checkpoints and the verifier key to verify with: those of a key that signs, or a verifier key's file; of no
    file none. Raises `InvalidInput`.
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
    """A checkpoint with its signatures, as it is given out."""
    lines = [f"— {name} {base64.b64encode(signature).decode()}\n" for name, signature in note.signatures]
    return f"{note.text}\n{''.join(lines)}"


def checkpoint(database: Database, signer: Signer, now: datetime) -> list[Note]:
    """Seal what is not sealed, and sign what every tree is now; a tree that has not grown keeps its last checkpoint.

    Raises `Conflict`, with nothing signed, where a tree does not begin with what was signed before.
    """
    seal(database, now)
    notes: list[Note] = []
    with database_connection(database), database.atomic():
        take_locks(database, CHECKPOINT_LOCK, exclusive=True)
        remembered, stored = signer.last(), kept(database)
        there = trees(database)
        lost = set(remembered) - {origin_of(signer.key.name, tree) for tree in there}
        if lost:
            raise Conflict(f"the tree {min(lost)} was signed before and is not there: nothing was signed")
        for tree, edge in there.items():
            origin = origin_of(signer.key.name, tree)
            earlier = [one for one in (remembered.get(origin), stored.get(tree)) if one and one.origin == origin]
            for one in earlier:
                _extends(database, tree, edge, one)
            same = [one for one in earlier if one.size == edge.size and not one.signed_by(signer.key)]
            notes.append(same[0] if same else signer.sign(tree, edge))
        signer.remember(notes)
        for tree, note in zip(there, notes, strict=True):
            if stored.get(tree) != note:
                row = {"at": now, "tree": tree, "size": note.size, "root": note.root, "note": format_note(note)}
                Checkpoint.insert(row).execute(database)
    return notes


def kept(database: Database) -> dict[str, Note]:
    """The last checkpoint of each tree in the database. Raises `Conflict` for one that is none any more."""
    last = Checkpoint.select(fn.MAX(Checkpoint.id)).group_by(Checkpoint.tree)
    found = Checkpoint.select(Checkpoint.tree, Checkpoint.note).where(Checkpoint.id.in_(last))
    try:
        return {tree: Note.parse(note) for tree, note in found.tuples().execute(database)}
    except Malformed as error:
        raise Conflict("a stored checkpoint was changed: nothing was signed") from error


def _extends(database: Database, tree: str, edge: Frontier, earlier: Note) -> None:
    try:
        path = consistency_proof(database, tree, earlier.size, edge.size)
        begins = is_consistent(earlier.size, earlier.root, edge.size, edge.root, path)
    except IndexError:  # a node that the proof needs is not there
        begins = False
    if not begins:
        why = f"does not begin with the {earlier.size} leaves that were signed before: nothing was signed"
        raise Conflict(f"the tree {tree or '-'} of {edge.size} leaves {why}; run: caregrant audit verify")
