"""The patients that a person has selected in lists, until they act on them: kept for the time of one sign-in.

A selection decides nothing: each form asks again who the patients are and what may be done to them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from authz.database import Database, database_connection
from authz.database.statements import run
from authz.domain import to_micros
from authz.models import KeptSelection

KEPT_FOR = timedelta(hours=12)
"""A selection that was not changed for this time is deleted."""

_KEEP = """INSERT INTO kept_selection (token, practitioner, patients, kept_at) VALUES ({}, {}, {}, {})
    ON CONFLICT (token) DO UPDATE SET patients = excluded.patients, kept_at = excluded.kept_at
    WHERE kept_selection.practitioner = excluded.practitioner"""


def kept_patients(database: Database, practitioner: str, token: str) -> list[str]:
    """Return the ids that the practitioner selected under this token, in the order in which they were selected."""
    own = (KeptSelection.token == token, KeptSelection.practitioner == practitioner)
    with database_connection(database):
        rows = KeptSelection.select(KeptSelection.patients).where(*own).tuples().execute(database)
        return [patient for (patients,) in rows for patient in patients.split("\n")]


def keep_patients(database: Database, practitioner: str, token: str, patients: Sequence[str], *, now: datetime) -> None:
    """Keep these ids, and no others, as the practitioner's selection under this token; delete old selections."""
    unwanted = KeptSelection.kept_at < to_micros(now - KEPT_FOR)
    if not patients:
        unwanted |= (KeptSelection.token == token) & (KeptSelection.practitioner == practitioner)
    with database_connection(database), database.atomic():
        KeptSelection.delete().where(unwanted).execute(database)
        if patients:
            run(database, _KEEP, token, practitioner, "\n".join(patients), to_micros(now))
