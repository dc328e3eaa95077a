"""Refuse an id that is not there: a typing error is an error and never an empty answer.

An id is known if there is, or ever was, such a row. The error names the most similar id that is known.
"""

from difflib import get_close_matches
from typing import Any

from peewee import fn

from authz.database import Database, database_connection
from authz.errors import InvalidInput
from authz.models import Entity, Patient, Practitioner, Review, Subscription
from authz.policy.decision import Ref
from authz.texts import LONGEST_ID, quote_value

_COLUMNS: dict[str, Any] = {
    "patient": Patient.id,
    "practitioner": Practitioner.id,
    "subscription": Subscription.id,
    "campaign": Review.campaign,
}
_MOST_COMPARED = 10_000
_SIMILAR = 0.5


def require_known(database: Database, noun: str, name: object) -> str:
    """Return the id of a patient, practitioner, subscription or campaign. Raises `InvalidInput` if it never was."""
    return _require(database, noun, name, _COLUMNS[noun], None)


def require_known_ref(database: Database, ref: Ref) -> None:
    """Raise `InvalidInput` for ``type:id`` if there never was such a row; other types are for the policy to refuse."""
    kind, name = ref
    if kind in _COLUMNS:
        require_known(database, kind, name)
    else:
        with database_connection(database):
            declared = Entity.select().where(Entity.type == kind).exists(database)
        if declared:
            _require(database, kind, name, Entity.id, Entity.type == kind)


def _require(database: Database, noun: str, name: object, column: Any, among: Any) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_ID or "\0" in name:
        raise InvalidInput(f"{noun}: an id of 1 to {LONGEST_ID} characters, not {quote_value(name)}")
    with database_connection(database):
        if _select(column, among).where(column == name).exists(database):
            return name
        near = _similar(database, name, column, among)
    hint = f"; did you mean {near}?" if near else ""
    raise InvalidInput(f"no {noun} {quote_value(name).strip(chr(39))}{hint}")


def _similar(database: Database, name: str, column: Any, among: Any) -> str | None:
    """The known id most like `name`: the one with its login, with its letters and digits, or of about its length."""
    if "@" in name and column is Practitioner.id:
        return _first(database, _select(column, None).where(Practitioner.login == name.strip().lower()))
    plain = fn.REPLACE(fn.REPLACE(fn.REPLACE(fn.LOWER(column), "-", ""), "_", ""), " ", "")
    same = _first(database, _select(column, among).where(plain == _plain(name)).order_by(column))
    if same is not None:
        return same
    length = fn.LENGTH(column).between(len(name) - 2, len(name) + 2)
    rows = _select(column, among).where(length).distinct().order_by(column).limit(_MOST_COMPARED)
    ids = {_plain(one): one for (one,) in rows.tuples().execute(database)}
    return next((ids[one] for one in get_close_matches(_plain(name), ids, n=1, cutoff=_SIMILAR)), None)


def _select(column: Any, among: Any) -> Any:
    query = column.model.select(column)
    return query if among is None else query.where(among)


def _first(database: Database, query: Any) -> str | None:
    return next((row[0] for row in query.limit(1).tuples().execute(database)), None)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
