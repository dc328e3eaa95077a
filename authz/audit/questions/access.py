"""Access to a patient: possible and actual, and the patients that a practitioner could reach (Q1–Q3).

The policy decision point answers who could, for the instant asked about: no rule is written down a second time here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from authz.audit.catalog.question import question
from authz.audit.catalog.result import QuestionResult, ResultTable
from authz.audit.session import MOST_ROWS, Audit
from authz.audit.times import When
from authz.models import Patient
from authz.policy.compiler import Schema
from authz.policy.compiler.schema import ToOne, ToTargets
from authz.policy.decision import Decision

_CHUNK = 500
_HOW = {"owner": "owner", "viewer": "share", "emergency": "emergency"}
_WITNESS = "how rule grant standing_share from_whom since until policy_version"


@question(
    "Q1",
    "Who could see this patient at that instant, and by which rule and grant?",
    "practitioners",
)
def who_could(audit: Audit, *, patient: str, policy: str = "") -> QuestionResult:
    """Return one row for each practitioner, with the first rule that permits.

    The policy that was in force then answers. `policy` names another policy: ``today``, or a version.
    """
    resource, pdp = ("patient", patient), audit.pdp_in_force(policy)
    people = pdp.search_subjects("practitioner", "view", resource, now=audit.now, limit=MOST_ROWS + 1)
    roles = _join_roles(
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
            """SELECT id, CASE WHEN origin = 'emergency' THEN origin ELSE role END, started_at, given_by FROM "grant"
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
    evaluations = [(("practitioner", person), "view", resource) for person in people]
    decisions = pdp.evaluate_many(evaluations, now=audit.now)
    rows = [
        (person, roles.get(person), *_witness(decision, grants, shares), pdp.version)
        for person, decision in zip(people, decisions, strict=True)
    ]
    table = ResultTable.of(f"practitioner role {_WITNESS}", rows)
    return QuestionResult(table, audit.number("SELECT COUNT(*) FROM practitioner"))


@question(
    "Q1",
    "What was ever given on this patient, to whom, from when until when, and who ended it?",
    "grants and shares",
)
def access_over_time(audit: Audit, *, patient: str) -> QuestionResult:
    """Return one row for each grant, and for each time in which a standing share held.

    A standing share held while its owner owned the patient. The policy says what each of them permits (`who_could`).
    """
    table = audit.table(
        """SELECT practitioner_id AS practitioner, CASE WHEN role = 'owner' THEN 'owner'
            WHEN origin = 'emergency' THEN 'emergency' ELSE 'share' END AS how,
            id AS "grant", CAST(NULL AS BIGINT) AS standing_share, given_by AS from_whom, started_at AS since,
            ended_at AS until, ended_by, end_cause
        FROM "grant" WHERE patient_id = :patient AND started_at <= :now
        UNION ALL
        SELECT s.colleague_id, 'standing share', NULL, s.id, s.owner_id,
            CASE WHEN s.started_at > g.started_at THEN s.started_at ELSE g.started_at END,
            CASE WHEN s.ended_at < g.ended_at THEN s.ended_at ELSE g.ended_at END, s.ended_by, s.end_cause
        FROM "grant" g JOIN patient p ON p.id = g.patient_id
        JOIN standing_share s ON s.owner_id = g.practitioner_id AND s.subscription_id = p.subscription_id
        WHERE g.patient_id = :patient AND g.role = 'owner' AND g.started_at <= :now AND s.started_at <= :now
            AND s.started_at < g.ended_at AND g.started_at < s.ended_at
        ORDER BY since, "grant", standing_share LIMIT :most""",
        patient=patient,
        now=audit.micros,
        most=MOST_ROWS + 1,
    )
    return QuestionResult(table, len(table))


@question(
    "Q3",
    "Everything that this practitioner could see at that instant, and how: owned, shared, or by a standing share.",
    "patients",
)
def what_could_reach(audit: Audit, *, practitioner: str, policy: str = "") -> QuestionResult:
    """Return one row for each patient, with the first rule that permits.

    The policy that was in force then answers. `policy` names another policy: ``today``, or a version.
    """
    subject, pdp = ("practitioner", practitioner), audit.pdp_in_force(policy)
    patients = pdp.search_resources(subject, "view", "patient", now=audit.now, limit=MOST_ROWS + 1)
    decisions = pdp.evaluate_many([(subject, "view", ("patient", patient)) for patient in patients], now=audit.now)
    grants = _by_id(
        audit.rows(
            """SELECT id, CASE WHEN origin = 'emergency' THEN origin ELSE role END, started_at, given_by FROM "grant"
            WHERE practitioner_id = :practitioner AND started_at <= :now AND ended_at > :now""",
            practitioner=practitioner,
            now=audit.micros,
        )
    )
    shares = _by_id(
        audit.rows(
            """SELECT id, '', started_at, owner_id FROM standing_share
            WHERE colleague_id = :practitioner AND started_at <= :now AND ended_at > :now""",
            practitioner=practitioner,
            now=audit.micros,
        )
    )
    clinics = dict(_clinics(audit, patients))
    rows = [
        (patient, clinics.get(patient), *_witness(decision, grants, shares), pdp.version)
        for patient, decision in zip(patients, decisions, strict=True)
    ]
    table = ResultTable.of(f"patient subscription {_WITNESS}", rows)
    return QuestionResult(table, audit.number("SELECT COUNT(*) FROM patient"))


