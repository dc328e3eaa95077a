"""The patients that a person has selected in lists, until they act on them: kept for the time of one sign-in.

A selection decides nothing: each form asks again who the patients are and what may be done to them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from authz.database import Database, database_connection
from authz.domain import to_micros
from authz.models import KeptSelection

KEPT_FOR = timedelta(hours=12)
"""A selection that was not changed for this time is deleted."""


def kept_patients(database: Database, practitioner: str, token: str) -> list[str]:
    """Return the ids that the practitioner selected under this token, in the order in which they were selected."""
    own = (KeptSelection.token == token, KeptSelection.practitioner == practitioner)
    with database_connection(database):
        rows = KeptSelection.select(KeptSelection.patients).where(*own).tuples().execute(database)
        return [patient for (patients,) in rows for patient in patients.split("\n")]


def keep_patients(database: Database, practitioner: str, token: str, patients: Sequence[str], *, now: datetime) -> None:
    """Keep these ids, and no others, as the practitioner's selection under this token; delete old selections."""
    row = {
        "token": token,
        "practitioner": practitioner,
        "patients": "\n".join(patients),
        "kept_at": to_micros(now),
    }
    old = KeptSelection.kept_at < to_micros(now - KEPT_FOR)
    with database_connection(database), database.atomic():
        KeptSelection.delete().where(old | (KeptSelection.token == token)).execute(database)
        if patients:
            KeptSelection.insert(**row).execute(database)
