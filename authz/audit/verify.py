"""Verify an exported log of Caregrant, with nothing of Caregrant: Python's own library and `cryptography`.

    python verify.py LOG [--checkpoint FILE] [--key KEY]     LOG from: caregrant audit export --format log
    python verify.py --proof PROOF [--key KEY]               PROOF from: caregrant audit prove

How it works:

1. Each row is hashed again and compared with its leaf.
2. The trees (RFC 9162, section 2.1) are built again from the leaves.
3. The size and root of each signed checkpoint (C2SP tlog-checkpoint) are compared with the tree at that size.
4. The facts that the events tell are compared with the facts in the export.

docs/reference/record.md defines every byte. Whoever made the log could have forged all of it but two things:
a checkpoint that you kept earlier, and the key that you received from elsewhere. Without them nothing is proven.

Exit 0: VERIFIED, everything is proven. 3: PARTLY VERIFIED, nothing is wrong and something is not proven. 1: NOT
VERIFIED. This is one file, longer than others of Caregrant, so that an outsider can read it, copy it and run it alone.
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

INTERVAL_FACTS = ("grant", "standing_share", "membership", "licence", "entity", "policy")
"""The facts with a life: an event tells each before and after a change."""
KEYED_FACTS = ("subscription", "practitioner", "patient", "client", "review", "emergency")
"""The facts with an id: an event tells each as it stands after a change."""
MARK_BYTES = 8
"""Bytes of the hash of each decision that a seal keeps, to name a changed decision."""
CLOCK_TOLERANCE = 600_000_000
"""Microseconds by which a row may be earlier than a row recorded before it: requests and imports overlap."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_ED25519 = b"\1"
_MOST_NAMED = 5
_MOST_COMPARED = 100  # changed rows that are compared with one another, to find rows that were swapped

JsonObject = dict[str, Any]
"""A line of the log, or a part of one: whoever made the log chose its members and their types."""


class Malformed(ValueError):
    """A checkpoint, a key or a log that does not have its form."""


# Hashes.


def canonical(value: object) -> bytes:
    """Return the bytes of a row by RFC 8785.

    Rows hold only strings, whole numbers below 2^53, true, false and null.
    """
    return _CANONICAL.encode(value).encode()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162, 2.1.1)."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162, 2.1.1)."""
    return sha256(b"\1" + left + right).digest()


class TreeBuilder:
    """A tree that grows leaf by leaf; it keeps only the roots of its complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self._roots.pop(), node)
            size >>= 1
        self._roots.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        if not self._roots:
            return sha256().digest()
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root of the tree over these hashes of leaves."""
    tree = TreeBuilder()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root


def is_included(root: bytes, size: int, number: int, leaf: bytes, path: list[bytes]) -> bool:
    """Return whether `path` proves that `leaf` is leaf `number` of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= number < size:
        return False
    index, last, node = number, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and node == root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
    """Return whether `path` proves that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.2)."""
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == sha256().digest()
    if not 0 < old < new or not path:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old_node = new_node = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and old_node == old_root and new_node == new_root


# Checkpoints: C2SP signed notes.


@dataclass(frozen=True)
class VerifierKey:
    """The public key of a log, as it is published: ``name+id+base64(1 || key)``. Each tree signs as ``name/tree``."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Return the key that a text holds. Raises `Malformed`."""
        name, _, rest = text.strip().partition("+")
        claimed_id, _, body = rest.partition("+")
        try:
            raw = base64.b64decode(body, validate=True)
        except binascii.Error as error:
            raise Malformed("this is no verifier key") from error
        if not name or raw[:1] != _ED25519 or len(raw) != 33 or key_id(name, raw[1:]).hex() != claimed_id:
            raise Malformed("this is no verifier key (Ed25519) of the form name+id+key")
        return cls(name, raw[1:])

    def of_tree(self, origin: str) -> "VerifierKey":
        """Return the same key under the name with which a tree signs: other tools of C2SP compare the names."""
        return VerifierKey(origin, self.public)

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{key_id(self.name, self.public).hex()}+{encoded}"


