"""The facts that decide, as events tell them and as they stand: one list of every column that is read.

A fact of `NOUNS` begins and ends: its events tell the row before and after. A fact of `KEYED` has an id and changes:
each of its events tells the row as it stands afterwards, and the last one counts. What must not stand in an event (a
name, a login, the hash of a key) is told as a digest: the HMAC-SHA-256 under a secret of this database, which no event
and no export holds.
"""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson

from authz.database import Database
from authz.database.statements import select_in
from authz.domain import FOREVER_MICROS, Row, format_micros, to_micros
from authz.models import Grant, Licence, Membership, StandingShare
from authz.policy.history import hash_of_kept
from authz.record.commitments import secrets_of
from authz.record.leaves import canonical, foreign, parse_document, truth
from authz.texts import search_key

NOUNS = {"grant": Grant, "standing_share": StandingShare, "membership": Membership, "licence": Licence}
"""The facts with a life that events tell before and after."""

WHOSE = "facts"
"""Whose secret the digests are under (`commitments`): nobody's, so that it is never erased."""

Fact = tuple[str, str, Row]
"""A noun, the id of a row, and the row as events tell it."""

_TOLD = {
    noun: tuple(name for name in model._meta.fields if name not in ("id", "reason")) for noun, model in NOUNS.items()
}
_VALUES = {noun: itemgetter(*names) for noun, names in _TOLD.items()}
_ENTITY = ("pk", "type", "id", "properties", "subscription", "started_at", "ended_at")
_PAGE = 1000


@dataclass(frozen=True)
class Keyed:
    """The columns of a fact with an id: those that are told, and those that are part of the digest. `searched` are
    those from which the column `search_key` is made.
    """

    columns: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    numbered: bool = False


KEYED: dict[str, Keyed] = {
    "subscription": Keyed(private=("name",)),
    "practitioner": Keyed(private=("login", "name"), searched=("name", "login")),
    "patient": Keyed(
        ("subscription_id", "started_at", "ended_at"), ("name", "reference"), searched=("name", "reference")
    ),
    "client": Keyed(
        ("scopes", "subscription_id", "rate", "created_at", "revoked_at"), ("name", "key_hash"), numbered=True
    ),
    "review": Keyed(
        ("at", "campaign", "subscription_id", "grant_id", "standing_share_id", "reviewer_id", "verdict", "due_at"),
        numbered=True,
    ),
}
"""The facts with an id, by their noun, which is the name of their table."""


# As events tell them.


def fact_change(
    noun: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, **more: str
) -> dict[str, Any]:
    """The body of an event about a fact: the row before and after, as `told` tells it; `more` says which row."""
    return {**more, "before": before and told(noun, before), "after": after and told(noun, after)}


def told(noun: str, row: Mapping[str, Any]) -> Row:
    """A fact as events tell it: every column but its number and its free text; instants as RFC 3339, no end as null."""
    made = dict(zip(_TOLD[noun], _VALUES[noun](row), strict=True))
    made["started_at"], made["ended_at"] = _when(made["started_at"]), _when(made["ended_at"])
    if "content" in made:
        made["content"] = truth(made["content"])
    return made


def serialize_entity(row: Mapping[str, Any], links: Mapping[str, str]) -> Row:
    """A version of an entity as events tell it: its relations, and of its other properties a digest alone."""
    properties = [row["type"], row["id"], row["properties"]]
    held = orjson.dumps(properties, option=orjson.OPT_SORT_KEYS, default=foreign)
    return {
        "type": row["type"],
        "id": row["id"],
        "subscription": row["subscription"],
        "links": dict(links),
        "digest": hashlib.sha256(held).hexdigest(),
        "started_at": _when(row["started_at"]),
        "ended_at": _when(row["ended_at"]),
    }


def _when(value: Any) -> Any:
    """An instant as RFC 3339; for ever as null. What is no instant stays, and differs."""
    try:
        return _formatted(value) if isinstance(value, int | datetime) else value
    except OverflowError:
        return value


@lru_cache(maxsize=1000)
def _formatted(value: datetime | int) -> str | None:
    micros = to_micros(value) if isinstance(value, datetime) else value
    return None if micros == FOREVER_MICROS else format_micros(micros)


def tell_keyed(database: Database, noun: str, keys: Iterable[str]) -> dict[str, Row]:
    """Facts of `KEYED` as they stand in this transaction, by their ids."""
    wanted: Any = sorted(map(int, keys) if KEYED[noun].numbered else keys)
    secret = secrets_of(database, [WHOSE], make=True)[WHOSE]
    rows = select_in(database, f"{_select(noun)} WHERE id", wanted)
    return {str(row[0]): _tell(noun, row, secret) for row in rows}


