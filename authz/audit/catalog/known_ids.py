"""Refuse an id that never existed, so that a typing error is an error and never an empty answer.

An id is known if the database holds such a row, ended or not. The error names the most similar id that is known.
"""

from difflib import get_close_matches

from peewee import Expression, Field, ModelSelect, fn

from authz.database import Database, database_connection
from authz.errors import InvalidInput
from authz.models import Entity, Patient, Practitioner, Review, Subscription
from authz.policy.decision import Ref
from authz.texts import LONGEST_ID, quote_value

_COLUMNS: dict[str, Field] = {
    "patient": Patient.id,
    "practitioner": Practitioner.id,
    "subscription": Subscription.id,
    "campaign": Review.campaign,
}
_MOST_COMPARED = 10_000
_SIMILAR = 0.5


def require_known(database: Database, noun: str, name: object) -> str:
    """Return the id of a patient, practitioner, subscription or campaign. Raises `InvalidInput` for an unknown id."""
    return _require(database, noun, name, _COLUMNS[noun])


def require_known_ref(database: Database, ref: Ref) -> None:
    """Raise `InvalidInput` if no row of the type of a ``type:id`` ever had its id.

    Nothing is known of a type without rows: the policy refuses an unknown type.
    """
    kind, name = ref
    if kind in _COLUMNS:
        require_known(database, kind, name)
    else:
        with database_connection(database):
            has_rows = Entity.select().where(Entity.type == kind).exists(database)
        if has_rows:
            _require(database, kind, name, Entity.id, Entity.type == kind)


def _require(database: Database, noun: str, name: object, column: Field, condition: Expression | None = None) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_ID or "\0" in name:
        raise InvalidInput(f"{noun}: an id of 1 to {LONGEST_ID} characters, not {quote_value(name)}")
    with database_connection(database):
        if _select(column, condition).where(column == name).exists(database):
            return name
        similar = _similar(database, name, column, condition)
    hint = f"; did you mean {similar}?" if similar else ""
    raise InvalidInput(f"no {noun} {quote_value(name).strip(chr(39))}{hint}")


def _similar(database: Database, name: str, column: Field, condition: Expression | None) -> str | None:
    """Return the known id that is most like `name`.

    This is the id with the login `name`, else the id with the same letters and digits, else a similar id of about the
    same length.
    """
    if "@" in name and column is Practitioner.id:
        return _first(database, _select(column).where(Practitioner.login == name.strip().lower()))
    folded = fn.REPLACE(fn.REPLACE(fn.REPLACE(fn.LOWER(column), "-", ""), "_", ""), " ", "")
    same = _first(database, _select(column, condition).where(folded == _fold(name)).order_by(column))
    if same is not None:
        return same
    length = fn.LENGTH(column).between(len(name) - 2, len(name) + 2)
    rows = _select(column, condition).where(length).distinct().order_by(column).limit(_MOST_COMPARED)
    ids = {_fold(stored): stored for (stored,) in rows.tuples().execute(database)}
    return next((ids[match] for match in get_close_matches(_fold(name), ids, n=1, cutoff=_SIMILAR)), None)


def _select(column: Field, condition: Expression | None = None) -> ModelSelect:
    query: ModelSelect = column.model.select(column)
    return query if condition is None else query.where(condition)


def _first(database: Database, query: ModelSelect) -> str | None:
    return next((row[0] for row in query.limit(1).tuples().execute(database)), None)


def _fold(name: str) -> str:
    """Return a name in lower case without hyphens, underscores and blanks."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