def key_id(name: str, public: bytes) -> bytes:
    """Return the four bytes that identify a key and its name (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


@dataclass(frozen=True)
class Note:
    """A signed checkpoint (a note of C2SP): the size and root of a tree, and its signatures."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, text: str) -> "Note":
        """Return the checkpoint that a text holds. Raises `Malformed`."""
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

    def signature_fault(self, key: VerifierKey) -> str:
        """Return what is wrong with the signature by a key; an empty text if it is good."""
        identifier = key_id(self.origin, key.public)
        if not self.origin.startswith(f"{key.name}/"):
            return f"it is of the log {self.origin}, not of {key.name}"
        for name, signature in self.signatures:
            if name == self.origin and signature[:4] == identifier:
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


def decode_text(data: bytes) -> str:
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
    """A fault: `kind` names it, `where` is the first row, leaf or checkpoint that shows it, `why` the sentence."""

    kind: str
    tree: str
    where: str
    why: str

    def __str__(self) -> str:
        tree = "" if self.kind.endswith("fact") else f" of the tree {self.tree or '-'}"
        return f"{self.kind}: {self.where}{tree}: {self.why}"


@dataclass
class LogTree:
    """One tree of a log, as far as it was read.

    `proven` leaves are covered by a trusted checkpoint: one that the caller's key signed, or that the caller kept.
    `last_at` is the instant of the last leaf that was read, `proven_until` that of the last proven leaf (microseconds).
    """

    name: str
    origin: str
    claimed_size: int
    claimed_root: str
    builder: TreeBuilder = field(default_factory=TreeBuilder)
    rows: int = 0
    proven: int = 0
    last_at: int = 0
    proven_until: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def unproven(self) -> int:
        return self.builder.size - self.proven


class LogVerdict(NamedTuple):
    """The result of a verification: a word, its colour, a sentence with the reason, the exit code of a command."""

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
    """Return the verdict with one of the three words."""
    return LogVerdict(word, _COLOURS[word], sentence, _EXIT_CODES[word])


@dataclass
class LogReport:
    """The numbers of checked things, and the findings.

    `facts`: how many facts were compared with the events; None if the export is of a version without facts. `unread`:
    kinds of facts that were not compared, because they hold names that the account may not read. `adopted`: facts that
    an upgrade told as they stood then. `unsealed`: decisions that wait for a seal, so that no tree covers them.
    `dropped`: decisions of the months in `drops`; their seals were checked, the decisions are gone.
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
        return sum(tree.builder.size for tree in self.trees)

    @property
    def proven(self) -> int:
        """The leaves that a trusted checkpoint covers."""
        return sum(tree.proven for tree in self.trees)

    @property
    def verdict(self) -> LogVerdict:
        """The verdict: VERIFIED only if every leaf of every tree is proven and nothing waits for a seal."""
        if self.findings:
            more = f" (and {len(self.findings) - 1} more)" if self.findings[1:] else ""
            return make_verdict(NOT, f"{self.findings[0]}{more}")
        proven = f"{self.proven} of {self.leaves} leaves in {len(self.trees)} trees are proven"
        facts = [f"{self.facts} facts are what the events tell"] if self.facts else []
        adopted = [f"{self.adopted} were first told by an upgrade"] if self.adopted else []
        gaps = list(self._gaps())
        return make_verdict(PARTLY if gaps else VERIFIED, "; ".join([proven, *facts, *adopted, *gaps]))

    def _gaps(self) -> Iterator[str]:
        """Describe what is not proven."""
        if not self.proven:
            yield "no checkpoint is trusted: none is signed by a key that you gave, and you gave none that you kept"
            return
        uncovered = [tree.name or "-" for tree in self.trees if not tree.proven]
        if uncovered:
            yield f"no checkpoint of the tree {_list_some(uncovered)}"
        newer = [f"{tree.unproven} of {tree.name or '-'}" for tree in self.trees if tree.proven and tree.unproven]
        if newer:
            yield f"leaves after the last checkpoint: {_list_some(newer)}"
        if self.unsealed:
            yield f"{self.unsealed} decisions wait for a seal"
        if self.facts is None:
            yield "the facts are not in this export, which an earlier version made"
        if self.unread:
            yield f"facts that this account may not read: {_list_some(self.unread)}"


def _list_some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


# The facts: what the events tell, against what stands.


def member(body: object, name: str) -> object:
    """Return a member of an event's body; None if the body, which a forger may have made, is no object."""
    return body.get(name) if isinstance(body, dict) else None


