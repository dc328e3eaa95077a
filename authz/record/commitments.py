"""Commitments to personal fields: the tree covers an address or a reason without holding it.

Each person has a secret of 32 random bytes; the commitment to a field of a row is the HMAC-SHA-256, under that secret,
of table, row, field and text. While the secret is there anybody who holds it can check the text. Erasing a person
deletes the secret: what remains is a number that tells nothing, and the tree stands.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from authz.database import Database
from authz.database.statements import select_in, write_many
from authz.models import ErasedField
from authz.record.leaves import canonical, stored_bytes

_PERSON, _STRIPES = 0x70657273, 64  # as authz/migrations/0008_commit_order.py has them
_FOUND = "SELECT whose, value FROM personal_secret WHERE whose"
_MADE = "INSERT INTO personal_secret (whose, value) VALUES ({}, {}) ON CONFLICT (whose) DO NOTHING"


def whose_address(actor: str, client: int | None) -> str:
    """Whose an address is: the practitioner's who acted, else the app's, else the operator's."""
    if actor:
        return f"practitioner:{actor}"
    return "operator" if client is None else f"client:{client}"


def whose_reason(patient: str, body: Mapping[str, Any]) -> str:
    """Whose data the reason of an event is: the patient's it is about; of a standing share, its owner's."""
    after = body.get("after") if isinstance(body, Mapping) else None
    owner = after.get("owner") if isinstance(after, Mapping) else None
    if patient or not owner:
        return f"patient:{patient}" if patient else "operator"
    return f"practitioner:{owner}"


def secrets_of(database: Database, whose: Iterable[str], *, make: bool = False) -> dict[str, bytes]:
    """The secrets of these persons; `make` makes those that are not there. Others are left out."""
    wanted = sorted(set(whose))
    if not wanted:
        return {}
    rows = select_in(database, _FOUND, wanted)
    if make and len(rows) < len(wanted):
        fresh = sorted(set(wanted) - {name for name, _ in rows})
        write_many(database, _MADE, [(name, secrets.token_bytes(32)) for name in fresh])
        rows += select_in(database, _FOUND, fresh)
    return {name: stored_bytes(value) for name, value in rows}


def lock_person(database: Database, whose: str) -> None:
    """Wait until no event that holds personal fields of this person is being committed, and keep others from beginning,
    until the transaction ends. PostgreSQL's advisory lock; on SQLite whoever writes is alone.
    """
    if database.dialect == "postgresql":
        database.execute_sql("SELECT pg_advisory_xact_lock(%s, hashtext(%s) & %s)", (_PERSON, whose, _STRIPES - 1))


def commitment(secret: bytes | None, noun: str, row: int, field: str, text: str) -> str:
    """The commitment to a field, in hexadecimal; to nothing it is nothing."""
    if not text:
        return ""
    return hmac.digest(secret or b"", canonical([noun, row, field, text]), "sha256").hex()


def erased(database: Database, noun: str, first: int, last: int) -> dict[tuple[int, str], str]:
    """The commitments that remain of erased fields of the rows with these ids, by row and field."""
    found = ErasedField.select(ErasedField.row, ErasedField.field, ErasedField.commitment).where(
        ErasedField.noun == noun, ErasedField.row.between(first, last)
    )
    return {(row, field): kept for row, field, kept in found.tuples().execute(database)}
