"""The grants of a patient as operations read them."""

from datetime import datetime
from typing import NamedTuple

from authz.database import Database
from authz.database.pending import Pending
from authz.database.statements import run
from authz.domain import from_micros, to_micros
from authz.models import Grant


class GrantRow(NamedTuple):
    """A stored grant, by the fields of `authz.models.Grant`."""

    id: int
    patient: str
    practitioner: str
    role: str
    origin: str
    given_by: str
    reason: str
    ended_by: str
    end_cause: str
    undo_until: datetime
    started_at: datetime
    ended_at: datetime


_COLUMNS = ", ".join(Grant._meta.fields[name].column_name for name in GrantRow._fields)
_LIVE = (
    f'SELECT {_COLUMNS} FROM "grant" WHERE patient_id = {{}} AND started_at <= {{}} AND ended_at > {{}} '
    "ORDER BY role, id"
)


def find_live_grants(database: Database, patient: str, now: datetime) -> Pending[list[GrantRow]]:
    """Look up the grants of a patient that are live at an instant; the owner's comes first.

    The statement is a text, because Peewee needs more time to build it than the database needs to run it.
    """
    instant = to_micros(now)
    cursor = run(database, _LIVE, patient, instant, instant)

    def read() -> list[GrantRow]:
        rows = cursor.fetchall()
        return [
            GrantRow._make((*columns, *map(from_micros, (undo_until, started, ended))))
            for *columns, undo_until, started, ended in rows
        ]

    return Pending(read)


def kind_of_end(grant: GrantRow) -> str:
    """Return the kind of notification that tells of the end of a viewer's grant."""
    return "emergency:ended" if grant.origin == "emergency" else "share:ended"
