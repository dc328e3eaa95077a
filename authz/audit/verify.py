"""Verify an exported log of Caregrant, with nothing of Caregrant: Python's own library and `cryptography`.

    python verify.py LOG [--checkpoint FILE] [--key KEY]     LOG from: caregrant audit export --format log
    python verify.py --proof PROOF [--key KEY]               PROOF from: caregrant audit prove

Every row is hashed anew and the trees (RFC 9162, section 2.1) are built from the hashes; what a signed checkpoint
(C2SP tlog-checkpoint) says must be what they say. docs/audit.md defines every byte. A checkpoint that you kept, and the
key that you were given, are what the log cannot forge: without them nothing is proven.

Exit 0: VERIFIED, everything is proven. 3: PARTLY VERIFIED, nothing is wrong and something is not proven. 1: NOT
VERIFIED.
This is one file, longer than others of Caregrant, so that an outsider can read it, copy it and run it alone.
"""

import argparse
import base64
import binascii
import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CLOCK_TOLERANCE = 600_000_000
"""Microseconds by which a row may lie before one recorded earlier: requests and imports overlap."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_ED25519 = b"\1"
_MOST_NAMED = 5
_MOST_COMPARED = 100  # changed rows that are compared with one another, to tell a swap


class Malformed(ValueError):
    """A checkpoint, a key or a log that is not of its form."""


# Hashes.


def canonical(value: Any) -> bytes:
    """The bytes of a row: RFC 8785, for the strings, whole numbers below 2^53, true, false and null that rows hold."""
    return _CANONICAL.encode(value).encode()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf (RFC 9162, 2.1.1)."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


class Growing:
    """A tree that grows leaf by leaf: of its past only the complete subtrees are kept."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self._edge.pop(), node)
            size >>= 1
        self._edge.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        if not self._edge:
            return sha256().digest()
        root = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over the hashes of leaves."""
    tree = Growing()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root


def included(root: bytes, size: int, number: int, leaf: bytes, path: list[bytes]) -> bool:
    """Whether `path` proves that `leaf` is leaf `number` of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= number < size:
        return False
    at, last, node = number, size - 1, leaf
    for one in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(one, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, one)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
    """Whether `path` proves that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.2)."""
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == sha256().digest()
    if not 0 < old < new or not path:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    one = other = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            one, other = node_hash(step, one), node_hash(step, other)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            other = node_hash(other, step)
        at, last = at >> 1, last >> 1
    return last == 0 and one == old_root and other == new_root


# Checkpoints: C2SP signed notes.


@dataclass(frozen=True)
class Key:
    """A log's public key, as it is given out: ``name+id+base64(1 || key)``. Each tree signs as ``name/tree``."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Raises `Malformed`."""
        name, _, rest = text.strip().partition("+")
        said, _, body = rest.partition("+")
        try:
            raw = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise Malformed("this is no verifier key") from error
        if not name or raw[:1] != _ED25519 or len(raw) != 33 or key_id(name, raw[1:]).hex() != said:
            raise Malformed("this is no verifier key (Ed25519) of the form name+id+key")
        return cls(name, raw[1:])

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{key_id(self.name, self.public).hex()}+{encoded}"


def key_id(name: str, public: bytes) -> bytes:
    """The first four bytes that tell a key of a name from others (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


@dataclass(frozen=True)
class Note:
    """A signed checkpoint: what it says of a tree, and its signature lines."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, text: str) -> "Note":
        """Raises `Malformed`."""
        body, _, rest = text.partition("\n\n")
        lines = body.split("\n")
        try:
            origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
            if not (origin and size.isascii() and size.isdigit() and str(int(size)) == size and len(root) == 32):
                raise ValueError
            signatures = tuple(_signature(line) for line in rest.splitlines())
        except (IndexError, ValueError) as error:
            why = "it is damaged: a checkpoint is origin, size, root, an empty line, signatures"
            raise Malformed(f"this is no checkpoint, or {why}") from error
        return cls(origin, int(size), root, body + "\n", signatures)

    def signed_by(self, key: Key) -> str:
        """What is wrong with the signature, or nothing."""
        mine = key_id(self.origin, key.public)
        if not self.origin.startswith(f"{key.name}/"):
            return f"it is of the log {self.origin}, not of {key.name}"
        for name, signature in self.signatures:
            if name == self.origin and signature[:4] == mine:
                try:
                    Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], self.text.encode())
                except InvalidSignature:
                    return "its signature is forged"
                return ""
        return "it is not signed by this key"


