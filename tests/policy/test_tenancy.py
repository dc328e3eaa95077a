"""Asked within one subscription, everything of another is as what does not exist."""

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
    return pdp_of(database)


def test_what_belongs_to_a_subscription(pdp: PDP) -> None:
    """What permits without a bound permits within the clinic that it is of, and within no other."""
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
            found = pdp.search_resources(subject, action, resource[0], tenant=tenant)
            assert (resource[1] in found) is expected
            assert (who in pdp.search_subjects("practitioner", action, resource, tenant=tenant)) is expected
            assert (action in pdp.search_actions(subject, resource, tenant=tenant)) is expected


def test_within_is_the_rest_of_nothing(pdp: PDP) -> None:
    """Whatever is found within a clinic is found without a bound, and of the patients it is exactly the clinic's."""
    of = {row.id: row.subscription_id for row in Patient.select().execute(pdp.database)}
    worked = {(row.practitioner_id, row.subscription_id) for row in Membership.select().execute(pdp.database)}
    for who in ("alice", "mia", "oscar", "frank", "grace"):
        for action in ("view", "receive"):
            subject = ("practitioner", who)
            every = pdp.search_resources(subject, action, "patient")
            for clinic in ("north", "city", "harbour"):
                expected = [one for one in every if of[one] == clinic and (who, clinic) in worked]
                assert pdp.search_resources(subject, action, "patient", tenant=clinic) == expected


def test_no_explanation_tells_of_another_clinic(pdp: PDP) -> None:
    """A pair of which one is elsewhere is explained word for word as one that does not exist."""
    pairs = [("frank", "p-1"), ("nobody", "p-1"), ("alice", "p-city"), ("alice", "none"), ("frank", "p-city")]
    told = [pdp.explain(("practitioner", who), "view", ("patient", what), tenant="north") for who, what in pairs]
    assert len(set(told)) == 1
    assert pdp.explain(("practitioner", "oscar"), "view", ("patient", "p-1"), tenant="north").derivations


def test_each_way_to_a_document_is_asked_once() -> None:
    """A document follows its patient or, without one, its author: no way asks for both, which would find nothing."""
    ways = POLICY.queries["Practitioner", "Document"]
    assert [len(list(restrict_to_tenant(way, POLICY.types))) for way in ways] == [1] * len(ways)
