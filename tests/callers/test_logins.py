"""Forty pairs of logins, each the same person, another person or no login, at every place that takes a login."""

import io
import json
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from authz.callers.tokens import Tokens
from authz.database import Database, migrate, pending_migrations
from authz.domain import normalise_login
from authz.errors import ImportRefused, InvalidInput
from authz.importing import import_facts
from authz.models import Practitioner
from authz.settings import Settings
from tests.support import people
from tests.support.cli import run
from tests.support.http import POLICY, App, Person, answered, assert_problem, service
from tests.support.jwks_server import KeyServer, serving
from tests.support.people import NOW
from tests.support.signed_tokens import GOOD, ISSUER

OWNER = "owner@clinic.example"
SAME, ANOTHER, REFUSED = "the same person", "another person", "no login"

PAIRS = [
    # plain lower case, and canonical composition, are the only differences that do not count
    ("alice@clinic.example", "alice@clinic.example", SAME),
    ("alice@clinic.example", "Alice@Clinic.Example", SAME),
    ("alice@clinic.example", "ALICE@CLINIC.EXAMPLE", SAME),
    ("josé@clinic.example", "JOSÉ@clinic.example", SAME),
    ("josé@clinic.example", "jose\u0301@clinic.example", SAME),
    ("мария@clinic.example", "МАРИЯ@clinic.example", SAME),
    ("o'brien+knee@clinic.example", "O'Brien+Knee@clinic.example", SAME),
    # a domain is what IDNA 2008 makes of it
    ("mu@müller.example", "mu@xn--mller-kva.example", SAME),
    ("mu@xn--mller-kva.example", "MU@XN--MLLER-KVA.EXAMPLE", SAME),
    ("mu@müller.example", "mu@MÜLLER.example", SAME),
    ("mu@müller.example", "mu@mu\u0308ller.example", SAME),
    ("anna@straße.example", "anna@xn--strae-oqa.example", SAME),
    ("anna@straße.example", "anna@STRAẞE.example", SAME),
    ("anna@strasse.example", "anna@straße.example", ANOTHER),
    ("nikos@σας.example", "nikos@σασ.example", ANOTHER),
    ("alice@clinic.example", "alice@cl\u0456nic.example", ANOTHER),  # a Cyrillic i
    ("alice@clinic.example", "alice@sub.clinic.example", ANOTHER),
    # other mailboxes
    ("jose@clinic.example", "josé@clinic.example", ANOTHER),
    ("alice@clinic.example", "alıce@clinic.example", ANOTHER),  # a dotless i
    ("alice@clinic.example", "\u0430lice@clinic.example", ANOTHER),  # a Cyrillic a
    ("alice@clinic.example", "al.ice@clinic.example", ANOTHER),
    ("alice@clinic.example", "alice+1@clinic.example", ANOTHER),
    # another folding would make these their neighbours
    ("alice@clinic.example", "ªlice@clinic.example", REFUSED),
    ("oscar@clinic.example", "oſcar@clinic.example", REFUSED),
    ("kate@clinic.example", "\u212aate@clinic.example", REFUSED),
    ("fiona@clinic.example", "ﬁona@clinic.example", REFUSED),
    ("alice1@clinic.example", "alice¹@clinic.example", REFUSED),
    ("ipek@clinic.example", "İpek@clinic.example", REFUSED),
    ("strauss@clinic.example", "strauß@clinic.example", REFUSED),
    ("alice@clinic.example", "ａlice@clinic.example", REFUSED),
    ("alice@clinic.example", "alice@clinic。example", REFUSED),
    ("alice@clinic.example", "alice@ｃlinic.example", REFUSED),
    # what cannot be seen, and what is not part of an address
    ("alice@clinic.example", "al\u200bice@clinic.example", REFUSED),
    ("alice@clinic.example", "alice@clin\u00adic.example", REFUSED),
    ("alice@clinic.example", "\u202ealice@clinic.example", REFUSED),
    ("alice@clinic.example", "alice\ufe0f@clinic.example", REFUSED),
    ("alice@clinic.example", "alice\u3164@clinic.example", REFUSED),
    ("alice@clinic.example", "alice\u2800@clinic.example", REFUSED),
    ("alice@clinic.example", " alice@clinic.example", REFUSED),
    ("alice@clinic.example", "alice@clinic.example\u00a0", REFUSED),
    ("alice@clinic.example", "mailto:alice@clinic.example", REFUSED),
    ("alice@clinic.example", "Alice <alice@clinic.example>", REFUSED),
    ("alice@clinic.example", '"alice"@clinic.example', REFUSED),
    ("alice@clinic.example", "alice@clinic.example.", REFUSED),
]