def _signature(line: str) -> tuple[str, bytes]:
    mark, name, encoded = line.split(" ")
    if mark != "—":
        raise ValueError
    return name, base64.b64decode(encoded, validate=True)


def text_of(data: bytes) -> str:
    """Decode a file as people send it: UTF-8 or UTF-16, with or without a byte-order mark. Raises `Malformed`."""
    wide = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    little, big = data[1:2] == b"\0", data[:1] == b"\0"  # UTF-16 without a mark: the first character is ASCII
    encoding = "utf-16" if wide else "utf-16-le" if little else "utf-16-be" if big else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Malformed(f"the file is damaged: byte {error.start} is no text in {encoding}") from error
    return text.removeprefix("\ufeff")


def notes_in(text: str) -> list[Note]:
    """Parse the checkpoints of a file that holds one after another. Raises `Malformed` for a damaged file."""
    notes: list[list[str]] = []
    signing = False
    for line in map(str.rstrip, text.removeprefix("\ufeff").splitlines()):
        if line.startswith("— "):
            signing = True
        elif signing or not notes:
            if not line:
                continue
            notes.append([])
            signing = False
        notes[-1].append(line)
    return [Note.parse("\n".join(lines) + "\n") for lines in notes]


# A log.


@dataclass(frozen=True)
class Finding:
    """Something wrong: `kind` names it, `where` the first row (or leaf, or checkpoint) that shows it."""

    kind: str
    tree: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where} of the tree {self.tree or '-'}: {self.why}"


@dataclass
class Tree:
    """One tree of a log, as far as it was read. `proven` leaves lie under a checkpoint that can be believed: signed by
    the key of the caller, or kept by the caller. `newest` is when the last of these leaves was recorded.
    """

    name: str
    origin: str
    claimed_size: int
    claimed_root: str
    grown: Growing = field(default_factory=Growing)
    rows: int = 0
    proven: int = 0
    latest: int = 0
    newest: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def unproven(self) -> int:
        return self.grown.size - self.proven


class Verdict(NamedTuple):
    """What a verification is worth: a word, its colour, a sentence with the reason, a command's exit code."""

    word: str
    colour: str
    sentence: str
    exit_code: int

    def __str__(self) -> str:
        return f"{self.word}: {self.sentence}"


VERIFIED, PARTLY, NOT = "VERIFIED", "PARTLY VERIFIED", "NOT VERIFIED"
_COLOURS = {VERIFIED: "green", PARTLY: "amber", NOT: "red"}
_EXIT_CODES = {VERIFIED: 0, PARTLY: 3, NOT: 1}


def make_verdict(word: str, sentence: str) -> Verdict:
    """The verdict of one of the three words."""
    return Verdict(word, _COLOURS[word], sentence, _EXIT_CODES[word])


@dataclass
class Report:
    """What was checked and found.

    `unsealed` decisions wait for a seal, so that no tree covers them. `dropped` decisions are of months that were
    dropped: their seals were checked, they themselves could not be.
    """

    trees: list[Tree] = field(default_factory=list)
    rows: int = 0
    dropped: int = 0
    unsealed: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def leaves(self) -> int:
        return sum(tree.grown.size for tree in self.trees)

    @property
    def proven(self) -> int:
        """The leaves that lie under a checkpoint that can be believed."""
        return sum(tree.proven for tree in self.trees)

    @property
    def verdict(self) -> Verdict:
        """VERIFIED only if every leaf of every tree is proven and nothing waits for a seal."""
        if self.findings:
            more = f" (and {len(self.findings) - 1} more)" if self.findings[1:] else ""
            return make_verdict(NOT, f"{self.findings[0]}{more}")
        proven = f"{self.proven} of {self.leaves} leaves in {len(self.trees)} trees are proven"
        gaps = list(self._gaps())
        return make_verdict(PARTLY if gaps else VERIFIED, "; ".join([proven, *gaps]))

    def _gaps(self) -> Iterator[str]:
        """What is not proven, in words."""
        if not self.proven:
            yield "no checkpoint can be believed: none is signed by a key that was given, none was kept"
            return
        bare = [tree.name or "-" for tree in self.trees if not tree.proven]
        if bare:
            yield f"no checkpoint of the tree {_few(bare)}"
        young = [f"{tree.unproven} of {tree.name or '-'}" for tree in self.trees if tree.proven and tree.unproven]
        if young:
            yield f"leaves after the last checkpoint: {_few(young)}"
        if self.unsealed:
            yield f"{self.unsealed} decisions wait for a seal"


