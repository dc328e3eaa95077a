"""The record in FHIR: every resource is one of its release, and tells what the record tells."""

from collections import Counter
from typing import Any

import orjson
import pytest
from fhir.resources.auditevent import AuditEvent as AuditEventR5
from fhir.resources.consent import Consent as ConsentR5
from fhir.resources.R4B.auditevent import AuditEvent as AuditEventR4
from fhir.resources.R4B.consent import Consent as ConsentR4

from authz.audit.export.fhir import Release, resources
from authz.callers.clients import add_client, find_client
from authz.database import Database
from authz.domain import format_instant, to_micros
from authz.models import Decision, Event, Grant, StandingShare
from authz.policy.decision import Decision as Decided
from authz.record import Actor, RecordedQuestion, record_decisions
from tests.support.people import NOW
from tests.support.recorded import record

MODELS: dict[Release, dict[str, Any]] = {
    "r4": {"AuditEvent": AuditEventR4, "Consent": ConsentR4},
    "r5": {"AuditEvent": AuditEventR5, "Consent": ConsentR5},
}
PROFILE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent"


def number(database: Database, *which: Any) -> int:
    """The number of the only grant of this kind."""
    ((found,),) = Grant.select(Grant.id).where(*which).tuples().execute(database)
    return int(found)


@pytest.fixture
def asked(database: Database) -> Database:
    """A record, and a permit by a grant, one by a standing share and a denial, to an app."""
    record(database)
    app = find_client(database, add_client(database, name="app", scopes=["decide"], now=NOW), now=NOW)
    assert app is not None
    actor = Actor("", NOW, client=app.id, address="192.0.2.9", request_id="r-app")
    grant = (
        Grant.select(Grant.id).where(Grant.patient == "p-1", Grant.role == "viewer").tuples().execute(database)[0][0]
    )
    given = [
        Decided(True, "permitted", "f" * 64, to_micros(NOW), ("R5",), grant),
        Decided(True, "permitted", "f" * 64, to_micros(NOW), ("R4",), None, 1),
        Decided(False, "denied", "f" * 64, to_micros(NOW)),
    ]
    question = RecordedQuestion(("practitioner", "bob"), "view", ("patient", "p-1"), purpose="TREAT")
    record_decisions(database, actor, [(question, one) for one in given])
    return database


@pytest.mark.parametrize("release", list(MODELS))
def test_every_resource_is_valid(release: Release, asked: Database) -> None:
    """Each line is a Consent or an AuditEvent that a library of the release's models accepts; none is left out."""
    counted: Counter[str] = Counter()
    names = set()
    for one in resources(asked, release, NOW):
        counted[one["resourceType"]] += 1
        names.add((one["resourceType"], one["id"]))
        MODELS[release][one["resourceType"]].model_validate_json(orjson.dumps(one))
    assert counted["Consent"] == Grant.select().count(asked) + StandingShare.select().count(asked)
    assert counted["AuditEvent"] == Event.select().count(asked) + Decision.select().count(asked)
    assert len(names) == counted.total()


def told(database: Database, release: Release) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in resources(database, release, NOW)}


def test_a_decision_follows_balp_where_it_can(asked: Database) -> None:
    """A permit by a grant claims the profile, with four agents and two entities; a denial without a grant does not."""
    last = Decision.select().count(asked)
    found = told(asked, "r4")
    by_grant, by_share, denied = (found[f"decision-{last - ago}"] for ago in (2, 1, 0))
    for permit in (by_grant, by_share):
        assert permit["meta"]["profile"] == [PROFILE]
        kinds = [agent["type"]["coding"][0]["code"] for agent in permit["agent"]]
        assert kinds == ["110150", "IRCP", "PROV", "authserver"]
        assert permit["agent"][0]["network"] == {"address": "192.0.2.9", "type": "2"}
        assert [agent["requestor"] for agent in permit["agent"]] == [False, True, False, False]
        assert [one["type"]["code"] for one in permit["entity"]] == ["1", "Consent"]
        assert permit["entity"][1]["what"]["reference"].removeprefix("Consent/") in found
        assert (permit["type"]["code"], permit["action"], permit["outcome"]) == ("110113", "E", "0")
        assert permit["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
        assert permit["recorded"] == format_instant(NOW)
    assert "meta" not in denied
    assert (denied["subtype"][0]["code"], denied["outcome"], denied["outcomeDesc"]) == ("AuthZ-Role", "8", "denied")


def test_a_share_and_its_end_are_told(asked: Database) -> None:
    """A share is created by who gave it for who has it; its end is an update with its cause; the consent has ended."""
    found = told(asked, "r5")
    grant = (
        Grant.select(Grant.id).where(Grant.patient == "p-5", Grant.reason == "on leave").tuples().execute(asked)[0][0]
    )
    of_grant = [one for one in found.values() if one.get("basedOn") == [{"reference": f"Consent/grant-{grant}"}]]
    started, ended = (one for one in of_grant if one["id"].startswith("event-"))
    assert (started["action"], ended["action"]) == ("C", "U")
    assert ended["outcome"]["detail"] == [{"text": "ended"}]
    who = [agent["who"]["identifier"]["value"] for agent in started["agent"]]
    assert who == ["alice", "bob", "north"]
    consent = found[f"grant-{grant}"]
    assert (consent["status"], consent["decision"]) == ("inactive", "permit")
    assert consent["grantor"][0]["identifier"]["value"] == "alice"
    assert "end" in consent["period"]
