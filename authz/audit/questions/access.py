"""Who could see a patient, who did, and what somebody could reach (Q1–Q3).

Who could is asked of the PDP at that instant: no rule is written down a second time here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from authz.audit.catalog.question import Found, question
from authz.audit.session import MOST_ROWS, Audit, When
from authz.models import Patient
from authz.policy.compiler import Schema
from authz.policy.compiler.schema import ToOne
from authz.policy.decision import Decision

_CHUNK = 500
_HOW = {"owner": "owner", "viewer": "share"}


@question("Q1", "practitioner role how rule grant standing_share from_whom since until policy_version", "practitioners")
def who_could(audit: Audit, *, patient: str, policy: str = "") -> Found:
    """Who could see this patient at that instant, and by which rule and grant?

    One row for each practitioner, with the first way that permits, by the policy that was in force then. `policy`
    names another: ``today``, or a version.
    """
    resource, decider = ("patient", patient), audit.decider(policy)
    people = decider.search_subjects("practitioner", "view", resource, now=audit.now, limit=MOST_ROWS + 1)
    asked = [(("practitioner", who), "view", resource) for who in people]
    roles = _roles(
        audit.rows(
            """SELECT m.practitioner_id, m.role FROM membership m
            JOIN patient p ON p.subscription_id = m.subscription_id
            WHERE p.id = :patient AND m.started_at <= :now AND m.ended_at > :now ORDER BY m.role DESC""",
            patient=patient,
            now=audit.micros,
        )
    )
    grants = _by_id(
        audit.rows(
            """SELECT id, role, started_at, given_by FROM "grant"
            WHERE patient_id = :patient AND started_at <= :now AND ended_at > :now""",
            patient=patient,
            now=audit.micros,
        )
    )
    shares = _by_id(
        audit.rows(
            """SELECT s.id, '', s.started_at, s.owner_id FROM standing_share s
            JOIN patient p ON p.subscription_id = s.subscription_id
            WHERE p.id = :patient AND s.started_at <= :now AND s.ended_at > :now""",
            patient=patient,
            now=audit.micros,
        )
    )
    answers = decider.evaluate_many(asked, now=audit.now)
    rows = [
        (who, roles.get(who), *_witness(decision, grants, shares), decider.version)
        for who, decision in zip(people, answers, strict=True)
    ]
    return Found(rows, audit.number("SELECT COUNT(*) FROM practitioner"))


@question("Q1", "practitioner how grant standing_share from_whom since until ended_by end_cause", "grants and shares")
def access_over_time(audit: Audit, *, patient: str) -> Found:
    """What was ever given on this patient, to whom, from when until when, and who ended it?

    Grants, and the standing shares of those who owned the patient while they did; what each of them permits is for the
    policy to say (`who_could`).
    """
    rows = audit.rows(
        """SELECT practitioner_id AS who, CASE WHEN role = 'owner' THEN 'owner' ELSE 'share' END AS how, id AS held,
            CAST(NULL AS BIGINT) AS share, given_by, started_at AS begun, ended_at AS ended, ended_by, end_cause
        FROM "grant" WHERE patient_id = :patient AND started_at <= :now
        UNION ALL
        SELECT s.colleague_id, 'standing share', NULL, s.id, s.owner_id,
            CASE WHEN s.started_at > g.started_at THEN s.started_at ELSE g.started_at END,
            CASE WHEN s.ended_at < g.ended_at THEN s.ended_at ELSE g.ended_at END, s.ended_by, s.end_cause
        FROM "grant" g JOIN patient p ON p.id = g.patient_id
        JOIN standing_share s ON s.owner_id = g.practitioner_id AND s.subscription_id = p.subscription_id
        WHERE g.patient_id = :patient AND g.role = 'owner' AND g.started_at <= :now AND s.started_at <= :now
            AND s.started_at < g.ended_at AND g.started_at < s.ended_at
        ORDER BY begun, held, share LIMIT :most""",
        patient=patient,
        now=audit.micros,
        most=MOST_ROWS + 1,
    )
    return Found(rows, len(rows))


@question("Q3", "patient subscription how rule grant standing_share from_whom since until policy_version", "patients")
def what_could_reach(audit: Audit, *, practitioner: str, policy: str = "") -> Found:
    """Everything that this practitioner could see at that instant, and how: owned, shared, or by a standing share.

    By the policy that was in force then. `policy` names another: ``today``, or a version.
    """
    who, decider = ("practitioner", practitioner), audit.decider(policy)
    patients = decider.search_resources(who, "view", "patient", now=audit.now, limit=MOST_ROWS + 1)
    answers = decider.evaluate_many([(who, "view", ("patient", one)) for one in patients], now=audit.now)
    held = {"who": practitioner, "now": audit.micros}
    grants = _by_id(
        audit.rows(
            """SELECT id, role, started_at, given_by FROM "grant"
            WHERE practitioner_id = :who AND started_at <= :now AND ended_at > :now""",
            **held,
        )
    )
    shares = _by_id(
        audit.rows(
            """SELECT id, '', started_at, owner_id FROM standing_share
            WHERE colleague_id = :who AND started_at <= :now AND ended_at > :now""",
            **held,
        )
    )
    clinics = dict(_clinics(audit, patients))
    rows = [
        (patient, clinics.get(patient), *_witness(decision, grants, shares), decider.version)
        for patient, decision in zip(patients, answers, strict=True)
    ]
    return Found(rows, audit.number("SELECT COUNT(*) FROM patient"))


@question(
    "Q2",
    "at practitioner actor action resource_type resource allowed reason rule grant standing_share purpose client "
    "address request_id policy_version decision",
    "decisions about this patient",
    days=365,
)
def who_did(audit: Audit, *, patient: str, since: When = None, until: When = None) -> Found:
    """Who asked to do what with this patient or their documents, through which app, for what purpose, by which grant?

    Both permits and denials, within a year unless said otherwise. A search is recorded with its size, not with each
    patient that it listed.
    """
    begin, end = audit.period(since, until)
    mine = about(audit.vocabularies)
    values = {"patient": patient, "since": begin, "until": end, "most": MOST_ROWS + 1}
    rows = audit.decided(
        f"""SELECT d.at, d.subject, NULLIF(d.actor, d.subject), d.action, d.resource_type, d.resource, d.allowed,
        d.reason, d.rule, d."grant", d.standing_share, d.purpose, d.client_id, d.address, d.request_id,
        d.policy_version, d.id
        FROM ({mine}) a JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE d.at >= :since AND d.at < :until ORDER BY d.at, d.id LIMIT :most""",
        **values,
    )
    every = f"""SELECT COUNT(*) FROM ({mine}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource"""
    return Found(rows, int(audit.decided(every, patient=patient)[0][0]))


def about(vocabularies: Iterable[Schema]) -> str:
    """SQL for a patient and what belongs to them: entities that a relation of any of these vocabularies ties to the
    patient, at any time.
    """
    ties = {
        (kind.name, prop.name)
        for types in vocabularies
        for kind in types.types.values()
        if kind.declared
        for prop in kind.properties.values()
        if isinstance(prop, ToOne) and prop.target == "Patient"
    }
    arms = ["SELECT 'patient' AS resource_type, :patient AS resource"]
    arms += [
        f"""SELECT DISTINCT e.type, e.id FROM entity_link l JOIN entity e ON e.pk = l.entity_id
        WHERE l.target = :patient AND l.type = '{kind}' AND l.property = '{prop}'"""
        for kind, prop in sorted(ties)
    ]
    return " UNION ALL ".join(arms)


def _by_id(rows: Iterable[Sequence[Any]]) -> dict[int, Sequence[Any]]:
    return {row[0]: row[1:] for row in rows}


def _roles(rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for who, role in rows:
        roles[who] = f"{roles[who]} and {role}" if who in roles else role
    return roles


def _witness(decision: Decision, grants: dict[int, Any], shares: dict[int, Any]) -> tuple[Any, ...]:
    how, since, giver = "other", None, None
    if decision.grant in grants:
        role, since, giver = grants[decision.grant]
        how = _HOW[role]
    elif decision.standing_share in shares:
        _, since, giver = shares[decision.standing_share]
        how = "standing share"
    return how, decision.rule, decision.grant, decision.standing_share, giver, since, decision.until_micros


def _clinics(audit: Audit, patients: Sequence[str]) -> Iterable[tuple[str, str]]:
    for begin in range(0, len(patients), _CHUNK):
        some = Patient.id.in_(list(patients[begin : begin + _CHUNK]))
        yield from Patient.select(Patient.id, Patient.subscription).where(some).tuples().execute(audit.database)