class Doors:
    """A service where oscar has the first login of a pair; each method returns what the second login is there."""

    def __init__(self, database: Database, keys: KeyServer, first: str) -> None:
        people.fill(database)
        flask = service(database, jwks=keys.url, issuer=ISSUER)
        self.database, self.keys, self.flask = database, keys, flask
        self.app, self.operator = App(flask, database, "act"), App(flask, database, "admin")
        for who, mail in (("alice", OWNER), ("oscar", first)):
            assert self.provision(who, mail).status_code == 200

    def provision(self, who: str, mail: str) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.operator.key}"}
        body = {"login": mail, "name": "Some Body"}
        return self.operator.client.put(f"/v1/practitioners/{who}", json=body, headers=headers)

    def through_app(self, method: str, path: str, for_whom: str, **sent: Any) -> TestResponse:
        """Send the login in UTF-8 in an app's header."""
        headers = {"Authorization": f"Bearer {self.app.key}", "X-On-Behalf-Of": for_whom.encode().decode("latin-1")}
        return self.app.client.open(path, method=method, headers=headers, **sent)

    def signing_in(self, mail: str) -> str:
        """Sign in with the provider's token for the login."""
        token = self.keys.sign({**GOOD, "email": mail, "exp": int(time.time()) + 60})
        answer = Person(self.flask, {"Authorization": f"Bearer {token}"}).call("GET", "/v1/me")
        assert answer.status_code != 200 or answered(answer)["id"] == "oscar"
        return {200: SAME, 403: ANOTHER, 401: REFUSED}[answer.status_code]

    def acting_for(self, mail: str) -> str:
        """Act for the login through an app; a text that is no login is nobody's."""
        answer = self.through_app("GET", "/v1/me", mail)
        return {200: SAME, 403: ANOTHER}[answer.status_code]

    def sharing(self, mail: str) -> str:
        """Share with the login; every login but oscar's is refused alike."""
        answer = self.through_app("POST", "/v1/patients/p-1/shares", OWNER, json={"colleague": mail})
        if answer.status_code != 201:
            nobody = {"colleague": "nobody@clinic.example"}
            unknown = self.through_app("POST", "/v1/patients/p-1/shares", OWNER, json=nobody)
            assert answer.data == unknown.data
            assert_problem(answer, 422, "recipient-not-eligible")
        return SAME if answer.status_code == 201 else ANOTHER

    def importing(self, mail: str) -> str:
        """Import a new practitioner with the login, in a file whose second line is wrong."""
        lines: list[dict[str, Any]] = [
            {"practitioner": {"id": "new", "login": mail, "name": "N"}},
            {"membership": {"practitioner": "nobody", "subscription": "north", "role": "member"}},
        ]
        file = io.BytesIO("\n".join(map(json.dumps, lines)).encode())
        with pytest.raises(ImportRefused) as refused:
            import_facts(self.database, file, POLICY.types, now=NOW)
        why = str(refused.value)
        assert refused.value.line == 2 or "login" in why
        return ANOTHER if refused.value.line == 2 else SAME if "is that of oscar" in why else REFUSED

    def provisioning(self, mail: str) -> str:
        """Give the login to a new practitioner."""
        answer = self.provision("new", mail)
        if answer.status_code == 422:
            assert "login" in assert_problem(answer, 422, "invalid")["detail"]
        return {409: SAME, 200: ANOTHER, 422: REFUSED}[answer.status_code]


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyServer]:
    with serving() as server:
        yield server


