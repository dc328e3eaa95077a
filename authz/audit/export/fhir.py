"""The record in FHIR, R4 and R5: each grant and standing share as a Consent, each event and answer as an AuditEvent.

Decisions follow IHE BALP's *AuthZconsent* and claim its profile where they can: a permit with a grant behind it, an
app that asked, and the address it asked from. Whatever is not a resource of this export is referred to by its
identifier. One JSON object a line, streamed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from authz.audit.export.log import Line
from authz.database import Database, database_connection
from authz.domain import FOREVER, format_instant, format_micros
from authz.models import Event, Grant, Patient, StandingShare
from authz.record.sealing import decisions

Release = Literal["r4", "r5"]
Resource = dict[str, Any]

_AT_ONCE = 1000
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_BALP = "https://profiles.ihe.net/ITI/BALP"
_PROFILE = f"{_BALP}/StructureDefinition/IHE.BasicAudit.AuthZconsent"

_CODES = {
    "110101": "Audit Log Used",
    "110110": "Patient Record",
    "110113": "Security Alert",
    "110129": "Security Configuration",
    "110135": "Object Security Attributes Changed",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
}
_NOUNS = {
    "grant": "110135",
    "standing_share": "110135",
    "membership": "110136",
    "client": "110136",
    "practitioner": "110137",
    "patient": "110110",
    "decisions": "110101",
    "record": "110101",
}
"""What each kind of event is in DICOM's words; what is not here is a change of the configuration."""


def _coding(system: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def _concept(system: str, code: str, display: str = "") -> Resource:
    return {"coding": [_coding(system, code, display)]}


def _dcm(code: str) -> dict[str, str]:
    return _coding(_DCM, code, _CODES[code])


_CLIENT = _concept(_DCM, "110150", "Application")
_RECIPIENT = _concept(f"{_HL7}/v3-ParticipationType", "IRCP", "information recipient")
_AUTHOR = _concept(f"{_HL7}/v3-ParticipationType", "AUT", "author (originator)")
_PROVIDER = _concept(f"{_HL7}/v3-RoleClass", "PROV", "healthcare provider")
_AUTHORIZER = _concept(f"{_HL7}/extra-security-role-type", "authserver", "authorization server")
_SECURITY_SERVER = _coding(f"{_HL7}/security-source-type", "6", "Security Server")


def _reference(kind: str, name: object) -> Resource:
    """A logical reference: by an identifier, which may hold what a resource's id may not."""
    system = f"urn:caregrant:{'client' if kind == 'Device' else kind.lower()}"
    return {"type": kind, "identifier": {"system": system, "value": str(name)}}


_SELF = _reference("Device", "caregrant")


@dataclass(frozen=True)
class _Audit:
    """An AuditEvent before its release: what both tell."""

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
    """Every Consent, then every AuditEvent, in the order of the record. Raises `Unavailable`."""
    consent, audit = {"r4": (_consent_r4, _audit_r4), "r5": (_consent_r5, _audit_r5)}[release]
    with database_connection(database):
        for one in _consents(database, now):
            yield consent(one)
        for event in _events(database):
            yield audit(_of_event(event))
        for decision in _decisions(database):
            yield audit(_of_decision(decision))


# Consents.


@dataclass(frozen=True)
class _Consent:
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


def _consents(database: Database, now: datetime) -> Iterator[_Consent]:
    for row in _pages(database, Grant.select(Grant, Patient.subscription.alias("place")).join(Patient), Grant.id):
        live = row["started_at"] <= now < row["ended_at"]
        giver, holder = row["given_by"], row["practitioner"]
        life = (row["started_at"], row["ended_at"])
        yield _Consent(f"grant-{row['id']}", live, row["patient"], row["place"], giver, holder, row["role"], *life)
    for row in _pages(database, StandingShare.select(), StandingShare.id):
        live = row["started_at"] <= now < row["ended_at"]
        name, life = f"standing-share-{row['id']}", (row["started_at"], row["ended_at"])
        yield _Consent(name, live, "", row["subscription"], row["owner"], row["colleague"], "viewer", *life)


def _consent_r4(one: _Consent) -> Resource:
    return {
        "resourceType": "Consent",
        "id": one.id,
        "status": "active" if one.live else "inactive",
        "scope": _concept(f"{_HL7}/consentscope", "patient-privacy", "Privacy Consent"),
        "category": [_concept("http://loinc.org", "59284-0", "Consent Document")],
        **({"patient": _reference("Patient", one.patient)} if one.patient else {}),
        "dateTime": format_instant(one.begin),
        **({"performer": [_reference("Practitioner", one.giver)]} if one.giver else {}),
        "organization": [_reference("Organization", one.subscription)],
        "policyRule": {"text": f"caregrant: {one.role}"},
        "provision": {
            "type": "permit",
            "period": one.period,
            "actor": [{"role": _RECIPIENT, "reference": _reference("Practitioner", one.holder)}],
        },
    }


def _consent_r5(one: _Consent) -> Resource:
    holder = _reference("Practitioner", one.holder)
    return {
        "resourceType": "Consent",
        "id": one.id,
        "status": "active" if one.live else "inactive",
        "category": [_concept("http://loinc.org", "59284-0", "Consent Document")],
        **({"subject": _reference("Patient", one.patient)} if one.patient else {}),
        "date": f"{one.begin:%Y-%m-%d}",
        "period": one.period,
        **({"grantor": [_reference("Practitioner", one.giver)]} if one.giver else {}),
        "grantee": [holder],
        "controller": [_reference("Organization", one.subscription)],
        "policyText": [{"display": f"caregrant: {one.role}"}],
        "decision": "permit",
        "provision": [{"period": one.period, "actor": [{"role": _RECIPIENT, "reference": holder}]}],
    }


# Events and decisions.


def _pages(database: Database, query: Any, key: Any) -> Iterator[Line]:
    after = 0
    while True:
        rows = list(query.clone().where(key > after).order_by(key).limit(_AT_ONCE).dicts().execute(database))
        yield from rows
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1]["id"]


