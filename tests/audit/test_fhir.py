"""The record in FHIR: every resource is valid in its release, and says what the record says."""

from collections import Counter
from typing import Any

import orjson
import pytest
from fhir.resources.auditevent import AuditEvent as AuditEventR5
from fhir.resources.consent import Consent as ConsentR5
from fhir.resources.R4B.auditevent import AuditEvent as AuditEventR4
from fhir.resources.R4B.consent import Consent as ConsentR4

from authz.audit.export.fhir import resources
from authz.audit.export.fhir_resources import Release
from authz.callers.clients import add_client, find_client
from authz.database import Database
from authz.domain import format_instant, to_micros
from authz.models import Event, Grant, RecordedDecision, StandingShare
from authz.policy.decision import Decision
from authz.record import Actor, RecordedQuestion, record_decisions
from tests.support.people import NOW
from tests.support.sample_record import record

MODELS: dict[Release, dict[str, Any]] = {
    "r4": {"AuditEvent": AuditEventR4, "Consent": ConsentR4},
    "r5": {"AuditEvent": AuditEventR5, "Consent": ConsentR5},
}
PROFILE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent"


def number(database: Database, *which: Any) -> int:
    """Return the number of the only grant that meets these conditions."""
    ((resources_by_id,),) = Grant.select(Grant.id).where(*which).tuples().execute(database)
    return int(resources_by_id)


@pytest.fixture
def decided_record(database: Database) -> Database:
    """Return a record with a permit by a grant, a permit by a standing share and a denial, all to an app."""
    record(database)
    app = find_client(database, add_client(database, name="app", scopes=["decide"], now=NOW), now=NOW)
    assert app is not None
    actor = Actor("", NOW, client=app.id, address="192.0.2.9", request_id="r-app")
    grant = (
        Grant.select(Grant.id).where(Grant.patient == "p-1", Grant.role == "viewer").tuples().execute(database)[0][0]
    )
    decisions = [
        Decision(True, "permitted", "f" * 64, to_micros(NOW), ("R5",), grant),
        Decision(True, "permitted", "f" * 64, to_micros(NOW), ("R4",), None, 1),
        Decision(False, "denied", "f" * 64, to_micros(NOW)),
    ]
    question = RecordedQuestion(("practitioner", "bob"), "view", ("patient", "p-1"), purpose="TREAT")
    record_decisions(database, actor, [(question, decided) for decided in decisions])
    return database


@pytest.mark.parametrize("release", list(MODELS))
def test_every_resource_is_valid(release: Release, decided_record: Database) -> None:
    """Each event and decision is a Consent or an AuditEvent that a library of the release accepts."""
    counted: Counter[str] = Counter()
    names = set()
    for resource in resources(decided_record, release, NOW):
        counted[resource["resourceType"]] += 1
        names.add((resource["resourceType"], resource["id"]))
        MODELS[release][resource["resourceType"]].model_validate_json(orjson.dumps(resource))
    assert counted["Consent"] == Grant.select().count(decided_record) + StandingShare.select().count(decided_record)
    assert counted["AuditEvent"] == Event.select().count(decided_record) + RecordedDecision.select().count(
        decided_record
    )
    assert len(names) == counted.total()


def resources_of(database: Database, release: Release) -> dict[str, dict[str, Any]]:
    return {resource["id"]: resource for resource in resources(database, release, NOW)}


def test_a_decision_follows_balp_where_it_can(decided_record: Database) -> None:
    """A permit follows the BALP profile, with four agents and two entities; a denial does not claim it."""
    last = RecordedDecision.select().count(decided_record)
    resources_by_id = resources_of(decided_record, "r4")
    by_grant, by_share, denied = (resources_by_id[f"decision-{last - ago}"] for ago in (2, 1, 0))
    for permitted in (by_grant, by_share):
        assert permitted["meta"]["profile"] == [PROFILE]
        kinds = [agent["type"]["coding"][0]["code"] for agent in permitted["agent"]]
        assert kinds == ["110150", "IRCP", "PROV", "authserver"]
        assert permitted["agent"][0]["network"] == {"address": "192.0.2.9", "type": "2"}
        assert [agent["requestor"] for agent in permitted["agent"]] == [False, True, False, False]
        assert [entity["type"]["code"] for entity in permitted["entity"]] == ["1", "Consent"]
        assert permitted["entity"][1]["what"]["reference"].removeprefix("Consent/") in resources_by_id
        assert (permitted["type"]["code"], permitted["action"], permitted["outcome"]) == ("110113", "E", "0")
        assert permitted["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
        assert permitted["recorded"] == format_instant(NOW)
    assert "meta" not in denied
    assert (denied["subtype"][0]["code"], denied["outcome"], denied["outcomeDesc"]) == ("AuthZ-Role", "8", "denied")


def test_a_share_and_its_end_are_told(decided_record: Database) -> None:
    """A share is a created event with giver and receiver; its end is an update with the cause."""
    resources_by_id = resources_of(decided_record, "r5")
    grant = (
        Grant.select(Grant.id)
        .where(Grant.patient == "p-5", Grant.reason == "on leave")
        .tuples()
        .execute(decided_record)[0][0]
    )
    of_grant = [
        resource
        for resource in resources_by_id.values()
        if resource.get("basedOn") == [{"reference": f"Consent/grant-{grant}"}]
    ]
    started, ended = (resource for resource in of_grant if resource["id"].startswith("event-"))
    assert (started["action"], ended["action"]) == ("C", "U")
    assert ended["outcome"]["detail"] == [{"text": "ended"}]
    who = [agent["who"]["identifier"]["value"] for agent in started["agent"]]
    assert who == ["alice", "bob", "north"]
    consent = resources_by_id[f"grant-{grant}"]
    assert (consent["status"], consent["decision"]) == ("inactive", "permit")
    assert consent["grantor"][0]["identifier"]["value"] == "alice"
    assert "end" in consent["period"]
