"""Commitments to personal fields: the tree covers an address or a reason without containing it.

Each person has a secret of 32 random bytes. The commitment to a field of a row is the HMAC-SHA-256, under that secret,
of table, row, field and text. Anybody who has the secret can check the text. To erase a person is to delete the secret:
the commitment that remains reveals nothing, and the tree is unchanged.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping

from authz.database import Database
from authz.database.statements import select_in, write_many
from authz.models import ErasedField
from authz.record.leaves import canonical, stored_bytes

_PERSON_LOCK, _STRIPES = 0x70657273, 64  # as authz/migrations/0008_commit_order.py has them
_SELECT = "SELECT whose, value FROM personal_secret WHERE whose"
_INSERT = "INSERT INTO personal_secret (whose, value) VALUES ({}, {}) ON CONFLICT (whose) DO NOTHING"


def address_owner(actor: str, client: int | None) -> str:
    """Return the person whose address it is: the practitioner who acted, else the app, else the operator."""
    if actor:
        return f"practitioner:{actor}"
    return "operator" if client is None else f"client:{client}"


def reason_owner(patient: str, body: Mapping[str, object]) -> str:
    """Return the person whom the reason of an event is about: the patient, or the owner of a standing share."""
    after = body.get("after") if isinstance(body, Mapping) else None
    owner = after.get("owner") if isinstance(after, Mapping) else None
    if patient or not owner:
        return f"patient:{patient}" if patient else "operator"
    return f"practitioner:{owner}"


def read_secrets(database: Database, persons: Iterable[str], *, create: bool = False) -> dict[str, bytes]:
    """Return the secrets of these persons; `create` creates the missing ones, else they are left out."""
    wanted = sorted(set(persons))
    if not wanted:
        return {}
    rows = select_in(database, _SELECT, wanted)
    if create and len(rows) < len(wanted):
        missing = sorted(set(wanted) - {person for person, _ in rows})
        write_many(database, _INSERT, [(person, secrets.token_bytes(32)) for person in missing])
        rows += select_in(database, _SELECT, missing)
    return {person: stored_bytes(value) for person, value in rows}


def lock_person(database: Database, person: str) -> None:
    """Lock the personal fields of this person: no event that contains one is committed until the transaction ends.

    It is an advisory lock of PostgreSQL; SQLite has one writer at a time.
    """
    if database.dialect == "postgresql":
        sql = "SELECT pg_advisory_xact_lock(%s, hashtext(%s) & %s)"
        database.execute_sql(sql, (_PERSON_LOCK, person, _STRIPES - 1))


def commitment(secret: bytes | None, noun: str, row: int, field: str, text: str) -> str:
    """Return the commitment to a field, in hexadecimal; empty for an empty text."""
    if not text:
        return ""
    return hmac.digest(secret or b"", canonical([noun, row, field, text]), "sha256").hex()


def erased_commitments(database: Database, noun: str, first: int, last: int) -> dict[tuple[int, str], str]:
    """Return the commitments to erased fields of the rows with ids from `first` to `last`, by row and field."""
    query = ErasedField.select(ErasedField.row, ErasedField.field, ErasedField.commitment).where(
        ErasedField.noun == noun, ErasedField.row.between(first, last)
    )
    return {(row, field): commitment for row, field, commitment in query.tuples().execute(database)}