def _events(database: Database) -> Iterator[Line]:
    return _pages(database, Event.select(), Event.id)


def _decisions(database: Database) -> Iterator[Line]:
    after = 0
    while rows := decisions(database, after, 2**62, _AT_ONCE):
        yield from rows
        after = rows[-1]["id"]


def _agent(kind: Resource, who: Resource, *, requestor: bool = False, address: str = "", **more: Any) -> Resource:
    return {"type": kind, "who": who, "requestor": requestor, "address": address, **more}


def _asking(row: Mapping[str, Any]) -> list[Resource]:
    """The app through which, with the address from which; without an app the address is the practitioner's own."""
    if row["client"] is None:
        return []
    return [_agent(_CLIENT, _reference("Device", row["client"]), address=row["address"])]


def _of_event(row: Line) -> _Audit:
    noun, _, verb = row["kind"].partition(":")
    code = _NOUNS.get(noun, "110129")
    body = row["body"] if isinstance(row["body"], dict) else {}
    told = body.get("after") or body.get("before") or {}
    actor = _reference("Practitioner", row["actor"]) if row["actor"] else _SELF
    agents = [_agent(_AUTHOR, actor, requestor=True, address=row["address"]), *_asking(row)]
    holder = told.get("practitioner") or told.get("colleague")
    if holder:
        agents.append(_agent(_RECIPIENT, _reference("Practitioner", holder)))
    if row["subscription"]:
        agents.append(_agent(_PROVIDER, _reference("Organization", row["subscription"])))
    number = body.get(noun)
    named = {"grant": "grant", "standing_share": "standing-share"}.get(noun)
    details = {
        "kind": row["kind"],
        "origin": told.get("origin", ""),
        "policy": body.get("policy_version") or told.get("version", ""),
    }
    details |= {"sheet": body.get("sheet", ""), "ran by": body.get("ran_by", "")}
    return _Audit(
        f"event-{row['id']}",
        code if code in ("110101", "110110") else "110113",
        _dcm(code),
        "C" if verb in ("added", "started", "imported", "loaded", "kept", "filled") else "U",
        format_instant(row["at"]),
        True,
        told.get("end_cause") or "",
        "",
        agents,
        row["patient"],
        f"{named}-{number}" if named and number else "",
        {name: value for name, value in details.items() if value},
    )


