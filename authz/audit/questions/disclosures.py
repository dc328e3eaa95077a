"""Answers for a patient: the accounting of disclosures, and the people who consulted the record (Q5, Q6).

To see a patient as a colleague of the same clinic is treatment, payment or operations, which 45 CFR 164.528(a)(1)
leaves out of the accounting. So it does with what the patient was shown. The purpose that an app sends is the only sign
of which kind a disclosure was; without a purpose nobody can tell.
"""

import re

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.questions.access import select_resources_of_patient
from authz.audit.questions.names import names_at_clinic
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When

OPERATIONS = ("TREAT", "ETREAT", "BTG", "HPAYMT", "HOPERAT")
"""HL7 purposes of use that an accounting leaves out: treatment, payment, operations."""

TO_THE_PATIENT = ("PATRQT",)
"""HL7 purposes of use for which the patient was shown their own record."""

_SEPARATORS = re.compile("[:/#]")
_SIX_YEARS = 6 * 365 + 2
_CONSULTED = "d.allowed AND d.reason <> 'searched' AND d.action = 'view'"  # to ask who may view opens no record
_PURPOSE = """CASE WHEN d.purpose <> '' THEN d.purpose
    ELSE COALESCE((SELECT e.purpose FROM emergency e WHERE e.grant_id = d."grant"), '') END"""
"""The purpose that the app sent; without one, the purpose that was stated for the emergency access."""
_ROLES = {"member": "works at", "manager": "manages", "auditor": "audits"}


def _code(purpose: str) -> str:
    """Return the code of a purpose, which may come with its system, as in ``urn:…#TREAT``."""
    return _SEPARATORS.split(purpose)[-1].upper()


def disclosure_kind(subject_type: str, purpose: str) -> str:
    """Return the kind of a disclosure, one of `authz.audit.catalog.parameters.DISCLOSURES`."""
    if subject_type == "patient" or _code(purpose) in TO_THE_PATIENT:
        return "to the patient"
    if not purpose:
        return "cannot tell"
    return "operations" if _code(purpose) in OPERATIONS else "accountable"


def _permitted_views(audit: Audit, patient: str, since: When, until: When) -> ResultTable:
    """Return the permitted views of a patient, summed up by recipient and purpose, with the kind of each."""
    begin, end = audit.period(since, until)
    table = audit.decision_table(
        f"""SELECT d.subject AS practitioner, d.membership AS role, d.client_id AS client, {_PURPOSE} AS purpose,
            d.action AS action, d.resource_type AS resource_type, COUNT(*) AS accesses, MIN(d.at) AS first,
            MAX(d.at) AS last, NULL AS kind, NULL AS accountable, d.subject_type AS _subject_type
        FROM ({select_resources_of_patient(audit.schemas)}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE {_CONSULTED} AND d.at >= :since AND d.at < :until
        GROUP BY 1, 2, 3, 4, 5, 6, d.subject_type ORDER BY 8, 1, 4, 6 LIMIT :most""",
        patient=patient,
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    for row in table.rows:
        kind = disclosure_kind(row["_subject_type"], row["purpose"])
        row["kind"] = kind
        row["accountable"] = None if kind == "cannot tell" else kind == "accountable"
    return table


@question(
    "Q5",
    "To whom was this patient disclosed, when and for what purpose? Six years, unless said otherwise.",
    "permitted views of this patient",
    days=_SIX_YEARS,
)
def disclosures(audit: Audit, *, patient: str, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each recipient and purpose (164.528(b)(3)): the first disclosure, how many, the last."""
    table = _permitted_views(audit, patient, since, until)
    return QuestionResult(table, sum(row["accesses"] for row in table.rows))


@question(
    "Q5",
    "Which disclosures of this patient belong into the accounting that the law gives them? (45 CFR 164.528.)",
    "permitted views of this patient",
    days=_SIX_YEARS,
)
def accounting(
    audit: Audit,
    *,
    patient: str,
    kind: str = "accountable",
    since: When = None,
    until: When = None,
    names: bool = False,
    reason: str = "",
) -> QuestionResult:
    """Return one row for each recipient and purpose, by default of the last six years.

    `kind` asks instead for the disclosures ``to the patient``, for ``operations``, or of which nobody ``cannot tell``.
    Recipients have numbers, and names only with `names` and a `reason`, which is recorded.
    """
    views = _permitted_views(audit, patient, since, until)
    names_by_id = names_at_clinic(audit, patient, reason) if names else {}
    recipients = _Recipients(audit, patient)
    numbers: dict[str, str] = {}
    rows = []
    for view in views.rows:
        who = view["practitioner"]
        number = numbers.setdefault(who, f"recipient {len(numbers) + 1}")
        if view["kind"] == kind:
            description = recipients.describe(view["role"], view["client"])
            period = (view["first"], view["last"], view["accesses"])
            rows.append((*period, number, names_by_id.get(who), description, view["resource_type"], view["purpose"]))
    table = ResultTable.of("first last accesses recipient name description resource_type purpose", rows)
    return QuestionResult(table, sum(view["accesses"] for view in views.rows))


class _Recipients:
    """Describes recipients: their role at the patient's clinic, and the app that they used."""

    def __init__(self, audit: Audit, patient: str) -> None:
        ((self._clinic,),) = audit.rows(
            "SELECT s.name FROM subscription s JOIN patient p ON p.subscription_id = s.id WHERE p.id = :patient",
            patient=patient,
        )
        self._apps = dict(audit.rows("SELECT id, name FROM client"))

    def describe(self, role: str, client: int | None) -> str:
        clinic = self._clinic
        description = f"{_ROLES[role]} {clinic}" if role in _ROLES else f"does not work at {clinic}"
        return description if client is None else f"{description}, with the app {self._apps.get(client, client)}"


@question(
    "Q6",
    "When was this patient's record consulted, for what purpose, and in what role? (GDPR 15; CJEU C-579/21.)",
    "permitted decisions about this patient",
    days=_SIX_YEARS,
)
def subject_access(
    audit: Audit,
    *,
    patient: str,
    since: When = None,
    until: When = None,
    names: bool = False,
    reason: str = "",
) -> QuestionResult:
    """Return one row for each permitted view, by default of the last six years.

    Employees have pseudonyms, and names only with `names` and a `reason` why the names are indispensable, which is
    recorded.
    """
    names_by_id = names_at_clinic(audit, patient, reason) if names else {}
    begin, end = audit.period(since, until)
    values = {"patient": patient, "since": begin, "until": end}
    consulted = f"""FROM ({select_resources_of_patient(audit.schemas)}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE {_CONSULTED} AND d.at >= :since AND d.at < :until"""
    table = audit.decision_table(
        f"""SELECT d.at AS at, NULL AS who, NULL AS name, d.membership AS role, {_PURPOSE} AS purpose,
            d.action AS action, d.subject AS _subject
        {consulted} ORDER BY d.at, d.id LIMIT :most""",
        **values,
        most=MOST_ROWS + 1,
    )
    pseudonyms: dict[str, str] = {}
    for row in table.rows:
        employee = row["_subject"]
        row["who"] = pseudonyms.setdefault(employee, f"employee {len(pseudonyms) + 1}")
        row["name"] = names_by_id.get(employee)
    return QuestionResult(table, audit.decision_number(f"SELECT COUNT(*) {consulted}", **values))
