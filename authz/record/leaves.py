"""The bytes of a leaf, version 1: what the trees cover.

docs/reference/record.md describes them for outside verifiers.

A row becomes a JSON object, encoded by RFC 8785. It contains commitments instead of personal fields (`commitments`), so
that a person's data can be erased without a change to the tree. The format is frozen: another format is another
version.
"""

import json
from collections.abc import Mapping

import orjson

from authz.domain import Row

VERSION = 1

EVENT_FIELDS = (
    "id",
    "at",
    "kind",
    "subscription",
    "patient",
    "actor",
    "client",
    "request_id",
    "address",
    "reason",
    "body",
)
"""The columns of an event, in the order of `event_leaf`; its leaf contains all."""

DECISION_FIELDS = (
    "id",
    "at",
    "asked_at",
    "client",
    "request_id",
    "subject_type",
    "subject",
    "action",
    "resource_type",
    "resource",
    "allowed",
    "reason",
    "rule",
    "grant",
    "standing_share",
    "policy_version",
    "actor",
    "address",
    "purpose",
    "size",
    "subscription",
    "membership",
)
"""The columns of a decision; its leaf contains all."""


def canonical(value: object) -> bytes:
    """Encode a value of the record by RFC 8785: ASCII keys, strings, integers below 2^53, booleans and null.

    For these values orjson writes the canonical bytes, forty times as fast as the library in Python; the tests compare
    the two.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=mark_foreign)


def mark_foreign(value: object) -> dict[str, str]:
    """Return a JSON form for a value of a type that the record never holds, so that the hash of its row differs."""
    return {"foreign": f"{type(value).__name__} {value!r}"}


def stored_bytes(stored: object) -> bytes:
    """Return stored bytes; a value of another type becomes other bytes, so that its hash differs."""
    return bytes(stored) if isinstance(stored, bytes | bytearray | memoryview) else canonical(mark_foreign(stored))


def parse_document(stored: object) -> object:
    """Parse a JSON document as SQL does.

    A text that is no JSON, or that contains a name twice, so that readers may disagree, is marked as foreign.
    """
    if not isinstance(stored, str | bytes):
        return stored
    try:
        parsed = orjson.loads(stored)
        if canonical(parsed) != (stored.encode() if isinstance(stored, str) else stored):
            json.loads(stored, object_pairs_hook=_unique)
    except ValueError:
        return mark_foreign(stored)
    return parsed


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")


def event_leaf(row: Mapping[str, object], address: str | orjson.Fragment, reason: str | orjson.Fragment) -> Row:
    """Return the content of the leaf of an event, a row of `EVENT_FIELDS`; `address` and `reason` are commitments."""
    return {**row, "v": VERSION, "type": "event", "address": address, "reason": reason}


def parse_boolean(stored: object) -> object:
    """Return a stored boolean, 0 or 1 on SQLite, as bool; anything else is returned, so that its hash differs."""
    return bool(stored) if type(stored) in (bool, int) and stored in (0, 1) else stored


def decision_leaf(row: Mapping[str, object], address: str) -> Row:
    """Return the content of the leaf of a decision in the tree of its batch; `address` is a commitment."""
    return {**row, "v": VERSION, "type": "decision", "allowed": parse_boolean(row["allowed"]), "address": address}


def seal_leaf(row: Mapping[str, object]) -> Row:
    """Return the content of the leaf of a sealed batch of decisions: which, how many, and the root over them."""
    columns = {name: row[name] for name in ("id", "at", "subscription", "month", "first", "last", "upto", "count")}
    return {**columns, "v": VERSION, "type": "seal", "root": stored_bytes(row["root"]).hex()}
