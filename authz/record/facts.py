"""The facts that decide, as events serialize them and as they are stored: one list of every column that is read.

A fact of `NOUNS` begins and ends: its events hold the row before and after. A fact of `KEYED` has an id and changes:
each of its events holds the row after the change, and the last event counts. A column that an event must not contain
(a name, a login, the hash of a key) is part of a digest: the HMAC-SHA-256 under a secret of this database, which no
event and no export contains.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson

from authz.database import Database
from authz.database.statements import select_in
from authz.domain import EPOCH, FOREVER_MICROS, Row, format_micros, to_micros
from authz.models import Grant, Licence, Membership, StandingShare
from authz.policy.history import hash_of_kept
from authz.record.commitments import read_secrets
from authz.record.leaves import canonical, mark_foreign, parse_boolean, parse_document
from authz.record.links import Link, read_links, serialize_links
from authz.texts import search_key

NOUNS = {"grant": Grant, "standing_share": StandingShare, "membership": Membership, "licence": Licence}
"""The facts with a life, whose events hold the row before and after."""

DIGEST_OWNER = "facts"
"""The owner of the secret for digests (`commitments`): no person, so that the secret is never erased."""

FactRow = tuple[str, str, Row]
"""A noun, the id of a row, and the row as events serialize it."""

_COLUMNS = {
    noun: tuple(name for name in model._meta.fields if name not in ("id", "reason")) for noun, model in NOUNS.items()
}
_VALUES = {noun: itemgetter(*names) for noun, names in _COLUMNS.items()}
_ENTITY_COLUMNS = ("pk", "type", "id", "properties", "subscription", "started_at", "ended_at")
_PAGE = 1000
_NEVER = (0, EPOCH)


@dataclass(frozen=True)
class KeyedFact:
    """The columns of a fact with an id: those that events contain, and the private ones, which the digest covers.

    The column `search_key` is made from the columns `searched`. A column of `defaults` is not in the events while it
    has its default value, so that events from before the column existed stay true.
    """

    columns: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    numbered: bool = False
    defaults: Mapping[str, object] = field(default_factory=dict)


KEYED: dict[str, KeyedFact] = {
    "subscription": KeyedFact(("time_zone",), ("name",), defaults={"time_zone": "UTC"}),
    "practitioner": KeyedFact(private=("login", "name"), searched=("name", "login")),
    "patient": KeyedFact(
        ("subscription_id", "started_at", "ended_at"), ("name", "reference"), searched=("name", "reference")
    ),
    "client": KeyedFact(
        ("scopes", "subscription_id", "rate", "created_at", "revoked_at"), ("name", "key_hash"), numbered=True
    ),
    "review": KeyedFact(
        ("at", "campaign", "subscription_id", "grant_id", "standing_share_id", "reviewer_id", "verdict", "due_at"),
        numbered=True,
    ),
    "emergency": KeyedFact(
        (
            "grant_id",
            "subscription_id",
            "purpose",
            "started_at",
            "ends_at",
            "due_at",
            "reviewer_id",
            "reviewed_at",
            "verdict",
        ),
        numbered=True,
    ),
}
"""The facts with an id, by their noun, which is the name of their table."""


# As events serialize them.


def fact_change(noun: str, before: Mapping[str, object] | None, after: Mapping[str, object] | None, **more: str) -> Row:
    """Return the body of an event about a fact: the serialized row before and after; `more` identifies the row."""
    return {**more, "before": before and serialize_fact(noun, before), "after": after and serialize_fact(noun, after)}


def serialize_fact(noun: str, row: Mapping[str, object]) -> Row:
    """Return a fact as events contain it: every column but id and free text.

    Instants are in RFC 3339; an end at `FOREVER` is null. `undo_until` is left out if it is zero.
    """
    fact = dict(zip(_COLUMNS[noun], _VALUES[noun](row), strict=True))
    fact["started_at"], fact["ended_at"] = _serialize_instant(fact["started_at"]), _serialize_instant(fact["ended_at"])
    undo_until = fact.pop("undo_until", 0)
    if undo_until not in _NEVER:
        fact["undo_until"] = _serialize_instant(undo_until)
    if "content" in fact:
        fact["content"] = parse_boolean(fact["content"])
    return fact


def serialize_entity(row: Mapping[str, object], links: Mapping[str, Link]) -> Row:
    """Return a version of an entity as events contain it: its relations, and a digest of its other properties."""
    properties = [row["type"], row["id"], row["properties"]]
    encoded = orjson.dumps(properties, option=orjson.OPT_SORT_KEYS, default=mark_foreign)
    return {
        "type": row["type"],
        "id": row["id"],
        "subscription": row["subscription"],
        "links": serialize_links(links),
        "digest": hashlib.sha256(encoded).hexdigest(),
        "started_at": _serialize_instant(row["started_at"]),
        "ended_at": _serialize_instant(row["ended_at"]),
    }


def _serialize_instant(value: object) -> object:
    """Return an instant in RFC 3339, `FOREVER` as None; a value that is no instant is returned, and will differ."""
    try:
        return _format_or_none(value) if isinstance(value, int | datetime) else value
    except OverflowError:
        return value


@lru_cache(maxsize=1000)
def _format_or_none(value: datetime | int) -> str | None:
    micros = to_micros(value) if isinstance(value, datetime) else value
    return None if micros == FOREVER_MICROS else format_micros(micros)


def serialize_keyed(database: Database, noun: str, keys: Iterable[str]) -> dict[str, Row]:
    """Return facts of `KEYED` as they are stored in this transaction, by their ids."""
    wanted: Any = sorted(map(int, keys) if KEYED[noun].numbered else keys)
    secret = read_secrets(database, [DIGEST_OWNER], create=True)[DIGEST_OWNER]
    rows = select_in(database, f"{_select(noun)} WHERE id", wanted)
    return {str(row[0]): _serialize_row(noun, row, secret) for row in rows}


def _select(noun: str) -> str:
    keyed = KEYED[noun]
    columns = ("id", *keyed.columns, *keyed.private, *(("search_key",) if keyed.searched else ()))
    return f"SELECT {', '.join(columns)} FROM {noun}"


def _serialize_row(noun: str, row: Sequence[object], secret: bytes) -> Row:
    """Serialize a row of `_select`."""
    keyed, key = KEYED[noun], str(row[0])
    values = dict(zip((*keyed.columns, *keyed.private), row[1:], strict=False))
    fact: Row = {noun: key}
    for name in keyed.columns:
        if name in keyed.defaults and values[name] == keyed.defaults[name]:
            continue
        fact[name.removesuffix("_id")] = _serialize_instant(values[name]) if name.endswith("at") else values[name]
    if keyed.private:
        private = canonical([noun, key, *(values[name] for name in keyed.private)])
        fact["digest"] = hmac.digest(secret, private, "sha256").hex()
    if keyed.searched and row[-1] != _search_key([values[name] for name in keyed.searched]):
        fact["search_key"] = row[-1]  # a forged key: no event contains a key that is not made of the other columns
    return fact


def _search_key(texts: Sequence[Any]) -> str:
    return search_key(*texts) if all(isinstance(text, str) for text in texts) else ""


# As they are stored.


def stored_facts(database: Database) -> Iterator[FactRow]:
    """Yield every stored fact, in bounded memory; a value of the wrong type is shown as it is stored."""
    yield from stored_keyed_facts(database)
    for noun, model in NOUNS.items():
        columns = ", ".join(model._meta.fields[name].column_name for name in ("id", *_COLUMNS[noun]))
        for rows in read_pages(database, f'SELECT {columns} FROM "{noun}"', "id"):
            for row_id, *values in rows:
                yield noun, str(row_id), serialize_fact(noun, dict(zip(_COLUMNS[noun], values, strict=True)))
    for rows in read_pages(database, f"SELECT {', '.join(_ENTITY_COLUMNS)} FROM entity", "pk"):
        yield from _stored_entities(database, rows)
    for rows in read_pages(database, "SELECT version, files FROM policy_text", "version"):
        for version, files in rows:
            text_hash = hash_of_kept(parse_document(files))
            forged = {} if text_hash == version else {"hash": text_hash}
            yield "policy", str(version), {"version": version, **forged}


def unreadable_nouns(database: Database, nouns: Collection[str] = KEYED) -> list[str]:
    """Return those of these nouns with a column that this account of PostgreSQL, an auditor's, may not read."""
    if database.dialect == "sqlite":
        return []
    sql = "SELECT has_column_privilege(CAST(%s AS TEXT), CAST(%s AS TEXT), 'SELECT')"
    return [
        noun
        for noun, keyed in KEYED.items()
        if noun in nouns
        and not all(database.execute_sql(sql, (noun, name)).fetchone()[0] for name in (*keyed.columns, *keyed.private))
    ]


