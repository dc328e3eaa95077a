"""The bytes of a leaf, version 1: what of the record the trees cover. docs/audit.md tells them to an outside verifier.

A row is told as a JSON object and written by RFC 8785. Personal fields stand in it as commitments (`commitments`), so
that a person's data may be erased and the tree still stands. What is here is frozen: another form is another version.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

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
"""The columns of an event, in the order in which they are written; its leaf tells all."""

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
"""The columns of a decision that its leaf tells: all."""


def canonical(value: Any) -> bytes:
    """A value by RFC 8785, as far as the record holds values: ASCII keys, strings, whole numbers below 2^53, booleans,
    null. For these orjson writes the same bytes as the canonical form, forty times as fast as the library in Python;
    the tests compare the two.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=foreign)


def foreign(value: object) -> dict[str, str]:
    """Write a value of a type that the record never holds: the row's hash then differs from the recorded one."""
    return {"foreign": f"{type(value).__name__} {value!r}"}


def stored_bytes(stored: Any) -> bytes:
    """Bytes as they are stored; what is none is shown, and differs."""
    return bytes(stored) if isinstance(stored, bytes | bytearray | memoryview) else canonical(foreign(stored))


def parse_document(stored: Any) -> Any:
    """Read a JSON document as SQL reads it. A text that is none, or in which a name stands twice, so that readers may
    differ about it, is shown as it is stored.
    """
    if not isinstance(stored, str | bytes):
        return stored
    try:
        parsed = orjson.loads(stored)
        if canonical(parsed) != (stored.encode() if isinstance(stored, str) else stored):
            json.loads(stored, object_pairs_hook=_unique)
    except ValueError:
        return foreign(stored)
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")


def event_leaf(row: Mapping[str, Any], address: str, reason: str) -> dict[str, Any]:
    """What the leaf of an event, a row of `EVENT_FIELDS`, tells; `address` and `reason` are the commitments to them."""
    return {**row, "v": VERSION, "type": "event", "address": address, "reason": reason}


def truth(stored: object) -> object:
    """Read a stored truth value: SQLite keeps 0 and 1. Anything else stays as it is stored and hashes otherwise."""
    return bool(stored) if type(stored) in (bool, int) and stored in (0, 1) else stored


def decision_leaf(row: Mapping[str, Any], address: str) -> dict[str, Any]:
    """What a decision's own leaf, in the tree of its batch, tells."""
    return {**row, "v": VERSION, "type": "decision", "allowed": truth(row["allowed"]), "address": address}


def seal_leaf(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the leaf of a sealed batch of decisions tells: which they are, how many, and the root over them."""
    told = {name: row[name] for name in ("id", "at", "subscription", "month", "first", "last", "upto", "count")}
    return {**told, "v": VERSION, "type": "seal", "root": stored_bytes(row["root"]).hex()}
