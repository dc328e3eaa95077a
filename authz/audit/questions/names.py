"""Names, which only this module reads, each time with a reason that is recorded (Q25)."""

from authz.audit.catalog.parameters import require_reason
from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.permissions import names_readable
from authz.audit.session import Audit
from authz.errors import InvalidInput


@question(
    "Q25",
    "What is the name of this patient or this practitioner, and of their clinic? With a reason, which is recorded.",
    "ids",
)
def who_is(audit: Audit, *, patient: str = "", practitioner: str = "", reason: str) -> QuestionResult:
    """Return one row for each clinic of the person."""
    require_reason(reason)
    if bool(patient) is bool(practitioner):
        raise InvalidInput("who_is: name a patient or a practitioner")
    with names_readable(audit.database):
        table = _name_patient(audit, patient) if patient else _name_practitioner(audit, practitioner)
    return QuestionResult(table, 1)


def _name_patient(audit: Audit, patient: str) -> ResultTable:
    return audit.table(
        """SELECT p.id AS patient, NULL AS practitioner, p.name AS name, s.id AS subscription, s.name AS clinic
        FROM patient p JOIN subscription s ON s.id = p.subscription_id WHERE p.id = :patient""",
        patient=patient,
    )


def _name_practitioner(audit: Audit, practitioner: str) -> ResultTable:
    return audit.table(
        """SELECT NULL AS patient, w.id AS practitioner, w.name AS name, s.id AS subscription, s.name AS clinic
        FROM practitioner w
        LEFT JOIN membership m ON m.practitioner_id = w.id AND m.started_at <= :now AND m.ended_at > :now
        LEFT JOIN subscription s ON s.id = m.subscription_id WHERE w.id = :practitioner ORDER BY s.id""",
        practitioner=practitioner,
        now=audit.micros,
    )


def names_at_clinic(audit: Audit, patient: str, reason: str) -> dict[str, str]:
    """Return the names, by id, of everybody who ever worked at the patient's clinic.

    Raises `InvalidInput` without a reason.
    """
    require_reason(reason)
    with names_readable(audit.database):
        rows = audit.rows(
            """SELECT DISTINCT w.id, w.name FROM practitioner w JOIN membership m ON m.practitioner_id = w.id
            JOIN patient p ON p.subscription_id = m.subscription_id WHERE p.id = :patient""",
            patient=patient,
        )
    return dict(rows)