def _select(noun: str) -> str:
    keyed = KEYED[noun]
    columns = ("id", *keyed.columns, *keyed.private, *(("search_key",) if keyed.searched else ()))
    return f"SELECT {', '.join(columns)} FROM {noun}"


def _tell(noun: str, row: Sequence[Any], secret: bytes) -> Row:
    """Tell a row of `_select`."""
    keyed, key = KEYED[noun], str(row[0])
    values = dict(zip((*keyed.columns, *keyed.private), row[1:], strict=False))
    made: Row = {noun: key}
    for name in keyed.columns:
        made[name.removesuffix("_id")] = _when(values[name]) if name.endswith("at") else values[name]
    if keyed.private:
        held = canonical([noun, key, *(values[name] for name in keyed.private)])
        made["digest"] = hmac.digest(secret, held, "sha256").hex()
    if keyed.searched and row[-1] != _search_key([values[name] for name in keyed.searched]):
        made["search_key"] = row[-1]  # no event tells a key that is not made of the other columns
    return made


def _search_key(texts: Sequence[Any]) -> str:
    return search_key(*texts) if all(isinstance(text, str) for text in texts) else ""


# As they stand.


def stored_facts(database: Database) -> Iterator[Fact]:
    """Every fact as it stands, in bounded memory. A value that is none of its column is shown as it is stored."""
    yield from standing_keyed(database)
    for noun, model in NOUNS.items():
        columns = ", ".join(model._meta.fields[name].column_name for name in ("id", *_TOLD[noun]))
        for rows in pages(database, f'SELECT {columns} FROM "{noun}"', "id"):
            for number, *values in rows:
                yield noun, str(number), told(noun, dict(zip(_TOLD[noun], values, strict=True)))
    for rows in pages(database, f"SELECT {', '.join(_ENTITY)} FROM entity", "pk"):
        yield from _entities(database, rows)
    for rows in pages(database, "SELECT version, files FROM policy_text", "version"):
        for version, files in rows:
            hashed = hash_of_kept(parse_document(files))
            other_text = {} if hashed == version else {"hash": hashed}
            yield "policy", str(version), {"version": version, **other_text}


def unreadable_nouns(database: Database) -> list[str]:
    """The nouns of `KEYED` of which this account may not read every column: an auditor of PostgreSQL without names."""
    if database.dialect == "sqlite":
        return []
    may = "SELECT has_column_privilege(CAST(%s AS TEXT), CAST(%s AS TEXT), 'SELECT')"
    return [
        noun
        for noun, keyed in KEYED.items()
        if not all(database.execute_sql(may, (noun, name)).fetchone()[0] for name in keyed.private)
    ]


def standing_keyed(database: Database) -> Iterator[Fact]:
    """The facts of `KEYED` among them that this account may read."""
    secret = secrets_of(database, [WHOSE]).get(WHOSE, b"")
    hidden = unreadable_nouns(database)
    for noun in (one for one in KEYED if one not in hidden):
        for rows in pages(database, _select(noun), "id"):
            yield from ((noun, str(row[0]), _tell(noun, row, secret)) for row in rows)


def pages(database: Database, select: str, key: str) -> Iterator[list[Sequence[Any]]]:
    """The rows of a table, some at a time, by its key, which is the first column."""
    rows = database.execute_sql(f"{select} ORDER BY {key} LIMIT {_PAGE}").fetchall()
    while rows:
        yield rows
        sql = f"{select} WHERE {key} > {database.param} ORDER BY {key} LIMIT {_PAGE}"
        rows = database.execute_sql(sql, (rows[-1][0],)).fetchall()


def _entities(database: Database, rows: list[Sequence[Any]]) -> Iterator[Fact]:
    links: dict[int, dict[str, Any]] = defaultdict(dict)
    types: dict[int, set[Any]] = defaultdict(set)
    found = select_in(
        database,
        "SELECT entity_id, property, type, target FROM entity_link WHERE entity_id",
        [row[0] for row in rows],
    )
    for version, name, kind, target in found:
        links[version][name] = target
        types[version].add(kind)
    for values in rows:
        row = dict(zip(_ENTITY, values, strict=True))
        made = serialize_entity({**row, "properties": parse_document(row["properties"])}, links[row["pk"]])
        if types[row["pk"]] - {row["type"]}:
            made["link_types"] = sorted(map(str, types[row["pk"]]))  # no event tells links of another type
        yield "entity", str(row["pk"]), made
