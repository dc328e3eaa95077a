"""FHIR resources of this export: how a Consent and an AuditEvent are written in R4 and in R5.

Whatever is not a resource of this export is referred to by its identifier.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from authz.domain import FOREVER, format_instant

Release = Literal["r4", "r5"]
Resource = dict[str, Any]
"""A resource, or a part of one, as JSON."""

DCM = "http://dicom.nema.org/resources/ontology/DCM"
HL7 = "http://terminology.hl7.org/CodeSystem"
BALP = "https://profiles.ihe.net/ITI/BALP"
AUTHZ_CONSENT_PROFILE = f"{BALP}/StructureDefinition/IHE.BasicAudit.AuthZconsent"

_DISPLAYS = {
    "110101": "Audit Log Used",
    "110110": "Patient Record",
    "110113": "Security Alert",
    "110129": "Security Configuration",
    "110135": "Object Security Attributes Changed",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
}


def coding(system: str, code: str, display: str = "") -> dict[str, str]:
    """Return a Coding."""
    return {"system": system, "code": code, **({"display": display} if display else {})}


def concept(system: str, code: str, display: str = "") -> Resource:
    """Return a CodeableConcept with one coding."""
    return {"coding": [coding(system, code, display)]}


def dicom_coding(code: str) -> dict[str, str]:
    """Return a Coding of DICOM with its display."""
    return coding(DCM, code, _DISPLAYS[code])


APPLICATION = concept(DCM, "110150", "Application")
RECIPIENT = concept(f"{HL7}/v3-ParticipationType", "IRCP", "information recipient")
AUTHOR = concept(f"{HL7}/v3-ParticipationType", "AUT", "author (originator)")
PROVIDER = concept(f"{HL7}/v3-RoleClass", "PROV", "healthcare provider")
AUTHORIZER = concept(f"{HL7}/extra-security-role-type", "authserver", "authorization server")
_SECURITY_SERVER = coding(f"{HL7}/security-source-type", "6", "Security Server")


def reference(kind: str, name: object) -> Resource:
    """Return a logical reference: an identifier, which may hold characters that the id of a resource may not."""
    system = f"urn:caregrant:{'client' if kind == 'Device' else kind.lower()}"
    return {"type": kind, "identifier": {"system": system, "value": str(name)}}


CAREGRANT = reference("Device", "caregrant")


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


# Consents.


def consent_r4(consent: ConsentFields) -> Resource:
    """Return a Consent of R4."""
    return {
        "resourceType": "Consent",
        "id": consent.id,
        "status": "active" if consent.live else "inactive",
        "scope": concept(f"{HL7}/consentscope", "patient-privacy", "Privacy Consent"),
        "category": [concept("http://loinc.org", "59284-0", "Consent Document")],
        **({"patient": reference("Patient", consent.patient)} if consent.patient else {}),
        "dateTime": format_instant(consent.begin),
        **({"performer": [reference("Practitioner", consent.giver)]} if consent.giver else {}),
        "organization": [reference("Organization", consent.subscription)],
        "policyRule": {"text": f"caregrant: {consent.role}"},
        "provision": {
            "type": "permit",
            "period": consent.period,
            "actor": [{"role": RECIPIENT, "reference": reference("Practitioner", consent.holder)}],
        },
    }


def consent_r5(consent: ConsentFields) -> Resource:
    """Return a Consent of R5."""
    holder = reference("Practitioner", consent.holder)
    return {
        "resourceType": "Consent",
        "id": consent.id,
        "status": "active" if consent.live else "inactive",
        "category": [concept("http://loinc.org", "59284-0", "Consent Document")],
        **({"subject": reference("Patient", consent.patient)} if consent.patient else {}),
        "date": f"{consent.begin:%Y-%m-%d}",
        "period": consent.period,
        **({"grantor": [reference("Practitioner", consent.giver)]} if consent.giver else {}),
        "grantee": [holder],
        "controller": [reference("Organization", consent.subscription)],
        "policyText": [{"display": f"caregrant: {consent.role}"}],
        "decision": "permit",
        "provision": [{"period": consent.period, "actor": [{"role": RECIPIENT, "reference": holder}]}],
    }


# Events and decisions.


def _purpose(purpose: str) -> Resource:
    is_code = purpose.isascii() and purpose.isupper() and purpose.isalpha()
    return concept(f"{HL7}/v3-ActReason", purpose) if is_code else {"text": purpose}


def _write_agent(agent: Resource, network: Callable[[str], Resource]) -> Resource:
    """Return an agent as a release writes it; `network` returns the members for a network address."""
    names = ("type", "role", "who", "requestor", "policy")
    members = {name: agent[name] for name in names if agent.get(name, []) != []}
    return members | (network(agent["address"]) if agent["address"] else {})


def audit_event_r4(event: AuditEventFields) -> Resource:
    """Return an AuditEvent of R4."""
    return {
        "resourceType": "AuditEvent",
        "id": event.id,
        **({"meta": {"profile": [event.profile]}} if event.profile else {}),
        "type": dicom_coding(event.category),
        "subtype": [event.code],
        "action": event.action,
        "recorded": event.recorded,
        "outcome": "0" if event.allowed else "8",
        **({"outcomeDesc": event.why} if event.why else {}),
        **({"purposeOfEvent": [_purpose(event.purpose)]} if event.purpose else {}),
        "agent": [
            _write_agent(agent, network=lambda at: {"network": {"address": at, "type": "2"}}) for agent in event.agents
        ],
        "source": {"site": "caregrant", "observer": CAREGRANT, "type": [_SECURITY_SERVER]},
        **({"entity": entities} if (entities := _entities_r4(event)) else {}),
    }


def _entities_r4(event: AuditEventFields) -> list[Resource]:
    entities: list[Resource] = []
    details = [{"type": name, "valueString": value} for name, value in event.details.items()]
    if event.patient:
        entities.append(
            {
                "what": reference("Patient", event.patient),
                "type": coding(f"{HL7}/audit-entity-type", "1", "Person"),
                "role": coding(f"{HL7}/object-role", "1", "Patient"),
            }
        )
    if event.consent:
        consent = coding("http://hl7.org/fhir/resource-types", "Consent", "Consent")
        entities.append({"what": {"reference": f"Consent/{event.consent}"}, "type": consent})
    if details and entities:
        entities[0]["detail"] = details
    elif details:
        entities.append({"type": coding(f"{HL7}/audit-entity-type", "4", "Other"), "detail": details})
    return entities


def audit_event_r5(event: AuditEventFields) -> Resource:
    """Return an AuditEvent of R5."""
    details = [{"type": {"text": name}, "valueString": value} for name, value in event.details.items()]
    entities: list[Resource] = []
    if event.patient:
        role = concept(f"{HL7}/object-role", "1", "Patient")
        entities.append({"what": reference("Patient", event.patient), "role": role})
    if event.consent:
        entities.append({"what": {"reference": f"Consent/{event.consent}"}})
    if details and not entities:
        entities.append({"role": {"text": "what happened"}})
    if details:
        entities[0]["detail"] = details
    severity = coding("http://hl7.org/fhir/issue-severity", "success" if event.allowed else "error")
    return {
        "resourceType": "AuditEvent",
        "id": event.id,
        "category": [{"coding": [dicom_coding(event.category)]}],
        "code": {"coding": [event.code]},
        "action": event.action,
        "recorded": event.recorded,
        "outcome": {"code": severity, **({"detail": [{"text": event.why}]} if event.why else {})},
        **({"authorization": [_purpose(event.purpose)]} if event.purpose else {}),
        **({"patient": reference("Patient", event.patient)} if event.patient else {}),
        **({"basedOn": [{"reference": f"Consent/{event.consent}"}]} if event.consent else {}),
        "agent": [_write_agent(agent, lambda at: {"networkString": at}) for agent in event.agents],
        "source": {"observer": CAREGRANT, "type": [{"coding": [_SECURITY_SERVER]}]},
        **({"entity": entities} if entities else {}),
    }