@question(
    "Q2",
    "Who asked to do what with this patient or their documents, through which app, for what purpose, by which grant?",
    "decisions about this patient",
    days=365,
)
def who_did(audit: Audit, *, patient: str, since: When = None, until: When = None) -> QuestionResult:
    """Return one row for each decision, permit or denial, by default of the last year.

    A search is recorded with its size, not with each patient that it listed.
    """
    begin, end = audit.period(since, until)
    resources = select_resources_of_patient(audit.schemas)
    table = audit.decision_table(
        f"""SELECT d.at AS at, d.subject AS practitioner, NULLIF(d.actor, d.subject) AS actor, d.action AS action,
            d.resource_type AS resource_type, d.resource AS resource, d.allowed AS allowed, d.reason AS reason,
            d.rule AS rule, d."grant" AS "grant", d.standing_share AS standing_share, d.purpose AS purpose,
            d.client_id AS client, d.address AS address, d.request_id AS request_id,
            d.policy_version AS policy_version, d.id AS decision
        FROM ({resources}) a JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource
        WHERE d.at >= :since AND d.at < :until ORDER BY d.at, d.id LIMIT :most""",
        patient=patient,
        since=begin,
        until=end,
        most=MOST_ROWS + 1,
    )
    checked = audit.decision_number(
        f"""SELECT COUNT(*) FROM ({resources}) a
        JOIN decision d ON d.resource_type = a.resource_type AND d.resource = a.resource""",
        patient=patient,
    )
    return QuestionResult(table, checked)


def select_resources_of_patient(schemas: Iterable[Schema]) -> str:
    """Return SQL that selects the patient ``:patient``, and the entities that belong to the patient.

    An entity belongs to a patient if a relation of any of these schemas leads from the entity to the patient, at any
    time.
    """
    properties = [
        (kind.name, prop)
        for schema in schemas
        for kind in schema.types.values()
        if kind.declared
        for prop in kind.properties.values()
    ]
    relations = {
        (kind, prop.name, "entity_link", "")
        for kind, prop in properties
        if isinstance(prop, ToOne) and prop.target == "Patient"
    } | {
        (kind, prop.name, "entity_target", "l.target_type = 'patient' AND ")
        for kind, prop in properties
        if isinstance(prop, ToTargets) and "Patient" in prop.targets
    }
    selects = ["SELECT 'patient' AS resource_type, :patient AS resource"]
    selects += [
        f"""SELECT DISTINCT e.type, e.id FROM {table} l JOIN entity e ON e.pk = l.entity_id
        WHERE {of_patients}l.target = :patient AND l.type = '{kind}' AND l.property = '{prop}'"""
        for kind, prop, table, of_patients in sorted(relations)
    ]
    return " UNION ".join(selects)


def _by_id(rows: Iterable[Sequence[Any]]) -> dict[int, Sequence[object]]:
    return {row[0]: row[1:] for row in rows}


def _join_roles(rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    """Return the roles of each practitioner, such as ``member and auditor``."""
    roles: dict[str, str] = {}
    for practitioner, role in rows:
        roles[practitioner] = f"{roles[practitioner]} and {role}" if practitioner in roles else role
    return roles


def _witness(
    decision: Decision, grants: Mapping[int, Sequence[Any]], shares: Mapping[int, Sequence[object]]
) -> tuple[object, ...]:
    """Return what permits a decision, as the columns `_WITNESS` without the last."""
    how, since, giver = "other", None, None
    if decision.grant is not None and decision.grant in grants:
        role, since, giver = grants[decision.grant]
        how = _HOW[role]
    elif decision.standing_share is not None and decision.standing_share in shares:
        _, since, giver = shares[decision.standing_share]
        how = "standing share"
    return how, decision.rule, decision.grant, decision.standing_share, giver, since, decision.until_micros


def _clinics(audit: Audit, patients: Sequence[str]) -> Iterable[tuple[str, str]]:
    for begin in range(0, len(patients), _CHUNK):
        some = Patient.id.in_(list(patients[begin : begin + _CHUNK]))
        yield from Patient.select(Patient.id, Patient.subscription).where(some).tuples().execute(audit.database)
