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
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LIVES = ("grant", "standing_share", "membership", "licence", "entity", "policy")
"""The facts that events tell before and after each change."""
KEYED = ("subscription", "practitioner", "patient", "client", "review")
"""The facts that events tell as they stand after each change, by their ids."""
MARK = 8
"""The bytes that a seal keeps of the hash of each decision."""
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


class TreeBuilder:
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
    tree = TreeBuilder()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root


def is_included(root: bytes, size: int, number: int, leaf: bytes, path: list[bytes]) -> bool:
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


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
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
class VerifierKey:
    """A log's public key, as it is given out: ``name+id+base64(1 || key)``. Each tree signs as ``name/tree``."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
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

    def of_tree(self, origin: str) -> "VerifierKey":
        """The same key under the name that a tree signs as: other tools of C2SP compare the names."""
        return VerifierKey(origin, self.public)

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
            if not (origin and re.fullmatch("0|[1-9][0-9]{0,17}", size) and len(root) == 32):
                raise ValueError
            signatures = tuple(_signature(line) for line in rest.splitlines())
        except (IndexError, ValueError) as error:
            why = "it is damaged: a checkpoint is origin, size, root, an empty line, signatures"
            raise Malformed(f"this is no checkpoint, or {why}") from error
        return cls(origin, int(size), root, body + "\n", signatures)

    def signed_by(self, key: VerifierKey) -> str:
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


def parse_notes(text: str) -> list[Note]:
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
        tree = "" if self.kind.endswith("fact") else f" of the tree {self.tree or '-'}"
        return f"{self.kind}: {self.where}{tree}: {self.why}"


@dataclass
class LogTree:
    """One tree of a log, as far as it was read. `proven` leaves lie under a checkpoint that can be believed: signed by
    the key of the caller, or kept by the caller. `newest` is when the last of these leaves was recorded.
    """

    name: str
    origin: str
    claimed_size: int
    claimed_root: str
    grown: TreeBuilder = field(default_factory=TreeBuilder)
    rows: int = 0
    proven: int = 0
    latest: int = 0
    newest: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def unproven(self) -> int:
        return self.grown.size - self.proven


class LogVerdict(NamedTuple):
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


def make_verdict(word: str, sentence: str) -> LogVerdict:
    """The verdict of one of the three words."""
    return LogVerdict(word, _COLOURS[word], sentence, _EXIT_CODES[word])


@dataclass
class LogReport:
    """What was checked and found.

    `facts` stand and are what the events tell; None: the export is of a version that held none. `unread` kinds of them
    hold names that the account which verified may not read, so that they were not compared. `adopted` facts were
    told by an upgrade, as they stood then. `unsealed` decisions wait for a seal, so that no tree covers them. `dropped`
    decisions are of the months in `drops`: their seals were checked, they themselves could not be.
    """

    trees: list[LogTree] = field(default_factory=list)
    rows: int = 0
    facts: int | None = None
    unread: list[str] = field(default_factory=list)
    adopted: int = 0
    dropped: int = 0
    drops: list[str] = field(default_factory=list)
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
    def verdict(self) -> LogVerdict:
        """VERIFIED only if every leaf of every tree is proven and nothing waits for a seal."""
        if self.findings:
            more = f" (and {len(self.findings) - 1} more)" if self.findings[1:] else ""
            return make_verdict(NOT, f"{self.findings[0]}{more}")
        proven = f"{self.proven} of {self.leaves} leaves in {len(self.trees)} trees are proven"
        facts = [f"{self.facts} facts are what the events tell"] if self.facts else []
        adopted = [f"{self.adopted} were first told by an upgrade"] if self.adopted else []
        gaps = list(self._gaps())
        return make_verdict(PARTLY if gaps else VERIFIED, "; ".join([proven, *facts, *adopted, *gaps]))

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
        if self.facts is None:
            yield "the facts are not in this export, which an earlier version made"
        if self.unread:
            yield f"facts that this account may not read: {_few(self.unread)}"


def _few(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


# What events tell.


def member(body: Any, name: str) -> Any:
    """A member of an event's body, which a forger may have made of any form."""
    return body.get(name) if isinstance(body, dict) else None


