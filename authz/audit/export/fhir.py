"""The record in FHIR, R4 and R5: a Consent for each grant or standing share, an AuditEvent for each event or decision.

Decisions follow IHE BALP's *AuthZconsent*. A decision claims the profile if it has all that the profile requires: a
permit that a grant gave, an app that asked, and the address of the app. A resource that is not part of this export is
referred to by its identifier. Each resource is one JSON object on a line, streamed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from peewee import Field, ModelSelect

from authz.audit.export.log import LogLine
from authz.database import Database, answering
from authz.domain import FOREVER, format_instant, format_micros
from authz.models import Event, Grant, Patient, StandingShare
from authz.record.sealing import decisions

Release = Literal["r4", "r5"]
Resource = dict[str, Any]

_ROWS_AT_ONCE = 1000
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_BALP = "https://profiles.ihe.net/ITI/BALP"
_PROFILE = f"{_BALP}/StructureDefinition/IHE.BasicAudit.AuthZconsent"

_DISPLAYS = {
    "110101": "Audit Log Used",
    "110110": "Patient Record",
    "110113": "Security Alert",
    "110129": "Security Configuration",
    "110135": "Object Security Attributes Changed",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
}
_CODES = {
    "grant": "110135",
    "standing_share": "110135",
    "membership": "110136",
    "client": "110136",
    "practitioner": "110137",
    "patient": "110110",
    "decisions": "110101",
    "record": "110101",
}
"""The DICOM code of each kind of event; a kind that is not listed is a change of the configuration."""


def _coding(system: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def _concept(system: str, code: str, display: str = "") -> Resource:
    return {"coding": [_coding(system, code, display)]}


def _dcm(code: str) -> dict[str, str]:
    return _coding(_DCM, code, _DISPLAYS[code])


_CLIENT = _concept(_DCM, "110150", "Application")
_RECIPIENT = _concept(f"{_HL7}/v3-ParticipationType", "IRCP", "information recipient")
_AUTHOR = _concept(f"{_HL7}/v3-ParticipationType", "AUT", "author (originator)")
_PROVIDER = _concept(f"{_HL7}/v3-RoleClass", "PROV", "healthcare provider")
_AUTHORIZER = _concept(f"{_HL7}/extra-security-role-type", "authserver", "authorization server")
_SECURITY_SERVER = _coding(f"{_HL7}/security-source-type", "6", "Security Server")


def _reference(kind: str, name: object) -> Resource:
    """Return a logical reference: an identifier, which may hold characters that the id of a resource may not."""
    system = f"urn:caregrant:{'client' if kind == 'Device' else kind.lower()}"
    return {"type": kind, "identifier": {"system": system, "value": str(name)}}


_SELF = _reference("Device", "caregrant")


@dataclass(frozen=True)
class AuditEventFields:
    """An AuditEvent before it is written for a release: what both releases hold."""

    id: str
    category: str
    code: dict[str, str]
    action: str
    recorded: str
    allowed: bool
    why: str
    purpose: str
    agents: list[Resource]
    patient: str
    consent: str = ""
    details: dict[str, str] = field(default_factory=dict)
    profile: str = ""


def resources(database: Database, release: Release, now: datetime) -> Iterator[Resource]:
    """Yield every Consent, then every AuditEvent, in the order of the record. Raises `Unavailable`."""
    write_consent, write_event = {"r4": (_consent_r4, _audit_event_r4), "r5": (_consent_r5, _audit_event_r5)}[release]
    with answering(database):
        for consent in _consents(database, now):
            yield write_consent(consent)
        for event in _pages(database, Event.select(), Event.id):
            yield write_event(_fields_of_event(event))
        for decision in _decisions(database):
            yield write_event(_fields_of_decision(decision))


# Consents.


@dataclass(frozen=True)
class ConsentFields:
    """A Consent before it is written for a release: what both releases hold."""

    id: str
    live: bool
    patient: str
    subscription: str
    giver: str
    holder: str
    role: str
    begin: datetime
    end: datetime

    @property
    def period(self) -> Resource:
        begin = {"start": format_instant(self.begin)}
        return begin if self.end == FOREVER else {**begin, "end": format_instant(max(self.begin, self.end))}


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


def _consent_r4(consent: ConsentFields) -> Resource:
    return {
        "resourceType": "Consent",
        "id": consent.id,
        "status": "active" if consent.live else "inactive",
        "scope": _concept(f"{_HL7}/consentscope", "patient-privacy", "Privacy Consent"),
        "category": [_concept("http://loinc.org", "59284-0", "Consent Document")],
        **({"patient": _reference("Patient", consent.patient)} if consent.patient else {}),
        "dateTime": format_instant(consent.begin),
        **({"performer": [_reference("Practitioner", consent.giver)]} if consent.giver else {}),
        "organization": [_reference("Organization", consent.subscription)],
        "policyRule": {"text": f"caregrant: {consent.role}"},
        "provision": {
            "type": "permit",
            "period": consent.period,
            "actor": [{"role": _RECIPIENT, "reference": _reference("Practitioner", consent.holder)}],
        },
    }


def _consent_r5(consent: ConsentFields) -> Resource:
    holder = _reference("Practitioner", consent.holder)
    return {
        "resourceType": "Consent",
        "id": consent.id,
        "status": "active" if consent.live else "inactive",
        "category": [_concept("http://loinc.org", "59284-0", "Consent Document")],
        **({"subject": _reference("Patient", consent.patient)} if consent.patient else {}),
        "date": f"{consent.begin:%Y-%m-%d}",
        "period": consent.period,
        **({"grantor": [_reference("Practitioner", consent.giver)]} if consent.giver else {}),
        "grantee": [holder],
        "controller": [_reference("Organization", consent.subscription)],
        "policyText": [{"display": f"caregrant: {consent.role}"}],
        "decision": "permit",
        "provision": [{"period": consent.period, "actor": [{"role": _RECIPIENT, "reference": holder}]}],
    }


# Events and decisions.


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
    while rows := decisions(database, after, 2**62, _ROWS_AT_ONCE):
        yield from rows
        after = rows[-1]["id"]


def _agent(kind: Resource, who: Resource, *, requestor: bool = False, address: str = "", **more: object) -> Resource:
    return {"type": kind, "who": who, "requestor": requestor, "address": address, **more}


def _app_agents(row: LogLine) -> list[Resource]:
    """Return the app that asked, with its address; without an app the address belongs to the practitioner."""
    if row["client"] is None:
        return []
    return [_agent(_CLIENT, _reference("Device", row["client"]), address=row["address"])]


def _fields_of_event(row: LogLine) -> AuditEventFields:
    noun, _, verb = row["kind"].partition(":")
    code = _CODES.get(noun, "110129")
    body = row["body"] if isinstance(row["body"], dict) else {}
    fact = body.get("after") or body.get("before") or {}
    actor = _reference("Practitioner", row["actor"]) if row["actor"] else _SELF
    agents = [_agent(_AUTHOR, actor, requestor=True, address=row["address"]), *_app_agents(row)]
    holder = fact.get("practitioner") or fact.get("colleague")
    if holder:
        agents.append(_agent(_RECIPIENT, _reference("Practitioner", holder)))
    if row["subscription"]:
        agents.append(_agent(_PROVIDER, _reference("Organization", row["subscription"])))
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
        code=_dcm(code),
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
    subject = _reference("Practitioner" if row["subject_type"] == "practitioner" else "Device", row["subject"])
    user = _agent(_RECIPIENT, subject, requestor=True, address="" if row["client"] is not None else row["address"])
    agents = [*_app_agents(row), {**user, "role": role, "policy": [f"urn:caregrant:policy:{row['policy_version']}"]}]
    if row["subscription"]:
        agents.append(_agent(_PROVIDER, _reference("Organization", row["subscription"])))
    agents.append(_agent(_AUTHORIZER, _SELF))
    kind = "AuthZ-Consent" if consent else "AuthZ-Role"
    complete = row["client"] is not None and row["address"] and row["subscription"]
    details = {"action": row["action"], "rule": row["rule"], "reason": row["reason"], "request": row["request_id"]}
    resource = "" if patient else f"{row['resource_type']}:{row['resource']}"
    return AuditEventFields(
        id=f"decision-{row['id']}",
        category="110113",
        code=_coding(f"{_BALP}/CodeSystem/AuthZsubType", kind),
        action="E",
        recorded=format_micros(row["asked_at"]),
        allowed=bool(row["allowed"]),
        why="" if row["allowed"] else row["reason"],
        purpose=row["purpose"],
        agents=agents,
        patient=patient,
        consent=consent,
        details={name: value for name, value in {**details, "resource": resource}.items() if value},
        profile=_PROFILE if row["allowed"] and consent and patient and complete else "",
    )


def _purpose(purpose: str) -> Resource:
    is_code = purpose.isascii() and purpose.isupper() and purpose.isalpha()
    return _concept(f"{_HL7}/v3-ActReason", purpose) if is_code else {"text": purpose}


def _write_agent(agent: Resource, network: Callable[[str], Resource]) -> Resource:
    """Return an agent as a release writes it; `network` returns the members for a network address."""
    names = ("type", "role", "who", "requestor", "policy")
    members = {name: agent[name] for name in names if agent.get(name, []) != []}
    return members | (network(agent["address"]) if agent["address"] else {})


def _audit_event_r4(event: AuditEventFields) -> Resource:
    return {
        "resourceType": "AuditEvent",
        "id": event.id,
        **({"meta": {"profile": [event.profile]}} if event.profile else {}),
        "type": _dcm(event.category),
        "subtype": [event.code],
        "action": event.action,
        "recorded": event.recorded,
        "outcome": "0" if event.allowed else "8",
        **({"outcomeDesc": event.why} if event.why else {}),
        **({"purposeOfEvent": [_purpose(event.purpose)]} if event.purpose else {}),
        "agent": [
            _write_agent(agent, network=lambda at: {"network": {"address": at, "type": "2"}}) for agent in event.agents
        ],
        "source": {"site": "caregrant", "observer": _SELF, "type": [_SECURITY_SERVER]},
        **({"entity": entities} if (entities := _entities_r4(event)) else {}),
    }


def _entities_r4(event: AuditEventFields) -> list[Resource]:
    entities: list[Resource] = []
    details = [{"type": name, "valueString": value} for name, value in event.details.items()]
    if event.patient:
        entities.append(
            {
                "what": _reference("Patient", event.patient),
                "type": _coding(f"{_HL7}/audit-entity-type", "1", "Person"),
                "role": _coding(f"{_HL7}/object-role", "1", "Patient"),
            }
        )
    if event.consent:
        consent = _coding("http://hl7.org/fhir/resource-types", "Consent", "Consent")
        entities.append({"what": {"reference": f"Consent/{event.consent}"}, "type": consent})
    if details and entities:
        entities[0]["detail"] = details
    elif details:
        entities.append({"type": _coding(f"{_HL7}/audit-entity-type", "4", "Other"), "detail": details})
    return entities


def _audit_event_r5(event: AuditEventFields) -> Resource:
    details = [{"type": {"text": name}, "valueString": value} for name, value in event.details.items()]
    entities: list[Resource] = []
    if event.patient:
        role = _concept(f"{_HL7}/object-role", "1", "Patient")
        entities.append({"what": _reference("Patient", event.patient), "role": role})
    if event.consent:
        entities.append({"what": {"reference": f"Consent/{event.consent}"}})
    if details and not entities:
        entities.append({"role": {"text": "what happened"}})
    if details:
        entities[0]["detail"] = details
    severity = _coding("http://hl7.org/fhir/issue-severity", "success" if event.allowed else "error")
    return {
        "resourceType": "AuditEvent",
        "id": event.id,
        "category": [{"coding": [_dcm(event.category)]}],
        "code": {"coding": [event.code]},
        "action": event.action,
        "recorded": event.recorded,
        "outcome": {"code": severity, **({"detail": [{"text": event.why}]} if event.why else {})},
        **({"authorization": [_purpose(event.purpose)]} if event.purpose else {}),
        **({"patient": _reference("Patient", event.patient)} if event.patient else {}),
        **({"basedOn": [{"reference": f"Consent/{event.consent}"}]} if event.consent else {}),
        "agent": [_write_agent(agent, lambda at: {"networkString": at}) for agent in event.agents],
        "source": {"observer": _SELF, "type": [{"coding": [_SECURITY_SERVER]}]},
        **({"entity": entities} if entities else {}),
    }
