"""Commitments to personal fields: the tree covers an address or a reason without holding it.

Each person has a secret of 32 random bytes; the commitment to a field of a row is the HMAC-SHA-256, under that secret,
of table, row, field and text. While the secret is there anybody who holds it can check the text. Erasing a person
deletes the secret: what remains is a number that tells nothing, and the tree stands.
"""

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from authz.database import Database
from authz.models import Erased
from authz.record.leaves import canonical
from authz.statements import ask_rows, rows_of, write_many

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
    return ask_secrets(database, whose, make=make)()


def ask_secrets(database: Database, whose: Iterable[str], *, make: bool = False) -> Callable[[], dict[str, bytes]]:
    """What waits for these secrets: inside `pipelined`, the question is on its way."""
    wanted = sorted(set(whose))
    if not wanted:
        return dict
    asked = ask_rows(database, _FOUND, wanted)

    def answer() -> dict[str, bytes]:
        rows = list(asked.fetchall())
        if make and len(rows) < len(wanted):
            fresh = set(wanted) - {name for name, _ in rows}
            write_many(database, _MADE, [(name, secrets.token_bytes(32)) for name in sorted(fresh)])
            rows += rows_of(database, _FOUND, sorted(fresh))
        return {name: bytes(value) for name, value in rows}

    return answer


def commitment(secret: bytes | None, noun: str, row: int, field: str, text: str) -> str:
    """The commitment to a field, in hexadecimal; to nothing it is nothing."""
    if not text:
        return ""
    return hmac.digest(secret or b"", canonical([noun, row, field, text]), "sha256").hex()


def erased(database: Database, noun: str, first: int, last: int) -> dict[tuple[int, str], str]:
    """The commitments that remain of erased fields of the rows with these ids, by row and field."""
    found = Erased.select(Erased.row, Erased.field, Erased.commitment).where(
        Erased.noun == noun, Erased.row.between(first, last)
    )
    return {(row, field): kept for row, field, kept in found.tuples().execute(database)}