def _listed(body: Any, name: str) -> list[list[Any]]:
    """A member of an event's body that is a list of lists."""
    held = member(body, name)
    return [row for row in held if isinstance(row, list) and row] if isinstance(held, list) else []


class Facts:
    """The facts that events tell, against those that stand. A row is remembered by its digest alone.

    A fact with a life is told before and after each change: what was begun and not ended must stand. Of a fact with an
    id the last event counts. An entity of before 0.2 was told without its clinic.
    """

    def __init__(self, write: Callable[[Any], bytes]) -> None:
        self.standing = self.adopted = 0
        self._write = write
        self._begun: dict[bytes, int] = {}
        self._ended: dict[bytes, int] = {}
        self._last: dict[tuple[str, str], tuple[int, bytes]] = {}

    def tell(self, event: int, kind: str, body: Any) -> None:
        """Take in what an event tells."""
        noun = kind.partition(":")[0]
        if noun in LIVES:
            sides = (("before", self._ended, self._begun), ("after", self._begun, self._ended))
            for side, into, other in sides:
                row = member(body, side)
                if isinstance(row, dict) and not self._pop(other, noun, row):
                    into[self._free(into, noun, row)] = event
        elif noun in KEYED:
            self._tell_keyed(event, noun, member(body, "after"))
        elif kind == "facts:adopted":
            for noun, *rows in _listed(body, "facts"):
                self.adopted += 1
                self._tell_keyed(event, str(noun), rows[-1] if rows else None)

    def _tell_keyed(self, event: int, noun: str, row: Any) -> None:
        key = noun, str(member(row, noun))
        if isinstance(row, dict) and event >= self._last.get(key, (0, b""))[0]:
            self._last[key] = event, self._digest(noun, row)

    def check(self, noun: str, row: dict[str, Any]) -> tuple[str, str]:
        """What is wrong with a fact that stands, and why; or nothing."""
        self.standing += 1
        if noun in LIVES:
            if self._pop(self._begun, noun, row):
                return "", ""
            return "fact without an event", "no event tells it as it stands"
        event, digest = self._last.pop((noun, str(row[noun])), (0, b""))
        if digest == self._digest(noun, row):
            return "", ""
        if not event:
            return "fact without an event", "no event tells it"
        return "changed fact", f"it is not what event {event} tells"

    def missing(self, unread: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
        """The facts that are told and do not stand, and why; nothing of the nouns that were not read."""
        for event in sorted(self._begun.values()):
            yield f"a fact of event {event}", "it does not stand as the event tells it"
        for event in sorted(self._ended.values()):
            yield f"a fact of event {event}", "the event ends what no event began"
        for (noun, key), (event, _) in self._last.items():
            if noun not in unread:
                yield f"{noun} {key}", f"event {event} tells it, and it is not there"

    def _digest(self, noun: str, row: Any) -> bytes:
        return sha256(self._write([noun, row])).digest()[:16]

    def _free(self, rows: dict[bytes, int], noun: str, row: Any) -> bytes:
        """A digest for a row that is not used yet: rows may be alike."""
        digest = self._digest(noun, row)
        while digest in rows:
            digest = sha256(digest).digest()[:16]
        return digest

    def _pop(self, rows: dict[bytes, int], noun: str, row: Any) -> bool:
        """Take a row out; return whether it was in."""
        digest, last = self._digest(noun, row), b""
        while digest in rows:
            last, digest = digest, sha256(digest).digest()[:16]
        if not last and noun == "entity" and "subscription" in row:
            return self._pop(rows, noun, {name: value for name, value in row.items() if name != "subscription"})
        return rows.pop(last, None) is not None


class Absences:
    """What is not there any more, and the events that must be the cause: months dropped, persons erased."""

    def __init__(self, now: int | None) -> None:
        self._now = now
        self._drops: dict[str, tuple[int, int, int, str]] = {}
        self._absent: dict[str, tuple[int, int, str, str]] = {}
        self._erasures: Counter[tuple[str, str]] = Counter()
        self._erased: dict[tuple[str, str], tuple[int, str, str]] = {}
        self._early: list[Finding] = []

    def tell(self, content: dict[str, Any]) -> None:
        """Take in an event that explains an absence."""
        body = content["body"]
        if content["kind"] == "record:erased":
            for nouns in ("events", "decisions"):
                count = member(body, nouns)
                self._erasures[str(member(body, "whose")), nouns] += count if isinstance(count, int) else 0
        elif content["kind"] == "decisions:dropped":
            self._tell_drop(f"event {content['id']}", content["at"], body)

    def _tell_drop(self, event: str, at: int, body: Any) -> None:
        try:
            year, month = map(int, body["month"].split("-"))
            decisions, seals, years = int(body["decisions"]), int(body["seals"]), int(body["retention_years"])
            over = datetime(year + month // 12 + years, month % 12 + 1, 1, tzinfo=UTC)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            self._early.append(Finding("dropped early", "", event, "it tells no month, counts and retention"))
            return
        before = self._drops.get(body["month"], (0, 0, years, event))
        self._drops[body["month"]] = before[0] + decisions, before[1] + seals, years, event
        due = (over - _EPOCH) // timedelta(microseconds=1)
        if years < 1 or at < due or (self._now is not None and self._now < due):
            why = f"decisions of {body['month']} are kept for {years} years after its end"
            self._early.append(Finding("dropped early", "", event, why))

    def miss(self, tree: str, month: str, count: int, where: str, seals: int = 1) -> None:
        """The decisions of some seals of a month are not there."""
        before = self._absent.get(month, (0, 0, tree, where))
        self._absent[month] = before[0] + count, before[1] + seals, *before[2:]

    def erase(self, tree: str, whose: str, nouns: str, where: str, count: int = 1) -> None:
        """A personal field of a row is not there."""
        before = self._erased.get((whose, nouns), (0, tree, where))
        self._erased[whose, nouns] = before[0] + count, *before[1:]

    def findings(self) -> Iterator[Finding]:
        """What is not there without a cause."""
        yield from self._early
        for month in sorted({*self._absent, *self._drops}):
            absent, drop = self._absent.get(month, (0, 0, "", "")), self._drops.get(month)
            if drop is None:
                why = f"they are not there, and no event says that {month} was dropped"
                yield Finding("deleted row", absent[2], absent[3], why)
            elif drop[:2] != absent[:2]:
                why = f"it tells of {drop[0]} decisions of {drop[1]} seals; {absent[0]} of {absent[1]} are not there"
                yield Finding("deleted row", "", drop[3], why)
        for (whose, nouns), (count, tree, where) in self._erased.items():
            explained = self._erasures[whose, nouns]
            if count > explained:
                why = f"{count} fields of {nouns} of {whose} are erased, events tell of {explained}"
                yield Finding("erased row", tree, where, why)

    @property
    def dropped(self) -> int:
        """The decisions that are not there, for whatever cause."""
        return sum(decisions for decisions, *_ in self._absent.values())

    def drops(self) -> list[str]:
        """The months dropped, in words."""
        return [
            f"{decisions} decisions of {month}, {years} years after its end"
            for month, (decisions, _, years, _) in sorted(self._drops.items())
        ]


def whose_address(content: dict[str, Any]) -> str:
    """Whose the address of an event or a decision is."""
    if content["actor"]:
        return f"practitioner:{content['actor']}"
    return "operator" if content["client"] is None else f"client:{content['client']}"


def whose_reason(content: dict[str, Any]) -> str:
    """Whose the reason of an event is: the patient's; of a standing share, its owner's."""
    owner = member(member(content["body"], "after"), "owner")
    if content["patient"] or not owner:
        return f"patient:{content['patient']}" if content["patient"] else "operator"
    return f"practitioner:{owner}"


# The decisions of a seal.


def decisions_of(seal: dict[str, Any]) -> str:
    """The decisions of a seal, as a finding names them."""
    return f"decisions {seal['first']} to {seal['last']}"


class Clock:
    """When the latest of each kind of rows was recorded: which says that it is earlier than one before it?"""

    def __init__(self, latest: dict[str, int]) -> None:
        self._latest = latest

    def back(self, what: str, at: int) -> str:
        """What is wrong with an instant, or nothing; the rows after it go by the clock that was set back."""
        if not isinstance(at, int):
            return ""  # a changed row, which its hash tells
        latest = self._latest.setdefault(what, at)
        back = at < latest - CLOCK_TOLERANCE
        if at > latest or back:
            self._latest[what] = at
        if back:
            return f"{(latest - at) // 1_000_000} s before one that was recorded earlier"
        return ""


def batch_faults(
    seal: dict[str, Any], root: bytes, marks: bytes, rows: Sequence[tuple[int, bytes]]
) -> list[tuple[str, str, str]]:
    """What is wrong with the decisions of a seal, each an id and the hash of its leaf: the kind, where, and why.

    `marks` are the first bytes of the hashes that were sealed. The root alone decides; by the marks a row is named.
    """
    hashes = [leaf for _, leaf in rows]
    if root_of(hashes) == root:
        same = marks in (b"", b"".join([leaf[:MARK] for leaf in hashes]))
        return [] if same else [("changed row", f"seal {seal['id']}", "its marks are not those of its decisions")]
    count, sealed = seal["count"], [marks[at : at + MARK] for at in range(0, len(marks), MARK)]
    faults = list(_named_faults(seal, sealed, rows)) if len(sealed) == count else []
    if 0 < len(faults) <= _MOST_COMPARED:
        return faults
    where = decisions_of(seal)
    if len(hashes) == count:
        return [("changed row", where, "they are not what was sealed")]
    kind = "deleted row" if len(hashes) < count else "row without a leaf"
    return [(kind, where, f"{len(hashes)} rows are there, {count} were sealed")]


def _named_faults(
    seal: dict[str, Any], sealed: Sequence[bytes], rows: Sequence[tuple[int, bytes]]
) -> Iterator[tuple[str, str, str]]:
    """The faults between rows that are what was sealed: changed, deleted or added rows."""
    places = {mark: at for at, mark in enumerate(sealed)}
    at, before, others = 0, seal["first"] - 1, list[int]()
    for number, leaf in [*rows, (seal["last"] + 1, b"")]:
        place = places.get(leaf[:MARK], len(sealed) if not leaf else -1)
        if place < at:
            others.append(number)
            continue
        for other, _ in zip(others, range(at, place), strict=False):
            yield "changed row", f"decision {other}", "it is not what was sealed"
        for other in others[place - at :]:
            yield "row without a leaf", f"decision {other}", "it was not sealed"
        lost = place - at - len(others)
        if lost > 0:
            between = range(before + 1, number)
            exact = len(between) == lost + len(others)
            names = [f"decision {gap}" for gap in between if gap not in others] if exact else []
            yield from (("deleted row", name, "it was sealed and is not there") for name in names)
            if not exact:
                why = f"{lost} were sealed there and are not there"
                yield "deleted row", f"decisions between {before} and {number}", why
        at, before, others = place + 1, number, []


class Verifier:
    """Reads the lines of a log once, in their order; `kept` are checkpoints from elsewhere, `key` whom to believe.

    `apart` checks the decisions of seals, if they are not in the lines. `write` makes the bytes of a row. `now`, in
    microseconds: a month cannot have been dropped before.
    """

    def __init__(
        self,
        kept: Iterable[Note] = (),
        key: VerifierKey | None = None,
        *,
        apart: "Callable[[Verifier], None] | None" = None,
        write: Callable[[Any], bytes] = canonical,
        now: int | None = None,
    ) -> None:
        self.report = LogReport()
        self.absences = Absences(now)
        self._facts = Facts(write)
        self._complete = False
        self._apart = apart
        self._write = write
        self._key = key
        self._notes = [(note, "kept") for note in kept]
        self._tree: LogTree | None = None
        self._due: dict[int, list[tuple[Note, bool]]] = {}
        self._last: dict[str, int] = {}
        self._clock = Clock({})
        self._changed: list[tuple[int, dict[str, Any], str]] = []

    def read(self, lines: Iterable[dict[str, Any]]) -> LogReport:
        """Everything. Raises `Malformed` for lines that are not those of a log."""
        readers = {
            "log": self._head,
            "checkpoint": self._checkpoint,
            "tree": self._open,
            "hash": self._leaf,
            "stray": self._stray,
            "wrong": self._wrong,
            "fact": self._fact,
            "unread": self._unread,
            "unsealed": self._foot,
        }
        try:
            for line in lines:
                reader = next((reader for name, reader in readers.items() if name in line), None)
                if reader:
                    reader(line)
            self._close()
        except (KeyError, TypeError, AttributeError) as error:
            raise Malformed(f"this is no exported log: {error}") from error
        if not self._complete:
            raise Malformed("the log is damaged: its end is not there")
        if self._apart:
            self._apart(self)
        self._finish()
        return self.report

    def _head(self, line: dict[str, Any]) -> None:
        if line["version"] == 1:
            self._complete = True
        else:
            self.report.facts = 0

    def _foot(self, line: dict[str, Any]) -> None:
        self._complete, self.report.unsealed = True, line["unsealed"]

    def _checkpoint(self, line: dict[str, Any]) -> None:
        try:
            self._notes.append((Note.parse(line["checkpoint"]), "log"))
        except Malformed as error:
            self._find("forged checkpoint", "a checkpoint of the log", str(error))

    def _stray(self, line: dict[str, Any]) -> None:
        self._close()
        self._find("row without a leaf", line["stray"], "it is in no tree: it was added past the log")

    def _wrong(self, line: dict[str, Any]) -> None:
        """A fault of what only the database holds."""
        self._close()
        self.report.findings.append(Finding(line["wrong"], line["of"], line["where"], line["why"]))

    def _fact(self, line: dict[str, Any]) -> None:
        self._close()
        kind, why = self._facts.check(line["fact"], line["row"])
        if kind:
            self._find(kind, f"{line['fact']} {line['id']}", why)

    def _unread(self, line: dict[str, Any]) -> None:
        self._close()
        self.report.unread.append(str(line["unread"]))

    def _finish(self) -> None:
        report = self.report
        if report.facts is not None:
            report.findings += [
                Finding("deleted fact", "", where, why) for where, why in self._facts.missing(report.unread)
            ]
            report.facts, report.adopted = self._facts.standing, self._facts.adopted
        report.findings += self.absences.findings()
        report.dropped, report.drops = self.absences.dropped, self.absences.drops()
        origins = {tree.origin for tree in report.trees}
        for note, source in self._notes:
            if note.origin not in origins:
                kind, why = "truncated tail", "its tree is not there at all"
                wrong = note.signed_by(self._key) if self._key and source == "kept" else ""
                if wrong:
                    kind, why = "unusable checkpoint", f"{wrong}: the file is damaged, or of another log"
                report.findings.append(Finding(kind, note.origin, f"checkpoint {note.size}", why))

    def _find(self, kind: str, where: str, why: str) -> None:
        tree = self._tree.name if self._tree else ""
        (self._tree or self.report).findings.append(Finding(kind, tree, where, why))

    def _open(self, line: dict[str, Any]) -> None:
        self._close()
        self._tree = LogTree(line["tree"], line["origin"], line["size"], line["root"])
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
            if content["type"] == "event":
                self._event(line, content)
            elif not self._apart:
                self._batch(content, line)
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

    def _event(self, line: dict[str, Any], content: dict[str, Any]) -> None:
        self._facts.tell(content["id"], content["kind"], content["body"])
        self.absences.tell(content)
        for name in line.get("erased", ()):
            whose = whose_address(content) if name == "address" else whose_reason(content)
            self.absences.erase(content["subscription"], whose, "events", line["row"])

    def _batch(self, content: dict[str, Any], line: dict[str, Any]) -> None:
        tree, rows = self._tree, line["rows"]
        if tree is None:
            return
        if rows is None:
            self.absences.miss(tree.name, content["month"], content["count"], decisions_of(content))
            return
        tree.rows += len(rows)
        for row in rows:
            self._in_time("decision", row["id"], row["asked_at"])
            if row["id"] in line.get("erased", ()):
                self.absences.erase(tree.name, whose_address(row), "decisions", f"decision {row['id']}")
        hashed = [(row["id"], leaf_hash(self._write(row))) for row in rows]
        root, marks = bytes.fromhex(content["root"]), bytes.fromhex(line.get("marks", ""))
        for kind, where, why in batch_faults(content, root, marks, hashed):
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

    def _swapped(self, tree: LogTree) -> None:
        """Two changed rows that hold each other's content were swapped."""
        for at, (place, one, _) in enumerate(self._changed):
            for _, other, said in self._changed[at + 1 :]:
                if leaf_hash(self._write({**one, "id": other["id"]})).hex() == said:
                    where = f"{one['type']} {one['id']}"
                    why = f"it holds what {other['type']} {other['id']} held"
                    tree.findings[place] = Finding("swapped pair", tree.name, where, why)
                    return


def proven(proof: dict[str, Any], key: VerifierKey | None) -> str:
    """What a proof proves. Raises `Malformed` where it does not."""
    note = Note.parse(proof["checkpoint"])
    wrong = note.signed_by(key) if key else ""
    if wrong:
        raise Malformed(f"the checkpoint: {wrong}")
    path = [bytes.fromhex(one) for one in proof["path"]]
    if "old" in proof:
        old = Note.parse(proof["old"])
        wrong = old.signed_by(key) if key else ""
        if wrong or old.origin != note.origin or not is_consistent(old.size, old.root, note.size, note.root, path):
            raise Malformed(f"the tree of {note.size} leaves does not begin with that of {old.size}; {wrong}")
        return f"{note.origin}: the tree of {note.size} leaves begins with that of {old.size}"
    content, row = proof["leaf"], proof.get("row")
    if not is_included(note.root, note.size, proof["number"], leaf_hash(canonical(content)), path):
        raise Malformed("the leaf is not in the tree of the checkpoint")
    if row is None:
        return f"{note.origin}: {content['type']} {content['id']} is leaf {proof['number']} of {note.size}"
    path = [bytes.fromhex(one) for one in proof["row_path"]]
    root = bytes.fromhex(content["root"])
    if not is_included(root, content["count"], proof["row_number"], leaf_hash(canonical(row)), path):
        raise Malformed("the decision is not in the batch of its leaf")
    return f"{note.origin}: decision {row['id']} is in leaf {proof['number']} of {note.size}"


def describe_report(report: LogReport) -> Iterator[str]:
    """A report in lines for a reader; the last is the verdict."""
    for tree in report.trees:
        last = f", the last of {_date(tree.newest)}" if tree.proven else ""
        proven = f"{tree.proven} of {tree.grown.size} leaves proven{last}"
        yield f"{tree.origin}: {proven}; {tree.rows} rows, root {tree.grown.root.hex()}"
    yield from (f"finding: {finding}" for finding in report.findings)
    yield from (f"dropped, and not checked: {one}" for one in report.drops)
    yield str(report.verdict)


def _date(micros: int) -> str:
    """An instant that a signed tree holds, so that whoever signed it did so later."""
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{micros} microseconds since 1970"


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
        key = VerifierKey.parse(given.key) if given.key else None
        if given.proof:
            for line in text_of(Path(given.proof).read_bytes()).splitlines():
                sys.stdout.write(proven(json.loads(line), key) + "\n")
            return 0
        kept = parse_notes(text_of(Path(given.checkpoint).read_bytes())) if given.checkpoint else []
        if not given.log:
            parser.error("name a log or a proof")
        with (
            nullcontext(sys.stdin)
            if given.log == "-"
            else Path(given.log).open(encoding=_encoding_of(given.log)) as log
        ):
            report = Verifier(kept, key, now=time.time_ns() // 1000).read(json.loads(line) for line in log)
    except (Malformed, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return 1
    for line in describe_report(report):
        sys.stdout.write(line + "\n")
    return report.verdict.exit_code


if __name__ == "__main__":
    sys.exit(_main())
