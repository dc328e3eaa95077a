"""Names, which are read here alone, each time with a reason that is recorded (Q25)."""

from typing import Any

from authz.audit.catalog.parameters import require_reason
from authz.audit.catalog.question import Found, question
from authz.audit.permissions import names_readable
from authz.audit.session import Audit
from authz.errors import InvalidInput


@question("Q25", "patient practitioner name subscription clinic", "ids")
def who_is(audit: Audit, *, patient: str = "", practitioner: str = "", reason: str) -> Found:
    """What is the name of this patient or this practitioner, and of their clinic? With a reason, which is recorded."""
    require_reason(reason)
    if bool(patient) is bool(practitioner):
        raise InvalidInput("who_is: name a patient or a practitioner")
    with names_readable(audit.database):
        rows = _of_patient(audit, patient) if patient else _of_practitioner(audit, practitioner)
    return Found(rows, 1)


def _of_patient(audit: Audit, patient: str) -> list[tuple[Any, ...]]:
    return audit.rows(
        """SELECT p.id, NULL, p.name, s.id, s.name FROM patient p JOIN subscription s ON s.id = p.subscription_id
        WHERE p.id = :patient""",
        patient=patient,
    )


def _of_practitioner(audit: Audit, practitioner: str) -> list[tuple[Any, ...]]:
    return audit.rows(
        """SELECT NULL, w.id, w.name, s.id, s.name FROM practitioner w
        LEFT JOIN membership m ON m.practitioner_id = w.id AND m.started_at <= :now AND m.ended_at > :now
        LEFT JOIN subscription s ON s.id = m.subscription_id WHERE w.id = :practitioner ORDER BY s.id""",
        practitioner=practitioner,
        now=audit.micros,
    )


def names_at_clinic(audit: Audit, patient: str, reason: str) -> dict[str, str]:
    """The names of everybody who ever worked at the patient's clinic, by id. Raises `InvalidInput` without a reason."""
    require_reason(reason)
    with names_readable(audit.database):
        found = audit.rows(
            """SELECT DISTINCT w.id, w.name FROM practitioner w JOIN membership m ON m.practitioner_id = w.id
            JOIN patient p ON p.subscription_id = m.subscription_id WHERE p.id = :patient""",
            patient=patient,
        )
    return dict(found)
