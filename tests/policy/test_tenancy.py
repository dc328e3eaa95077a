"""Tenancy: for a key of one subscription, things of another subscription do not exist."""

import pytest

from authz.database import Database
from authz.models import Membership, Patient
from authz.policy.compiler import restrict_to_tenant
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from tests.support import people
from tests.support.acting import POLICY, pdp_of


@pytest.fixture
def pdp(database: Database) -> PDP:
    people.fill(database)
    if database.dialect == "postgresql":
        database.connection().prepare_threshold = 0  # plan each statement once, not five times
    return pdp_of(database)


def test_what_belongs_to_a_subscription(pdp: PDP) -> None:
    """A permit without a tenant is a permit for the tenant of the resource, and for no other tenant."""
    belongs: dict[tuple[str, str, Ref], str] = {
        ("alice", "view", ("patient", "p-1")): "north",
        ("frank", "view", ("patient", "p-city")): "city",
        ("alice", "receive", ("subscription", "north")): "north",
        ("alice", "view", ("document", "by-alice")): "north",
        ("alice", "view", ("document", "library-alice")): "north",
        ("frank", "edit", ("document", "library-frank")): "city",
        ("carol", "view", ("document", "library-alice")): "north",
    }
    for (who, action, resource), clinic in belongs.items():
        subject = ("practitioner", who)
        assert pdp.evaluate(subject, action, resource).allowed, (who, action, resource)
        for tenant in ("north", "city", "harbour", "none"):
            expected = tenant == clinic
            assert pdp.evaluate(subject, action, resource, tenant=tenant).allowed is expected, (who, resource, tenant)
            (many,) = pdp.evaluate_many([(subject, action, resource)], tenant=tenant)
            assert many.allowed is expected
            resources = pdp.search_resources(subject, action, resource[0], tenant=tenant)
            assert (resource[1] in resources) is expected
            assert (who in pdp.search_subjects("practitioner", action, resource, tenant=tenant)) is expected
            assert (action in pdp.search_actions(subject, resource, tenant=tenant)) is expected


def test_a_tenant_search_finds_the_tenants_patients(pdp: PDP) -> None:
    """A search for a tenant finds exactly the tenant's patients among those that a search without a tenant finds."""
    of = {row.id: row.subscription_id for row in Patient.select().execute(pdp.database)}
    worked = {(row.practitioner_id, row.subscription_id) for row in Membership.select().execute(pdp.database)}
    for who in ("alice", "mia", "oscar", "frank", "grace"):
        for action in ("view", "receive"):
            subject = ("practitioner", who)
            every = pdp.search_resources(subject, action, "patient")
            for clinic in ("north", "city", "harbour"):
                expected = [patient for patient in every if of[patient] == clinic and (who, clinic) in worked]
                assert pdp.search_resources(subject, action, "patient", tenant=clinic) == expected


def test_no_explanation_tells_of_another_clinic(pdp: PDP) -> None:
    """A pair with an end in another clinic gets the same explanation as a pair that does not exist."""
    pairs = [("frank", "p-1"), ("nobody", "p-1"), ("alice", "p-city"), ("alice", "none"), ("frank", "p-city")]
    answer = [pdp.explain(("practitioner", who), "view", ("patient", what), tenant="north") for who, what in pairs]
    assert len(set(answer)) == 1
    assert pdp.explain(("practitioner", "oscar"), "view", ("patient", "p-1"), tenant="north").derivations


def test_each_derivation_to_a_document_is_asked_once() -> None:
    """Each derivation to a document asks for its patient or its author, never for both, which would find nothing."""
    queries = POLICY.queries["Practitioner", "Document"]
    assert [len(list(restrict_to_tenant(query, POLICY.types))) for query in queries] == [1] * len(queries)