def _few(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


def decisions_of(seal: dict[str, Any]) -> str:
    """The decisions of a seal, as a finding names them."""
    return f"decisions {seal['first']} to {seal['last']}"


def not_dropped(month: str) -> str:
    """Why decisions that are not there are a finding."""
    return f"they are not there, and no event says that {month} was dropped"


def _member(body: Any, name: str) -> Any:
    """A member of an event's body, which a forger may have made of any form."""
    return body.get(name) if isinstance(body, dict) else None


class Clock:
    """When the latest of each kind of rows was recorded: which says that it is earlier than one before it?"""

    def __init__(self, latest: dict[str, int]) -> None:
        self._latest = latest

    def back(self, what: str, at: int) -> str:
        """What is wrong with an instant, or nothing; the rows after it go by the clock that was set back."""
        latest = self._latest.setdefault(what, at)
        back = at < latest - CLOCK_TOLERANCE
        if at > latest or back:
            self._latest[what] = at
        if back:
            return f"{(latest - at) // 1_000_000} s before one that was recorded earlier"
        return ""


def batch_fault(count: int, root: bytes, hashes: Sequence[bytes]) -> tuple[str, str]:
    """What is wrong with the decisions of a seal, by the hashes of their leaves, and why; or nothing."""
    if root_of(hashes) == root:
        return "", ""
    if len(hashes) == count:
        return "changed row", "they are not what was sealed"
    kind = "deleted row" if len(hashes) < count else "row without a leaf"
    return kind, f"{len(hashes)} rows are there, {count} were sealed"


class Verifier:
    """Reads the lines of a log once, in their order; `kept` are checkpoints from elsewhere, `key` whom to believe.

    `apart`: the decisions of seals are not in the lines, for they are checked apart. `write` makes the bytes of a row.
    """

    def __init__(
        self,
        kept: Iterable[Note] = (),
        key: Key | None = None,
        *,
        apart: bool = False,
        write: Callable[[Any], bytes] = canonical,
    ) -> None:
        self.report = Report()
        self.dropped: set[str] = set()
        self._apart = apart
        self._write = write
        self._key = key
        self._notes = [(note, "kept") for note in kept]
        self._tree: Tree | None = None
        self._due: dict[int, list[tuple[Note, bool]]] = {}
        self._last: dict[str, int] = {}
        self._clock = Clock({})
        self._changed: list[tuple[int, dict[str, Any], str]] = []
        self._absent: dict[str, tuple[str, str]] = {}

    def read(self, lines: Iterable[dict[str, Any]]) -> Report:
        """Everything. Raises `Malformed` for lines that are not those of a log."""
        try:
            for line in lines:
                if "checkpoint" in line:
                    self._notes.append((Note.parse(line["checkpoint"]), "log"))
                elif "tree" in line:
                    self._close()
                    self._open(line)
                elif "hash" in line:
                    self._leaf(line)
                elif "stray" in line:
                    self._find("row without a leaf", line["stray"], "it is in no tree: it was added past the log")
                elif "unsealed" in line:
                    self.report.unsealed = line["unsealed"]
            self._close()
        except (KeyError, TypeError, AttributeError) as error:
            raise Malformed(f"this is no exported log: {error}") from error
        for month, (name, where) in self._absent.items():
            if month not in self.dropped:
                self.report.findings.append(Finding("deleted row", name, where, not_dropped(month)))
        origins = {tree.origin for tree in self.report.trees}
        for note, source in self._notes:
            if note.origin not in origins:
                kind, why = "truncated tail", "its tree is not there at all"
                wrong = note.signed_by(self._key) if self._key and source == "kept" else ""
                if wrong:
                    kind, why = "unusable checkpoint", f"{wrong}: the file is damaged, or of another log"
                self.report.findings.append(Finding(kind, note.origin, f"checkpoint {note.size}", why))
        return self.report

    def _find(self, kind: str, where: str, why: str) -> None:
        tree = self._tree.name if self._tree else ""
        (self._tree or self.report).findings.append(Finding(kind, tree, where, why))

    def _open(self, line: dict[str, Any]) -> None:
        self._tree = Tree(line["tree"], line["origin"], line["size"], line["root"])
        self._last, self._clock, self._changed, self._due = {}, Clock({}), [], {}
        for note, source in self._notes:
            if note.origin != self._tree.origin:
                continue
            wrong = note.signed_by(self._key) if self._key else ""
            if wrong and source == "kept":
                self._find("forged checkpoint", f"the checkpoint {note.size} that was given", wrong)
            elif wrong:
                kind = "rewritten history" if "not signed" in wrong else "forged checkpoint"
                self._find(kind, f"checkpoint {note.size}", f"{wrong}; whose it is, is not known")
            believed = not wrong and (source == "kept" or self._key is not None)
            self._due.setdefault(note.size, []).append((note, believed))
        self._compare()

    def _leaf(self, line: dict[str, Any]) -> None:
        tree = self._tree
        if tree is None:
            raise Malformed("a leaf stands before its tree")
        said, content, number = bytes.fromhex(line["hash"]), line["leaf"], tree.grown.size
        if line["number"] != number:
            self._find("deleted row", f"leaf {number}", f"it is not there; the next is {line['number']}")
        if content is None:
            self._find("deleted row", line["row"], "its leaf is there, the row is not")
        elif leaf_hash(self._write(content)) != said:
            self._find("changed row", line["row"], "it is not what was hashed when it was recorded")
            if len(self._changed) < _MOST_COMPARED:
                self._changed.append((len(tree.findings) - 1, content, line["hash"]))
        else:
            self._in_order(content)
            if content["type"] == "event" and content["kind"] == "decisions:dropped":
                self.dropped.add(str(_member(content["body"], "month")))
        if content is not None and content["type"] == "seal" and not self._apart:
            self._batch(content, line["rows"])
        tree.rows += 1
        tree.grown.add(said)
        self._compare()

    def _in_order(self, content: dict[str, Any]) -> None:
        kind, number = content["type"], content["id"]
        if self._tree:
            self._tree.latest = content["at"]
        if number <= self._last.get(kind, 0):
            why = f"it stands behind {kind} {self._last[kind]}"
            self._find("swapped pair", f"{kind} {number}", why)
        self._last[kind] = number
        self._in_time(kind, number, content["at"])

    def _in_time(self, kind: str, number: int, at: int) -> None:
        back = self._clock.back(kind, at)
        if back:
            self._find("clock set back", f"{kind} {number}", back)

    def _batch(self, content: dict[str, Any], rows: list[dict[str, Any]] | None) -> None:
        tree = self._tree
        if tree is None:
            return
        where = decisions_of(content)
        if rows is None:
            self.report.dropped += content["count"]
            self._absent.setdefault(content["month"], (tree.name, where))
            return
        tree.rows += len(rows)
        for row in rows:
            self._in_time("decision", row["id"], row["asked_at"])
        hashes = [leaf_hash(self._write(row)) for row in rows]
        kind, why = batch_fault(content["count"], bytes.fromhex(content["root"]), hashes)
        if kind:
            self._find(kind, where, why)

    def _compare(self) -> None:
        """What checkpoints say of the tree at the size that it has reached."""
        tree = self._tree
        if tree is None:
            return
        for note, believed in self._due.pop(tree.grown.size, ()):
            if note.root != tree.grown.root:
                why = f"the checkpoint signed at {note.size} leaves says otherwise of those up to here"
                self._find("rewritten history", f"leaf {note.size - 1}", why)
            elif believed:
                tree.proven, tree.newest = note.size, tree.latest

    def _close(self) -> None:
        tree = self._tree
        if tree is None:
            return
        for size in self._due:
            why = f"a checkpoint was signed at {size} leaves, {tree.grown.size} are there"
            self._find("truncated tail", f"leaf {tree.grown.size}", why)
        if (tree.claimed_size, tree.claimed_root) != (tree.grown.size, tree.grown.root.hex()):
            kind = "truncated tail" if tree.grown.size < tree.claimed_size else "changed row"
            why = f"the tree was {tree.claimed_size} leaves with another root"
            self._find(kind, f"leaf {max(tree.grown.size - 1, 0)}", why)
        self._swapped(tree)
        self.report.trees.append(tree)
        self.report.rows += tree.rows
        self.report.findings += tree.findings
        self._tree = None

    def _swapped(self, tree: Tree) -> None:
        """Two changed rows that hold each other's content were swapped."""
        for at, (place, one, _) in enumerate(self._changed):
            for _, other, said in self._changed[at + 1 :]:
                if leaf_hash(self._write({**one, "id": other["id"]})).hex() == said:
                    where = f"{one['type']} {one['id']}"
                    why = f"it holds what {other['type']} {other['id']} held"
                    tree.findings[place] = Finding("swapped pair", tree.name, where, why)
                    return


def proven(proof: dict[str, Any], key: Key | None) -> str:
    """What a proof proves. Raises `Malformed` where it does not."""
    note = Note.parse(proof["checkpoint"])
    wrong = note.signed_by(key) if key else ""
    if wrong:
        raise Malformed(f"the checkpoint: {wrong}")
    path = [bytes.fromhex(one) for one in proof["path"]]
    if "old" in proof:
        old = Note.parse(proof["old"])
        wrong = old.signed_by(key) if key else ""
        if wrong or old.origin != note.origin or not consistent(old.size, old.root, note.size, note.root, path):
            raise Malformed(f"the tree of {note.size} leaves does not begin with that of {old.size}; {wrong}")
        return f"{note.origin}: the tree of {note.size} leaves begins with that of {old.size}"
    content, row = proof["leaf"], proof.get("row")
    if not included(note.root, note.size, proof["number"], leaf_hash(canonical(content)), path):
        raise Malformed("the leaf is not in the tree of the checkpoint")
    if row is None:
        return f"{note.origin}: {content['type']} {content['id']} is leaf {proof['number']} of {note.size}"
    path = [bytes.fromhex(one) for one in proof["row_path"]]
    root = bytes.fromhex(content["root"])
    if not included(root, content["count"], proof["row_number"], leaf_hash(canonical(row)), path):
        raise Malformed("the decision is not in the batch of its leaf")
    return f"{note.origin}: decision {row['id']} is in leaf {proof['number']} of {note.size}"


def described(report: Report) -> Iterator[str]:
    """A report in lines for a reader; the last is the verdict."""
    for tree in report.trees:
        last = f", the last of {_date(tree.newest)}" if tree.proven else ""
        proven = f"{tree.proven} of {tree.grown.size} leaves proven{last}"
        yield f"{tree.origin}: {proven}; {tree.rows} rows, root {tree.grown.root.hex()}"
    yield from (f"finding: {finding}" for finding in report.findings)
    if report.dropped:
        yield f"dropped after their time, and not checked: {report.dropped} decisions"
    yield str(report.verdict)


def _date(micros: int) -> str:
    """An instant that a signed tree holds, so that whoever signed it did so later."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="seconds")


def _encoding_of(path: str) -> str:
    """The encoding of a log, which may be too large to decode at once."""
    with Path(path).open("rb") as file:
        begin = file.read(2)
    wide = begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if wide else "utf-16-le" if begin[1:] == b"\0" else "utf-8-sig"


def _main() -> int:
    parser = argparse.ArgumentParser(description="Verify an exported log of Caregrant, or a proof.")
    parser.add_argument("log", nargs="?", help="from caregrant audit export --format log; - reads standard input")
    parser.add_argument("--checkpoint", help="a file of checkpoints that you kept")
    parser.add_argument("--key", help="the log's verifier key, name+id+key; without it no signature is checked")
    parser.add_argument("--proof", help="a file from caregrant audit prove, instead of a log")
    given = parser.parse_args()
    try:
        key = Key.parse(given.key) if given.key else None
        if given.proof:
            for line in text_of(Path(given.proof).read_bytes()).splitlines():
                sys.stdout.write(proven(json.loads(line), key) + "\n")
            return 0
        kept = notes_in(text_of(Path(given.checkpoint).read_bytes())) if given.checkpoint else []
        if not given.log:
            parser.error("name a log or a proof")
        with (
            nullcontext(sys.stdin)
            if given.log == "-"
            else Path(given.log).open(encoding=_encoding_of(given.log)) as log
        ):
            report = Verifier(kept, key).read(json.loads(line) for line in log)
    except (Malformed, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return 1
    for line in described(report):
        sys.stdout.write(line + "\n")
    return report.verdict.exit_code


if __name__ == "__main__":
    sys.exit(_main())