@pytest.mark.parametrize(("first", "second", "expected"), PAIRS, ids=ascii)
def test_every_door_knows_the_same_people(
    sqlite_database: Database, keys: KeyServer, first: str, second: str, expected: str
) -> None:
    """Provisioning, import, sign-in, sharing and an app's header agree whose login a text is."""
    doors = Doors(sqlite_database, keys, first)
    nobody = ANOTHER if expected == REFUSED else expected
    assert doors.signing_in(second) == expected
    assert doors.acting_for(second) == nobody
    assert doors.sharing(second) == nobody
    assert doors.importing(second) == expected
    assert doors.provisioning(second) == expected


def test_there_are_forty_pairs() -> None:
    """The table holds at least forty pairs, and some of each kind."""
    assert len(PAIRS) >= 40
    assert {expected for *_, expected in PAIRS} == {SAME, ANOTHER, REFUSED}


@given(st.text(max_size=300) | st.emails() | st.from_regex(r"[^@]{1,20}@[^@]{1,20}", fullmatch=True))
def test_any_text(text: str) -> None:
    """Any text is refused or has one normal form, which is stable and has no invisible character."""
    try:
        normal = normalise_login(text)
    except InvalidInput:
        return
    assert normalise_login(normal) == normal
    assert normal == unicodedata.normalize("NFC", normal)
    assert normal.isprintable()
    assert " " not in normal


@pytest.mark.parametrize("value", [None, 7, True, [], {}, b"alice@clinic.example", "a" * 255 + "@clinic.example"])
def test_what_is_no_text_or_too_long(value: object) -> None:
    """A value of another type, or of more than 254 characters, is refused before it is compared."""
    with pytest.raises(InvalidInput, match="login"):
        normalise_login(value)


def test_the_development_token(tmp_path: Path) -> None:
    """`caregrant token` refuses what is no login in one line, and signs the normal form of a login."""
    key = str(tmp_path / "key")
    output = run("token", "mailto:alice@clinic.example", exit_code=1, CAREGRANT_DEVELOPMENT_KEY=key)
    assert "is not an e-mail address that can be a login" in output
    token = run("token", "mu@xn--mller-kva.example", CAREGRANT_DEVELOPMENT_KEY=key).strip()
    assert Tokens(Settings(development_key=key)).login_of(token, datetime.now(UTC)) == "mu@müller.example"


def old_logins(database: Database, logins: dict[str, str]) -> None:
    """Return a database of the previous release with these logins, before the migration that checks them."""
    rows = [(who, mail, "N") for who, mail in logins.items()]
    Practitioner.insert_many(rows, [Practitioner.id, Practitioner.login, Practitioner.name]).execute(database)
    database.execute_sql("DELETE FROM schema_migration WHERE name = '0010_logins'")


@pytest.mark.parametrize(
    ("logins", "expected"),
    [
        ({"a": "mu@müller.example", "b": "mu@xn--mller-kva.example"}, "a and b (are one login now)"),
        ({"a": "mu@xn--mller-kva.example"}, "a (has another spelling now)"),
        ({"a": "mailto:alice@clinic.example"}, "a (cannot be a login)"),
        ({"a": "al\u200bice@clinic.example"}, "a (cannot be a login)"),
        (
            {f"p-{number:02}": f"mailto:p-{number}@clinic.example" for number in range(25)},
            "p-19 (cannot be a login) and 5",
        ),
    ],
)
def test_an_upgrade_that_finds_old_logins(database: Database, logins: dict[str, str], expected: str) -> None:
    """The migration names the practitioners with bad logins and changes nothing; once they are set it runs."""
    old_logins(database, {**logins, "good": "good@clinic.example"})
    before, waiting = (
        list(Practitioner.select().order_by(Practitioner.id).tuples().execute(database)),
        pending_migrations(database),
    )
    with pytest.raises(InvalidInput) as refused:
        migrate(database)
    assert expected in str(refused.value)
    assert "@" not in str(refused.value)
    assert list(Practitioner.select().order_by(Practitioner.id).tuples().execute(database)) == before
    assert pending_migrations(database) == waiting
    for who in logins:
        Practitioner.update(login=f"{who}@clinic.example").where(Practitioner.id == who).execute(database)
    assert "0010_logins" in migrate(database)
    assert pending_migrations(database) == []