def _of_decision(row: Line) -> _Audit:
    grant, patient = row["grant"], row["resource"] if row["resource_type"] == "patient" else ""
    consent = f"grant-{grant}" if grant is not None else ""
    if not consent and row["standing_share"] is not None:
        consent = f"standing-share-{row['standing_share']}"
    role = [{"text": row["membership"]}] if row["membership"] else []
    subject = _reference("Practitioner" if row["subject_type"] == "practitioner" else "Device", row["subject"])
    user = _agent(_RECIPIENT, subject, requestor=True, address="" if row["client"] is not None else row["address"])
    agents = [*_asking(row), {**user, "role": role, "policy": [f"urn:caregrant:policy:{row['policy_version']}"]}]
    if row["subscription"]:
        agents.append(_agent(_PROVIDER, _reference("Organization", row["subscription"])))
    agents.append(_agent(_AUTHORIZER, _SELF))
    kind = "AuthZ-Consent" if consent else "AuthZ-Role"
    known = row["client"] is not None and row["address"] and row["subscription"]
    details = {"action": row["action"], "rule": row["rule"], "reason": row["reason"], "request": row["request_id"]}
    resource = "" if patient else f"{row['resource_type']}:{row['resource']}"
    return _Audit(
        f"decision-{row['id']}",
        "110113",
        _coding(f"{_BALP}/CodeSystem/AuthZsubType", kind),
        "E",
        format_micros(row["asked_at"]),
        bool(row["allowed"]),
        "" if row["allowed"] else row["reason"],
        row["purpose"],
        agents,
        patient,
        consent,
        {name: value for name, value in {**details, "resource": resource}.items() if value},
        _PROFILE if row["allowed"] and consent and patient and known else "",
    )


def _purpose(one: str) -> Resource:
    return _concept(f"{_HL7}/v3-ActReason", one) if one.isascii() and one.isupper() and one.isalpha() else {"text": one}


def _agent_as(agent: Resource, network: Callable[[str], Resource]) -> Resource:
    """An agent in a release, which says how a network address is told."""
    told = {name: agent[name] for name in ("type", "role", "who", "requestor", "policy") if agent.get(name, []) != []}
    return told | (network(agent["address"]) if agent["address"] else {})


def _audit_r4(one: _Audit) -> Resource:
    return {
        "resourceType": "AuditEvent",
        "id": one.id,
        **({"meta": {"profile": [one.profile]}} if one.profile else {}),
        "type": _dcm(one.category),
        "subtype": [one.code],
        "action": one.action,
        "recorded": one.recorded,
        "outcome": "0" if one.allowed else "8",
        **({"outcomeDesc": one.why} if one.why else {}),
        **({"purposeOfEvent": [_purpose(one.purpose)]} if one.purpose else {}),
        "agent": [
            _agent_as(agent, network=lambda at: {"network": {"address": at, "type": "2"}}) for agent in one.agents
        ],
        "source": {"site": "caregrant", "observer": _SELF, "type": [_SECURITY_SERVER]},
        **({"entity": entities} if (entities := _entities_r4(one)) else {}),
    }


def _entities_r4(one: _Audit) -> list[Resource]:
    made: list[Resource] = []
    details = [{"type": name, "valueString": value} for name, value in one.details.items()]
    if one.patient:
        made.append(
            {
                "what": _reference("Patient", one.patient),
                "type": _coding(f"{_HL7}/audit-entity-type", "1", "Person"),
                "role": _coding(f"{_HL7}/object-role", "1", "Patient"),
            }
        )
    if one.consent:
        consent = _coding("http://hl7.org/fhir/resource-types", "Consent", "Consent")
        made.append({"what": {"reference": f"Consent/{one.consent}"}, "type": consent})
    if details and made:
        made[0]["detail"] = details
    elif details:
        made.append({"type": _coding(f"{_HL7}/audit-entity-type", "4", "Other"), "detail": details})
    return made


def _audit_r5(one: _Audit) -> Resource:
    details = [{"type": {"text": name}, "valueString": value} for name, value in one.details.items()]
    entities: list[Resource] = []
    if one.patient:
        role = _concept(f"{_HL7}/object-role", "1", "Patient")
        entities.append({"what": _reference("Patient", one.patient), "role": role})
    if one.consent:
        entities.append({"what": {"reference": f"Consent/{one.consent}"}})
    if details and not entities:
        entities.append({"role": {"text": "what happened"}})
    if details:
        entities[0]["detail"] = details
    severity = _coding("http://hl7.org/fhir/issue-severity", "success" if one.allowed else "error")
    return {
        "resourceType": "AuditEvent",
        "id": one.id,
        "category": [{"coding": [_dcm(one.category)]}],
        "code": {"coding": [one.code]},
        "action": one.action,
        "recorded": one.recorded,
        "outcome": {"code": severity, **({"detail": [{"text": one.why}]} if one.why else {})},
        **({"authorization": [_purpose(one.purpose)]} if one.purpose else {}),
        **({"patient": _reference("Patient", one.patient)} if one.patient else {}),
        **({"basedOn": [{"reference": f"Consent/{one.consent}"}]} if one.consent else {}),
        "agent": [_agent_as(agent, lambda at: {"networkString": at}) for agent in one.agents],
        "source": {"observer": _SELF, "type": [{"coding": [_SECURITY_SERVER]}]},
        **({"entity": entities} if entities else {}),
    }
