"""What a patient is told: the accounting of disclosures, and who consulted their record (Q5, Q6).

To see a patient as a colleague of the same clinic is treatment, payment or operations, which 45 CFR 164.528(a)(1)
leaves out of the accounting, as what the patient themself was shown. Which of these a disclosure was is known by the
purpose that came with the question alone; without a purpose nobody can tell.
"""

import re
from typing import Any

from authz.audit.catalog.parameters import require_reason
from authz.audit.catalog.question import Found, question
from authz.audit.questions.access import about
from authz.audit.questions.names import names_at_clinic
from authz.audit.session import MOST_ROWS, Audit, When

OPERATIONS = ("TREAT", "ETREAT", "BTG", "HPAYMT", "HOPERAT")
"""HL7 purposes of use that an accounting leaves out: treatment, payment, operations."""

TO_THE_PATIENT = ("PATRQT",)
"""HL7 purposes of use for which the patient themself was shown it."""

_WORDS = re.compile("[:/#]")
_SIX_YEARS = 6 * 365 + 2
_CONSULTED = "d.allowed AND d.reason <> 'searched' AND d.action = 'view'"  # to ask who may view opens no record
_ROLES = {"member": "works at", "manager": "manages", "auditor": "audits"}


def _code(purpose: str) -> str:
    """The code of a purpose that may come with its system, as in ``urn:…#TREAT``."""
    return _WORDS.split(purpose)[-1].upper()


def disclosure_kind(subject_type: str, purpose: str) -> str:
    """Which kind of disclosure it was, one of `authz.audit.catalog.parameters.DISCLOSURES`."""
    if subject_type == "patient" or _code(purpose) in TO_THE_PATIENT:
        return "to the patient"
    if not purpose:
        return "cannot tell"
    return "operations" if _code(purpose) in OPERATIONS else "accountable"


def _disclosed(audit: Audit, patient: str, since: When, until: When) -> list[tuple[Any, ...]]:
    """Permitted views, summed up by recipient and purpose."""
    begin, end = audit.period(since, until)
    return audit.decided(
        f"""SELECT d.subject_type, d.subject, d.membership, d.client_id, d.purpose, d.action, d.resource_type,
            COUNT(*), MIN(d.at), MAX(d.at)
        FROM ({about(audit.vocabularies)}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE {_CONSULTED} AND d.at >= :since AND d.at < :until
        GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 9, 2, 5, 7 LIMIT :most""",
        patient=patient,
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )


@question(
    "Q5",
    "practitioner role client purpose action resource_type accesses first last kind accountable",
    "permitted views of this patient",
    days=_SIX_YEARS,
)
def disclosures(audit: Audit, *, patient: str, since: When = None, until: When = None) -> Found:
    """To whom was this patient disclosed, when and for what purpose? Six years, unless said otherwise.

    Disclosures to one recipient for one purpose are summed up (164.528(b)(3)): the first, how many, the last.
    """
    told = []
    for kind_of, who, role, client, purpose, *rest in _disclosed(audit, patient, since, until):
        kind = disclosure_kind(kind_of, purpose)
        accountable = None if kind == "cannot tell" else kind == "accountable"
        told.append((who, role, client, purpose, *rest, kind, accountable))
    return Found(told, sum(row[6] for row in told))


@question(
    "Q5",
    "first last accesses recipient name description resource_type purpose",
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
) -> Found:
    """Which disclosures of this patient belong into the accounting that the law gives them? (45 CFR 164.528.)

    `kind` asks instead for those ``to the patient``, for ``operations``, or of which nobody ``cannot tell``.
    Recipients are numbered, and named if `names` with a `reason`, which is recorded. Six years, unless said otherwise.
    """
    rows = _disclosed(audit, patient, since, until)
    known = names_at_clinic(audit, patient, reason) if names else {}
    described = _Descriptions(audit, patient)
    numbers: dict[str, str] = {}
    told = []
    for subject_type, who, role, client, purpose, _, resource_type, count, first, last in rows:
        numbers.setdefault(who, f"recipient {len(numbers) + 1}")
        if disclosure_kind(subject_type, purpose) == kind:
            description = described.of(role, client)
            told.append((first, last, count, numbers[who], known.get(who), description, resource_type, purpose))
    return Found(told, sum(row[7] for row in rows))


class _Descriptions:
    """What a recipient is, in words: their role at the patient's clinic, and the app that they used."""

    def __init__(self, audit: Audit, patient: str) -> None:
        found = audit.rows(
            "SELECT s.name FROM subscription s JOIN patient p ON p.subscription_id = s.id WHERE p.id = :patient",
            patient=patient,
        )
        self._clinic = found[0][0]
        self._apps = dict(audit.rows("SELECT id, name FROM client"))

    def of(self, role: str, client: int | None) -> str:
        where = f"{_ROLES[role]} {self._clinic}" if role in _ROLES else f"does not work at {self._clinic}"
        return where if client is None else f"{where}, with the app {self._apps.get(client, client)}"


@question("Q6", "at who name role purpose action", "permitted decisions about this patient", days=_SIX_YEARS)
def subject_access(
    audit: Audit,
    *,
    patient: str,
    since: When = None,
    until: When = None,
    names: bool = False,
    reason: str = "",
) -> Found:
    """When was this patient's record consulted, for what purpose, and in what role? (GDPR 15; CJEU C-579/21.)

    Employees are pseudonyms, unless `names` with a `reason` why they are indispensable, which is recorded. Six years,
    unless said otherwise.
    """
    if names:
        require_reason(reason)
    begin, end = audit.period(since, until)
    values = {"patient": patient, "since": begin, "until": end, "most": MOST_ROWS + 1}
    consulted = f"""FROM ({about(audit.vocabularies)}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE {_CONSULTED} AND d.at >= :since AND d.at < :until"""
    rows = audit.decided(
        f"""SELECT d.at, d.subject, d.membership, d.purpose, d.action {consulted} ORDER BY d.at, d.id LIMIT :most""",
        **values,
    )
    pseudonyms: dict[str, str] = {}
    for _, who, *_ in rows:
        pseudonyms.setdefault(who, f"employee {len(pseudonyms) + 1}")
    known = names_at_clinic(audit, patient, reason) if names else {}
    told = [(at, pseudonyms[who], known.get(who), *rest) for at, who, *rest in rows]
    counted = audit.decided(f"SELECT COUNT(*) {consulted}", **values)
    return Found(told, int(counted[0][0]))