def _lists(body: object, name: str) -> list[list[Any]]:
    """Return a member of an event's body that is a list of lists; what is none is left out."""
    rows = member(body, name)
    return [row for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []


class FactComparison:
    """Compares the facts that the events tell with the facts that stand. It remembers of each row only a digest.

    An event tells a fact with a life before and after the change: a row that an event began, and none ended, must
    stand. Of a fact with an id the last event counts. Before 0.2 events told an entity without its clinic.
    """

    def __init__(self, write: Callable[[object], bytes]) -> None:
        self.standing = self.adopted = 0
        self._write = write
        self._begun: dict[bytes, int] = {}
        self._ended: dict[bytes, int] = {}
        self._last: dict[tuple[str, str], tuple[int, bytes]] = {}

    def add_event(self, event: int, kind: str, body: object) -> None:
        """Remember the facts that an event tells."""
        noun = kind.partition(":")[0]
        if noun in INTERVAL_FACTS:
            sides = (("before", self._ended, self._begun), ("after", self._begun, self._ended))
            for side, own, opposite in sides:  # trees are read in any order: the end may come before the beginning
                row = member(body, side)
                if isinstance(row, dict) and not self._pop(opposite, noun, row):
                    own[self._unused_digest(own, noun, row)] = event
        elif noun in KEYED_FACTS:
            self._add_keyed(event, noun, member(body, "after"))
        elif kind == "facts:adopted":
            for noun, *rows in _lists(body, "facts"):
                self.adopted += 1
                self._add_keyed(event, str(noun), rows[-1] if rows else None)

    def _add_keyed(self, event: int, noun: str, row: object) -> None:
        key = noun, str(member(row, noun))
        if isinstance(row, dict) and event >= self._last.get(key, (0, b""))[0]:
            self._last[key] = event, self._digest(noun, row)

    def compare(self, noun: str, row: JsonObject) -> tuple[str, str]:
        """Compare a fact that stands with the events; return the kind of fault and why, both empty if there is none."""
        self.standing += 1
        if noun in INTERVAL_FACTS:
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
        """Yield the facts that events tell and that do not stand, and why; `unread` kinds of facts are left out."""
        for event in sorted(self._begun.values()):
            yield f"a fact of event {event}", "it does not stand as the event tells it"
        for event in sorted(self._ended.values()):
            yield f"a fact of event {event}", "the event ends what no event began"
        for (noun, key), (event, _) in self._last.items():
            if noun not in unread:
                yield f"{noun} {key}", f"event {event} tells it, and it is not there"

    def _digest(self, noun: str, row: object) -> bytes:
        return sha256(self._write([noun, row])).digest()[:16]

    def _unused_digest(self, rows: dict[bytes, int], noun: str, row: object) -> bytes:
        """Return a digest for a row that is not in `rows` yet: several rows may be equal."""
        digest = self._digest(noun, row)
        while digest in rows:
            digest = sha256(digest).digest()[:16]
        return digest

    def _pop(self, rows: dict[bytes, int], noun: str, row: JsonObject) -> bool:
        """Remove a row; return whether it was there."""
        digest, last = self._digest(noun, row), b""
        while digest in rows:
            last, digest = digest, sha256(digest).digest()[:16]
        if not last and noun == "entity" and "subscription" in row:
            return self._pop(rows, noun, {name: value for name, value in row.items() if name != "subscription"})
        return rows.pop(last, None) is not None


class Drop(NamedTuple):
    """The content of the events about a month whose decisions were dropped; `event` is the last event."""

    decisions: int
    seals: int
    years: int
    event: str


class Gap(NamedTuple):
    """Decisions of a month that are not there, though they were sealed; `where` names the first of them."""

    decisions: int
    seals: int
    tree: str
    where: str


class ErasedFields(NamedTuple):
    """Personal fields that are not there; `where` names the first row without one."""

    fields: int
    tree: str
    where: str


class Absences:
    """Collects what is not there any more, and the events that must explain it: months dropped, persons erased."""

    def __init__(self, now: int | None) -> None:
        self._now = now
        self._drops: dict[str, Drop] = {}
        self._gaps: dict[str, Gap] = {}
        self._explained: Counter[tuple[str, str]] = Counter()
        self._erased: dict[tuple[str, str], ErasedFields] = {}
        self._early: list[Finding] = []

    def add_event(self, content: JsonObject) -> None:
        """Remember an event that explains an absence."""
        body = content["body"]
        if content["kind"] == "record:erased":
            for nouns in ("events", "decisions"):
                count = member(body, nouns)
                self._explained[str(member(body, "whose")), nouns] += count if isinstance(count, int) else 0
        elif content["kind"] == "decisions:dropped":
            self._add_drop(f"event {content['id']}", content["at"], body)

    def _add_drop(self, event: str, at: int, body: Any) -> None:
        """Remember that a month was dropped; report a drop before the decisions had been kept for their years."""
        try:
            name = body["month"]
            year, month = map(int, name.split("-"))
            decisions, seals, years = int(body["decisions"]), int(body["seals"]), int(body["retention_years"])
            over = datetime(year + month // 12 + years, month % 12 + 1, 1, tzinfo=UTC)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            self._early.append(Finding("dropped early", "", event, "its body has no month, counts and retention"))
            return
        earlier = self._drops.get(name, Drop(0, 0, years, event))
        self._drops[name] = Drop(earlier.decisions + decisions, earlier.seals + seals, years, event)
        due = (over - _EPOCH) // timedelta(microseconds=1)
        if years < 1 or at < due or (self._now is not None and self._now < due):
            why = f"decisions of {name} are kept for {years} years after its end"
            self._early.append(Finding("dropped early", "", event, why))

    def add_missing(self, tree: str, month: str, decisions: int, where: str, seals: int = 1) -> None:
        """Remember that the decisions of some seals of a month are not there."""
        gap = self._gaps.get(month, Gap(0, 0, tree, where))
        self._gaps[month] = gap._replace(decisions=gap.decisions + decisions, seals=gap.seals + seals)

    def add_erased(self, tree: str, whose: str, nouns: str, where: str, count: int = 1) -> None:
        """Remember that personal fields of rows are not there; `whose` names the person."""
        erased = self._erased.get((whose, nouns), ErasedFields(0, tree, where))
        self._erased[whose, nouns] = erased._replace(fields=erased.fields + count)

    def findings(self) -> Iterator[Finding]:
        """Yield what is not there without an event that explains it."""
        yield from self._early
        for month in sorted({*self._gaps, *self._drops}):
            gap, drop = self._gaps.get(month, Gap(0, 0, "", "")), self._drops.get(month)
            if drop is None:
                why = f"they are not there, and no event says that {month} was dropped"
                yield Finding("deleted row", gap.tree, gap.where, why)
            elif (drop.decisions, drop.seals) != (gap.decisions, gap.seals):
                counts = f"it names {drop.decisions} decisions of {drop.seals} seals"
                yield Finding("deleted row", "", drop.event, f"{counts}; {gap.decisions} of {gap.seals} are not there")
        for (whose, nouns), erased in self._erased.items():
            explained = self._explained[whose, nouns]
            if erased.fields > explained:
                why = f"{erased.fields} fields of {nouns} of {whose} are erased, the events explain {explained}"
                yield Finding("erased row", erased.tree, erased.where, why)

    @property
    def dropped(self) -> int:
        """The decisions that are not there, for whatever reason."""
        return sum(gap.decisions for gap in self._gaps.values())

    def drops(self) -> list[str]:
        """Describe each month that was dropped."""
        return [
            f"{drop.decisions} decisions of {month}, {drop.years} years after its end"
            for month, drop in sorted(self._drops.items())
        ]


def whose_address(content: JsonObject) -> str:
    """Return the person to whom the address of an event or a decision belongs."""
    if content["actor"]:
        return f"practitioner:{content['actor']}"
    return "operator" if content["client"] is None else f"client:{content['client']}"


def whose_reason(content: JsonObject) -> str:
    """Return the person to whom the reason of an event belongs: the patient, or the owner of a standing share."""
    owner = member(member(content["body"], "after"), "owner")
    if content["patient"] or not owner:
        return f"patient:{content['patient']}" if content["patient"] else "operator"
    return f"practitioner:{owner}"


# The decisions of a seal.


def describe_decisions(seal: JsonObject) -> str:
    """Return the name of the decisions of a seal, as a finding shows them."""
    return f"decisions {seal['first']} to {seal['last']}"


class Clock:
    """Remembers the latest instant of each kind of rows, to find rows that claim to be earlier than one before them."""

    def __init__(self, latest: dict[str, int]) -> None:
        self._latest = latest

    def find_fault(self, what: str, at: object) -> str:
        """Return what is wrong with the instant of the next row; an empty text if nothing is.

        The rows after a clock that was set back are compared with that clock.
        """
        if not isinstance(at, int):
            return ""  # a changed row, which its hash shows
        latest = self._latest.setdefault(what, at)
        back = at < latest - CLOCK_TOLERANCE
        if at > latest or back:
            self._latest[what] = at
        if back:
            return f"{(latest - at) // 1_000_000} s before one that was recorded earlier"
        return ""


def batch_faults(
    seal: JsonObject, root: bytes, marks: bytes, rows: Sequence[tuple[int, bytes]]
) -> list[tuple[str, str, str]]:
    """Return what is wrong with the decisions of a seal: the kind, where, and why of each fault.

    Each of the `rows` is the id of a decision and the hash of its leaf. `marks` are the first bytes of the hashes that
    were sealed. The root decides whether there is a fault; the marks show which row has it.
    """
    hashes = [leaf for _, leaf in rows]
    if root_of(hashes) == root:
        same = marks in (b"", b"".join([leaf[:MARK_BYTES] for leaf in hashes]))
        return [] if same else [("changed row", f"seal {seal['id']}", "its marks are not those of its decisions")]
    count, sealed = seal["count"], [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]
    faults = list(_named_faults(seal, sealed, rows)) if len(sealed) == count else []
    if 0 < len(faults) <= _MOST_COMPARED:
        return faults
    where = describe_decisions(seal)
    if len(hashes) == count:
        return [("changed row", where, "they are not what was sealed")]
    kind = "deleted row" if len(hashes) < count else "row without a leaf"
    return [(kind, where, f"{len(hashes)} rows are there, {count} were sealed")]


def _named_faults(
    seal: JsonObject, sealed: Sequence[bytes], rows: Sequence[tuple[int, bytes]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the changed, deleted and added rows.

    Rows whose marks were sealed are the fixed points; the rows between two of them are matched with the marks between.
    """
    places = {mark: place for place, mark in enumerate(sealed)}
    next_place, last_number, unmatched = 0, seal["first"] - 1, list[int]()
    for number, leaf in [*rows, (seal["last"] + 1, b"")]:  # the last one stands for the end
        place = places.get(leaf[:MARK_BYTES], -1) if leaf else len(sealed)
        if place < next_place:
            unmatched.append(number)
            continue
        for changed, _ in zip(unmatched, range(next_place, place), strict=False):
            yield "changed row", f"decision {changed}", "it is not what was sealed"
        for added in unmatched[place - next_place :]:
            yield "row without a leaf", f"decision {added}", "it was not sealed"
        lost = place - next_place - len(unmatched)
        if lost > 0:
            between = range(last_number + 1, number)
            if len(between) == lost + len(unmatched):
                names = [f"decision {gap}" for gap in between if gap not in unmatched]
                yield from (("deleted row", name, "it was sealed and is not there") for name in names)
            else:
                why = f"{lost} were sealed there and are not there"
                yield "deleted row", f"decisions between {last_number} and {number}", why
        next_place, last_number, unmatched = place + 1, number, []


# The verifier.


class LogVerifier:
    """Reads the lines of a log once, in their order, and reports what is proven and what is wrong.

    `kept` are checkpoints that the caller kept, `key` is the key that the caller trusts. `check_decisions` checks the
    decisions of seals, if they are not in the lines. `write` returns the bytes of a row. `now`, in microseconds, is the
    present: a month cannot have been dropped before its time.
    """

    def __init__(
        self,
        kept: Iterable[Note] = (),
        key: VerifierKey | None = None,
        *,
        check_decisions: "Callable[[LogVerifier], None] | None" = None,
        write: Callable[[object], bytes] = canonical,
        now: int | None = None,
    ) -> None:
        self.report = LogReport()
        self.absences = Absences(now)
        self._facts = FactComparison(write)
        self._complete = False
        self._check_decisions = check_decisions
        self._write = write
        self._key = key
        self._notes = [(note, "kept") for note in kept]
        self._tree: LogTree | None = None
        self._due: dict[int, list[tuple[Note, bool]]] = {}
        self._last: dict[str, int] = {}
        self._clock = Clock({})
        self._changed: list[tuple[int, JsonObject, str]] = []

    def read(self, lines: Iterable[JsonObject]) -> LogReport:
        """Read all lines and return the report. Raises `Malformed` for lines that are not those of a log."""
        readers = {
            "log": self._read_head,
            "checkpoint": self._read_checkpoint,
            "tree": self._begin_tree,
            "hash": self._read_leaf,
            "stray": self._read_stray,
            "wrong": self._read_fault,
            "fact": self._read_fact,
            "unread": self._read_unread,
            "unsealed": self._read_end,
        }
        try:
            for line in lines:
                reader = next((reader for member, reader in readers.items() if member in line), None)
                if reader:
                    reader(line)
            self._end_tree()
        except (KeyError, TypeError, AttributeError) as error:
            raise Malformed(f"this is no exported log: {error}") from error
        if not self._complete:
            raise Malformed("the log is damaged: its end is not there")
        if self._check_decisions:
            self._check_decisions(self)
        self._finish()
        return self.report

    # Lines outside of trees.

    def _read_head(self, line: JsonObject) -> None:
        if line["version"] == 1:
            self._complete = True  # the first version had no end
        else:
            self.report.facts = 0

    def _read_end(self, line: JsonObject) -> None:
        self._complete, self.report.unsealed = True, line["unsealed"]

    def _read_checkpoint(self, line: JsonObject) -> None:
        try:
            self._notes.append((Note.parse(line["checkpoint"]), "log"))
        except Malformed as error:
            self._add_finding("forged checkpoint", "a checkpoint of the log", str(error))

    def _read_stray(self, line: JsonObject) -> None:
        self._end_tree()
        self._add_finding("row without a leaf", line["stray"], "it is in no tree: it was added to the tables alone")

    def _read_fault(self, line: JsonObject) -> None:
        """Report a fault that only whoever reads the database itself can find."""
        self._end_tree()
        self.report.findings.append(Finding(line["wrong"], line["of"], line["where"], line["why"]))

    def _read_fact(self, line: JsonObject) -> None:
        self._end_tree()
        kind, why = self._facts.compare(line["fact"], line["row"])
        if kind:
            self._add_finding(kind, f"{line['fact']} {line['id']}", why)

    def _read_unread(self, line: JsonObject) -> None:
        self._end_tree()
        self.report.unread.append(str(line["unread"]))

    # A tree, from its first line to its last leaf.

    def _begin_tree(self, line: JsonObject) -> None:
        self._end_tree()
        self._tree = LogTree(line["tree"], line["origin"], line["size"], line["root"])
        self._last, self._clock, self._changed, self._due = {}, Clock({}), [], {}
        for note, source in self._notes:
            if note.origin == self._tree.origin:
                trusted = self._check_signature(note, source)
                self._due.setdefault(note.size, []).append((note, trusted))
        self._compare_checkpoints()

    def _check_signature(self, note: Note, source: str) -> bool:
        """Return whether a checkpoint is trusted; report a wrong signature."""
        fault = note.signature_fault(self._key) if self._key else ""
        if fault and source == "kept":
            self._add_finding("forged checkpoint", f"the checkpoint {note.size} that you kept", fault)
        elif fault:
            kind = "rewritten history" if "not signed" in fault else "forged checkpoint"
            self._add_finding(kind, f"checkpoint {note.size}", f"{fault}; nobody knows who signed it")
        return not fault and (source == "kept" or self._key is not None)

    def _read_leaf(self, line: JsonObject) -> None:
        tree = self._tree
        if tree is None:
            raise Malformed("a leaf stands before its tree")
        recorded, content, number = bytes.fromhex(line["hash"]), line["leaf"], tree.builder.size
        if line["number"] != number:
            self._add_finding("deleted row", f"leaf {number}", f"it is not there; the next is {line['number']}")
        if content is None:
            self._add_finding("deleted row", line["row"], "its leaf is there, the row is not")
        elif leaf_hash(self._write(content)) != recorded:
            self._add_finding("changed row", line["row"], "it is not what was hashed when it was recorded")
            if len(self._changed) < _MOST_COMPARED:
                self._changed.append((len(tree.findings) - 1, content, line["hash"]))
        else:
            self._check_order(content)
            if content["type"] == "event":
                self._read_event(line, content)
            elif not self._check_decisions:
                self._read_seal(tree, line, content)
        tree.rows += 1
        tree.builder.add(recorded)
        self._compare_checkpoints()

    def _check_order(self, content: JsonObject) -> None:
        """Report a leaf that stands behind one with a higher number, or that claims to be much earlier."""
        kind, number = content["type"], content["id"]
        if self._tree:
            self._tree.last_at = content["at"]
        if number <= self._last.get(kind, 0):
            why = f"it stands behind {kind} {self._last[kind]}"
            self._add_finding("swapped pair", f"{kind} {number}", why)
        self._last[kind] = number
        self._check_time(kind, number, content["at"])

    def _check_time(self, kind: str, number: int, at: int) -> None:
        fault = self._clock.find_fault(kind, at)
        if fault:
            self._add_finding("clock set back", f"{kind} {number}", fault)

    def _read_event(self, line: JsonObject, content: JsonObject) -> None:
        self._facts.add_event(content["id"], content["kind"], content["body"])
        self.absences.add_event(content)
        for name in line.get("erased", ()):
            whose = whose_address(content) if name == "address" else whose_reason(content)
            self.absences.add_erased(content["subscription"], whose, "events", line["row"])

    def _read_seal(self, tree: LogTree, line: JsonObject, seal: JsonObject) -> None:
        """Check the decisions of a seal, which stand in its line."""
        rows = line["rows"]
        if rows is None:
            self.absences.add_missing(tree.name, seal["month"], seal["count"], describe_decisions(seal))
            return
        tree.rows += len(rows)
        for row in rows:
            self._check_time("decision", row["id"], row["asked_at"])
            if row["id"] in line.get("erased", ()):
                self.absences.add_erased(tree.name, whose_address(row), "decisions", f"decision {row['id']}")
        hashed = [(row["id"], leaf_hash(self._write(row))) for row in rows]
        root, marks = bytes.fromhex(seal["root"]), bytes.fromhex(line.get("marks", ""))
        for kind, where, why in batch_faults(seal, root, marks, hashed):
            self._add_finding(kind, where, why)

    def _compare_checkpoints(self) -> None:
        """Compare the tree, at the size that it has reached, with the checkpoints of that size."""
        tree = self._tree
        if tree is None:
            return
        for note, trusted in self._due.pop(tree.builder.size, ()):
            if note.root != tree.builder.root:
                why = f"the checkpoint signed at {note.size} leaves has another root"
                self._add_finding("rewritten history", f"leaf {note.size - 1}", why)
            elif trusted:
                tree.proven, tree.proven_until = note.size, tree.last_at

    def _end_tree(self) -> None:
        """Finish the tree that is being read, if there is one."""
        tree = self._tree
        if tree is None:
            return
        size, root = tree.builder.size, tree.builder.root.hex()
        for signed_size in self._due:
            why = f"a checkpoint was signed at {signed_size} leaves, {size} are there"
            self._add_finding("truncated tail", f"leaf {size}", why)
        if (tree.claimed_size, tree.claimed_root) != (size, root):
            kind = "truncated tail" if size < tree.claimed_size else "changed row"
            why = f"the tree was {tree.claimed_size} leaves with another root"
            self._add_finding(kind, f"leaf {max(size - 1, 0)}", why)
        self._find_swapped(tree)
        self.report.trees.append(tree)
        self.report.rows += tree.rows
        self.report.findings += tree.findings
        self._tree = None

    def _find_swapped(self, tree: LogTree) -> None:
        """Report a swap instead of a change, if a changed row holds what another changed row held."""
        for index, (place, first, _) in enumerate(self._changed):
            for _, second, recorded in self._changed[index + 1 :]:
                if leaf_hash(self._write({**first, "id": second["id"]})).hex() == recorded:
                    where = f"{first['type']} {first['id']}"
                    why = f"it holds what {second['type']} {second['id']} held"
                    tree.findings[place] = Finding("swapped pair", tree.name, where, why)
                    return

    # The end.

    def _finish(self) -> None:
        """Report what only the whole log shows: missing facts, absences, checkpoints without a tree."""
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
                kind, why = "truncated tail", "its tree is not there"
                fault = note.signature_fault(self._key) if self._key and source == "kept" else ""
                if fault:
                    kind, why = "unusable checkpoint", f"{fault}: the file is damaged, or of another log"
                report.findings.append(Finding(kind, note.origin, f"checkpoint {note.size}", why))

    def _add_finding(self, kind: str, where: str, why: str) -> None:
        """Add a finding to the tree that is being read, or else to the report."""
        tree = self._tree.name if self._tree else ""
        (self._tree or self.report).findings.append(Finding(kind, tree, where, why))


# Proofs.


def check_proof(proof: JsonObject, key: VerifierKey | None) -> str:
    """Return a sentence that says what a proof proves. Raises `Malformed` if it does not prove that."""
    note = Note.parse(proof["checkpoint"])
    fault = note.signature_fault(key) if key else ""
    if fault:
        raise Malformed(f"the checkpoint: {fault}")
    path = [bytes.fromhex(node) for node in proof["path"]]
    if "old" in proof:
        return _check_consistency(Note.parse(proof["old"]), note, path, key)
    leaf, row = proof["leaf"], proof.get("row")
    if not is_included(note.root, note.size, proof["number"], leaf_hash(canonical(leaf)), path):
        raise Malformed("the leaf is not in the tree of the checkpoint")
    if row is None:
        return f"{note.origin}: {leaf['type']} {leaf['id']} is leaf {proof['number']} of {note.size}"
    path = [bytes.fromhex(node) for node in proof["row_path"]]
    root = bytes.fromhex(leaf["root"])
    if not is_included(root, leaf["count"], proof["row_number"], leaf_hash(canonical(row)), path):
        raise Malformed("the decision is not in the batch of its leaf")
    return f"{note.origin}: decision {row['id']} is in leaf {proof['number']} of {note.size}"


def _check_consistency(old: Note, new: Note, path: list[bytes], key: VerifierKey | None) -> str:
    fault = old.signature_fault(key) if key else ""
    if fault or old.origin != new.origin or not is_consistent(old.size, old.root, new.size, new.root, path):
        raise Malformed(f"the tree of {new.size} leaves does not begin with that of {old.size}; {fault}")
    return f"{new.origin}: the tree of {new.size} leaves begins with that of {old.size}"


# The command.


def describe_report(report: LogReport) -> Iterator[str]:
    """Yield a report as lines for people; the last line is the verdict."""
    for tree in report.trees:
        last = f", the last of {_describe_instant(tree.proven_until)}" if tree.proven else ""
        proven = f"{tree.proven} of {tree.builder.size} leaves proven{last}"
        yield f"{tree.origin}: {proven}; {tree.rows} rows, root {tree.builder.root.hex()}"
    yield from (f"finding: {finding}" for finding in report.findings)
    yield from (f"dropped, and not checked: {month}" for month in report.drops)
    yield str(report.verdict)


def _describe_instant(micros: int) -> str:
    """Return an instant of a leaf as text; a signed leaf may claim any number."""
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{micros} microseconds since 1970"


def _encoding_of(path: str) -> str:
    """Return the encoding of a log, which may be too large to decode at once."""
    with Path(path).open("rb") as file:
        begin = file.read(2)
    wide = begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if wide else "utf-16-le" if begin[1:] == b"\0" else "utf-8-sig"


def _verify_log(path: str, kept: list[Note], key: VerifierKey | None) -> LogReport:
    with nullcontext(sys.stdin) if path == "-" else Path(path).open(encoding=_encoding_of(path)) as log:
        return LogVerifier(kept, key, now=time.time_ns() // 1000).read(json.loads(line) for line in log)


def _main() -> int:
    parser = argparse.ArgumentParser(description="Verify an exported log of Caregrant, or a proof.")
    parser.add_argument("log", nargs="?", help="from caregrant audit export --format log; - reads standard input")
    parser.add_argument("--checkpoint", help="a file of checkpoints that you kept")
    parser.add_argument("--key", help="the log's verifier key, name+id+key; without a key no signature is checked")
    parser.add_argument("--proof", help="a file from caregrant audit prove, instead of a log")
    arguments = parser.parse_args()
    try:
        key = VerifierKey.parse(arguments.key) if arguments.key else None
        if arguments.proof:
            for line in decode_text(Path(arguments.proof).read_bytes()).splitlines():
                sys.stdout.write(check_proof(json.loads(line), key) + "\n")
            return 0
        if not arguments.log:
            parser.error("name a log or a proof")
        file = arguments.checkpoint
        kept = parse_notes(decode_text(Path(file).read_bytes())) if file else []
        report = _verify_log(arguments.log, kept, key)
    except (Malformed, OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"verify: {error}\n")
        return 1
    for line in describe_report(report):
        sys.stdout.write(line + "\n")
    return report.verdict.exit_code


if __name__ == "__main__":
    sys.exit(_main())
