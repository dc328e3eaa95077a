"""The record in FHIR, R4 and R5: a Consent for each grant or standing share, an AuditEvent for each event or decision.

Decisions follow IHE BALP's *AuthZconsent*. A decision claims the profile if it has all that the profile requires: a
permit that a grant gave, an app that asked, and the address of the app. Each resource is one JSON object on a line,
streamed; `fhir_resources` writes them.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from peewee import Field, ModelSelect

from authz.audit.export.fhir_resources import (
    APPLICATION,
    AUTHOR,
    AUTHORIZER,
    AUTHZ_CONSENT_PROFILE,
    BALP,
    CAREGRANT,
    PROVIDER,
    RECIPIENT,
    AuditEventFields,
    ConsentFields,
    Release,
    Resource,
    audit_event_r4,
    audit_event_r5,
    coding,
    consent_r4,
    consent_r5,
    dicom_coding,
    reference,
)
from authz.audit.export.log import LogLine
from authz.database import Database, database_connection
from authz.domain import format_instant, format_micros
from authz.models import Event, Grant, Patient, StandingShare
from authz.record.sealing import read_decisions

_ROWS_AT_ONCE = 1000

_CODES = {
    "grant": "110135",
    "standing_share": "110135",
    "emergency": "110127",
    "membership": "110136",
    "client": "110136",
    "practitioner": "110137",
    "patient": "110110",
    "decisions": "110101",
    "record": "110101",
}
"""The DICOM code of each kind of event; a kind that is not listed is a change of the configuration."""


def resources(database: Database, release: Release, now: datetime) -> Iterator[Resource]:
    """Yield every Consent, then every AuditEvent, in the order of the record. Raises `Unavailable`."""
    write_consent, write_event = {"r4": (consent_r4, audit_event_r4), "r5": (consent_r5, audit_event_r5)}[release]
    with database_connection(database):
        for consent in _consents(database, now):
            yield write_consent(consent)
        for event in _pages(database, Event.select(), Event.id):
            yield write_event(_fields_of_event(event))
        for decision in _decisions(database):
            yield write_event(_fields_of_decision(decision))


def _consents(database: Database, now: datetime) -> Iterator[ConsentFields]:
    grants = Grant.select(Grant, Patient.subscription.alias("subscription")).join(Patient)
    for row in _pages(database, grants, Grant.id):
        live = row["started_at"] <= now < row["ended_at"]
        people = (row["given_by"], row["practitioner"], row["role"])
        life = (row["started_at"], row["ended_at"])
        yield ConsentFields(f"grant-{row['id']}", live, row["patient"], row["subscription"], *people, *life)
    for row in _pages(database, StandingShare.select(), StandingShare.id):
        live = row["started_at"] <= now < row["ended_at"]
        people = (row["owner"], row["colleague"], "viewer")
        life = (row["started_at"], row["ended_at"])
        yield ConsentFields(f"standing-share-{row['id']}", live, "", row["subscription"], *people, *life)


def _pages(database: Database, query: "ModelSelect[Any]", key: Field) -> Iterator[LogLine]:
    after = 0
    while True:
        rows = list(query.clone().where(key > after).order_by(key).limit(_ROWS_AT_ONCE).dicts().execute(database))
        yield from rows
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = rows[-1]["id"]


def _decisions(database: Database) -> Iterator[LogLine]:
    after = 0
    while rows := read_decisions(database, after, 2**62, _ROWS_AT_ONCE):
        yield from rows
        after = rows[-1]["id"]


def _agent(kind: Resource, who: Resource, *, requestor: bool = False, address: str = "", **more: object) -> Resource:
    return {"type": kind, "who": who, "requestor": requestor, "address": address, **more}


def _app_agents(row: LogLine) -> list[Resource]:
    """Return the app that asked, with its address; without an app the address belongs to the practitioner."""
    if row["client"] is None:
        return []
    return [_agent(APPLICATION, reference("Device", row["client"]), address=row["address"])]


def _fields_of_event(row: LogLine) -> AuditEventFields:
    noun, _, verb = row["kind"].partition(":")
    code = _CODES.get(noun, "110129")
    body = row["body"] if isinstance(row["body"], dict) else {}
    fact = body.get("after") or body.get("before") or {}
    actor = reference("Practitioner", row["actor"]) if row["actor"] else CAREGRANT
    agents = [_agent(AUTHOR, actor, requestor=True, address=row["address"]), *_app_agents(row)]
    holder = fact.get("practitioner") or fact.get("colleague")
    if holder:
        agents.append(_agent(RECIPIENT, reference("Practitioner", holder)))
    if row["subscription"]:
        agents.append(_agent(PROVIDER, reference("Organization", row["subscription"])))
    number = body.get(noun)
    consent = {"grant": "grant", "standing_share": "standing-share"}.get(noun)
    details = {
        "kind": row["kind"],
        "origin": fact.get("origin", ""),
        "policy": body.get("policy_version") or fact.get("version", ""),
    }
    details |= {"sheet": body.get("sheet", ""), "ran by": body.get("ran_by", "")}
    return AuditEventFields(
        id=f"event-{row['id']}",
        category=code if code in ("110101", "110110") else "110113",
        code=dicom_coding(code),
        action="C" if verb in ("added", "started", "imported", "loaded", "kept", "filled") else "U",
        recorded=format_instant(row["at"]),
        allowed=True,
        why=fact.get("end_cause") or "",
        purpose="",
        agents=agents,
        patient=row["patient"],
        consent=f"{consent}-{number}" if consent and number else "",
        details={name: value for name, value in details.items() if value},
    )


def _fields_of_decision(row: LogLine) -> AuditEventFields:
    grant, patient = row["grant"], row["resource"] if row["resource_type"] == "patient" else ""
    consent = f"grant-{grant}" if grant is not None else ""
    if not consent and row["standing_share"] is not None:
        consent = f"standing-share-{row['standing_share']}"
    role = [{"text": row["membership"]}] if row["membership"] else []
    subject = reference("Practitioner" if row["subject_type"] == "practitioner" else "Device", row["subject"])
    user = _agent(RECIPIENT, subject, requestor=True, address="" if row["client"] is not None else row["address"])
    agents = [*_app_agents(row), {**user, "role": role, "policy": [f"urn:caregrant:policy:{row['policy_version']}"]}]
    if row["subscription"]:
        agents.append(_agent(PROVIDER, reference("Organization", row["subscription"])))
    agents.append(_agent(AUTHORIZER, CAREGRANT))
    kind = "AuthZ-Consent" if consent else "AuthZ-Role"
    complete = row["client"] is not None and row["address"] and row["subscription"]
    details = {"action": row["action"], "rule": row["rule"], "reason": row["reason"], "request": row["request_id"]}
    resource = "" if patient else f"{row['resource_type']}:{row['resource']}"
    return AuditEventFields(
        id=f"decision-{row['id']}",
        category="110113",
        code=coding(f"{BALP}/CodeSystem/AuthZsubType", kind),
        action="E",
        recorded=format_micros(row["asked_at"]),
        allowed=bool(row["allowed"]),
        why="" if row["allowed"] else row["reason"],
        purpose=row["purpose"],
        agents=agents,
        patient=patient,
        consent=consent,
        details={name: value for name, value in {**details, "resource": resource}.items() if value},
        profile=AUTHZ_CONSENT_PROFILE if row["allowed"] and consent and patient and complete else "",
    )