def stored_keyed_facts(database: Database, nouns: Collection[str] = KEYED) -> Iterator[FactRow]:
    """Yield every stored fact of these nouns of `KEYED` that this account may read."""
    secret = read_secrets(database, [DIGEST_OWNER]).get(DIGEST_OWNER, b"")
    hidden = unreadable_nouns(database, nouns)
    for noun in (noun for noun in nouns if noun not in hidden):
        for rows in read_pages(database, _select(noun), "id"):
            yield from ((noun, str(row[0]), _serialize_row(noun, row, secret)) for row in rows)


def read_pages(database: Database, select: str, key: str) -> Iterator[list[Sequence[Any]]]:
    """Yield the rows of a table in pages, ordered by its key, which is the first column."""
    rows = database.execute_sql(f"{select} ORDER BY {key} LIMIT {_PAGE}").fetchall()
    while rows:
        yield rows
        sql = f"{select} WHERE {key} > {database.param} ORDER BY {key} LIMIT {_PAGE}"
        rows = database.execute_sql(sql, (rows[-1][0],)).fetchall()


def _stored_entities(database: Database, rows: list[Sequence[Any]]) -> Iterator[FactRow]:
    links, types = read_links(database, [row[0] for row in rows])
    for values in rows:
        row = dict(zip(_ENTITY_COLUMNS, values, strict=True))
        entity = serialize_entity({**row, "properties": parse_document(row["properties"])}, links[row["pk"]])
        if types[row["pk"]] - {row["type"]}:
            entity["link_types"] = sorted(map(str, types[row["pk"]]))  # no event contains links of another type
        yield "entity", str(row["pk"]), entity
