"""`/.well-known/authzen-configuration` (AuthZEN 9): from the configuration, and signed if there is a key."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from authz.database import Database
from authz.errors import InvalidInput
from tests.support import people
from tests.support.http import App, Person, assert_problem, question, service

WELL_KNOWN = "/.well-known/authzen-configuration"


def read(database: Database, path: str = WELL_KNOWN, **settings: Any) -> Any:
    response = service(database, **settings).test_client().get(path, headers={"Host": "evil.example"})
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert "evil" not in response.text
    return response.json


def test_64_66_67_68_70_it_says_where_everything_is(sqlite_database: Database) -> None:
    """Everybody reads the metadata; its identifier is the configured one, whatever the Host header says."""
    metadata = read(sqlite_database, public_url="https://pdp.example")
    base = "https://pdp.example/access/v1"
    assert metadata == {
        "policy_decision_point": "https://pdp.example",
        "access_evaluation_endpoint": f"{base}/evaluation",
        "access_evaluations_endpoint": f"{base}/evaluations",
        "search_subject_endpoint": f"{base}/search/subject",
        "search_resource_endpoint": f"{base}/search/resource",
        "search_action_endpoint": f"{base}/search/action",
    }


def test_65_66_a_path_of_the_identifier_follows_the_well_known_string(sqlite_database: Database) -> None:
    """The metadata of `https://h/tenant1/` stands at `…/authzen-configuration/tenant1`."""
    url = "https://pdp.example/tenant1/"
    metadata = read(sqlite_database, f"{WELL_KNOWN}/tenant1", public_url=url)
    assert metadata["policy_decision_point"] == url
    assert metadata["access_evaluation_endpoint"] == "https://pdp.example/tenant1/access/v1/evaluation"
    client = service(sqlite_database, public_url=url).test_client()
    for other in (WELL_KNOWN, f"{WELL_KNOWN}/tenant2"):
        assert_problem(client.get(other), 404, "not-found")
    assert_problem(service(sqlite_database).test_client().get(WELL_KNOWN), 404, "not-found", "CAREGRANT_PUBLIC_URL")


def test_1_2_3_4_5_each_endpoint_is_where_it_says(sqlite_database: Database) -> None:
    """Every endpoint of the metadata answers POST with JSON; the default paths contain `v1`."""
    people.fill(sqlite_database)
    flask = service(sqlite_database, public_url="https://pdp.example")
    app = App(flask, sqlite_database)
    endpoints = {
        name: url for name, url in read(sqlite_database, public_url="https://pdp.example").items() if "endpoint" in name
    }
    assert len(endpoints) == 5
    for url in endpoints.values():
        path = url.removeprefix("https://pdp.example")
        assert path.startswith("/access/v1/")
        assert app.ask(question(), path).status_code == 200


def test_69_signed(sqlite_database: Database, tmp_path: Path) -> None:
    """`signed_metadata` is a JWS by the configured key, with this PDP as issuer and the values of the metadata."""
    key = tmp_path / "key.json"
    metadata = read(sqlite_database, public_url="https://pdp.example", metadata_key=str(key))
    token = jwt.decode(
        metadata.pop("signed_metadata"), ECKey.import_key(json.loads(key.read_text())), algorithms=["ES256"]
    )
    assert token.claims == {"iss": "https://pdp.example", **metadata}


@pytest.mark.parametrize(
    "url",
    ["http://pdp.example", "https://", "https://h?x", "https://h#x", "pdp.example", "https://a@h", "https://h/ x"],
)
def test_66_no_other_identifier(sqlite_database: Database, url: str) -> None:
    """With an identifier that is not https, has no host, or has a query or fragment, the service does not start."""
    with pytest.raises(InvalidInput, match="CAREGRANT_PUBLIC_URL"):
        service(sqlite_database, public_url=url)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_6_other_methods_are_405(sqlite_database: Database, method: str) -> None:
    """An endpoint answers every method but POST with 405."""
    flask = service(sqlite_database)
    app = App(flask, sqlite_database)
    caller = Person(flask, {"Authorization": f"Bearer {app.key}"})
    for what in ("evaluation", "evaluations", "search/subject", "search/resource", "search/action"):
        assert_problem(caller.call(method, f"/access/v1/{what}"), 405, "method-not-allowed")
