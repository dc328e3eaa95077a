"""What a patient is told: the accounting of disclosures, and who consulted their record (Q5, Q6).

To see a patient as a colleague of the same clinic is treatment, payment or operations, or the clinic's own work, which
45 CFR 164.528(a)(1) leaves out of the accounting; those are listed apart. What the law wants in it is known by the
purpose that came with the question.
"""

import re

from authz.audit.answers import Found, question
from authz.audit.parameters import require_reason
from authz.audit.questions.access import about
from authz.audit.reading import MOST_ROWS, Audit, When

OPERATIONS = ("TREAT", "ETREAT", "BTG", "HPAYMT", "HOPERAT", "")
"""HL7 purposes of use that an accounting leaves out: treatment, payment, operations; none said is the clinic's own."""

_WORDS = re.compile("[:/#]")
_SIX_YEARS = 6 * 365 + 2
_CONSULTED = "d.allowed AND d.reason <> 'searched' AND d.action = 'view'"  # to ask who may view opens no record


@question(
    "Q5",
    "practitioner role client purpose action accesses first last accountable",
    "permitted decisions about this patient",
    days=_SIX_YEARS,
)
def disclosures(audit: Audit, *, patient: str, since: When = None, until: When = None) -> Found:
    """To whom was this patient disclosed, when and for what purpose? Six years, unless said otherwise.

    Disclosures to one recipient for one purpose are summed up (164.528(b)(3)): the first, how many, the last.
    """
    begin, end = audit.period(since, until)
    rows = audit.decided(
        f"""SELECT d.subject, d.membership, d.client_id, d.purpose, d.action, COUNT(*), MIN(d.at), MAX(d.at)
        FROM ({about(audit.pdp.policy.types)}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE {_CONSULTED} AND d.at >= :since AND d.at < :until
        GROUP BY d.subject, d.membership, d.client_id, d.purpose, d.action ORDER BY 7, 1, 4 LIMIT :most""",
        patient=patient,
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    told = [(*row, _WORDS.split(row[3])[-1].upper() not in OPERATIONS) for row in rows]
    return Found(told, sum(row[5] for row in rows))


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
    consulted = f"""FROM ({about(audit.pdp.policy.types)}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE {_CONSULTED} AND d.at >= :since AND d.at < :until"""
    rows = audit.decided(
        f"""SELECT d.at, d.subject, d.membership, d.purpose, d.action {consulted} ORDER BY d.at, d.id LIMIT :most""",
        **values,
    )
    pseudonyms: dict[str, str] = {}
    for _, who, *_ in rows:
        pseudonyms.setdefault(who, f"employee {len(pseudonyms) + 1}")
    known = _names(audit, patient) if names else {}
    told = [(at, pseudonyms[who], known.get(who), *rest) for at, who, *rest in rows]
    counted = audit.decided(f"SELECT COUNT(*) {consulted}", **values)
    return Found(told, int(counted[0][0]))


def _names(audit: Audit, patient: str) -> dict[str, str]:
    """The names of everybody who has ever worked at the patient's clinic."""
    found = audit.rows(
        """SELECT DISTINCT w.id, w.name FROM practitioner w JOIN membership m ON m.practitioner_id = w.id
        JOIN patient p ON p.subscription_id = m.subscription_id WHERE p.id = :patient""",
        patient=patient,
    )
    return dict(found)
