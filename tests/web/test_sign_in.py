"""Signing in through a real small identity provider, or as one of the demonstration's people."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from api.app import create_app
from api.server import serve
from api.web import oidc
from api.web.oidc import Provider as OidcProvider
from authz.database import Database
from authz.errors import InvalidInput
from authz.importing import demo
from authz.policy.pdp import PDP
from authz.settings import Settings
from tests.support import people
from tests.support.acting import login
from tests.support.http import POLICY, service
from tests.support.jwks_server import serving
from tests.support.provider import CLIENT, SECRET, Provider, running
from tests.support.visitor import Visitor, text_of

HOME = "http://127.0.0.1:8000"
KEY = "a session key of thirty-two characters"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running() as started:
        started.claims = {"email": login("alice"), "email_verified": True}
        yield started


def clinic(database: Database, provider: Provider, **more: Any) -> Flask:
    """Return the pages as a client of this provider, with the cast's clinic."""
    people.fill(database)
    options = {"issuer": provider.issuer, "oidc_client": CLIENT, "oidc_secret": SECRET, "public_url": HOME}
    return service(database, **{**options, "session_key": KEY, **more})


def there_and_back(visitor: Visitor, path: str = "/sign-in", change: Callable[[str], str] = str) -> TestResponse:
    """Go to the provider and come back with its answer, after `change` on the URL; return the response."""
    away = visitor.client.get(path).headers["Location"]
    back = requests.get(away, allow_redirects=False, timeout=30).headers["Location"]
    assert back.startswith(f"{HOME}/sign-in/callback?")
    return visitor.client.get(change(back.removeprefix(HOME)))


def test_the_providers_word_is_the_login(sqlite_database: Database, provider: Provider, tmp_path: Path) -> None:
    """With PKCE and secrets from files, the verified e-mail is the login, and the wanted page opens."""
    files = {"oidc_secret": tmp_path / "secret", "session_key": tmp_path / "key"}
    for file, content in zip(files.values(), (SECRET, KEY), strict=True):
        file.write_text(content + "\n")
    visitor = Visitor(clinic(sqlite_database, provider, **{name: str(file) for name, file in files.items()}))
    wanted = visitor.client.get("/patients/p-1").headers["Location"]
    assert "Sign in to continue." in visitor.get(wanted)
    assert 'href="/sign-in?next=/patients/p-1"' in visitor.client.get(wanted).text
    response = there_and_back(visitor, "/sign-in?next=/patients/p-1")
    assert response.headers["Location"] == "/patients/p-1"
    assert "Your patient" in visitor.get("/patients/p-1")
    assert len(provider.challenges) == 1
    assert len(provider.challenges[0]) == 43


def test_what_does_not_prove_who_came(sqlite_database: Database, provider: Provider) -> None:
    """An ID token with a wrong signature or claim signs nobody in."""
    flask = clinic(sqlite_database, provider)
    past = int((datetime.now(UTC) - timedelta(hours=1)).timestamp())
    for wrong in (
        {"aud": "another"},
        {"iss": "https://evil.example"},
        {"nonce": "another"},
        {"exp": past},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": None},
    ):
        provider.claims = {"email": login("alice"), "email_verified": True, **wrong}
        visitor = Visitor(flask)
        response = there_and_back(visitor)
        assert response.status_code == 403, wrong
        assert "did not confirm who you are" in text_of(response)
        visitor.get("/patients", 303)
    provider.claims = {"email": login("alice"), "email_verified": True}
    provider.other_key = RSAKey.generate_key(2048)
    assert there_and_back(Visitor(flask)).status_code == 403


def test_an_answer_that_was_not_asked_for(sqlite_database: Database, provider: Provider) -> None:
    """A forged state, another browser's answer, a repeated answer and a refusal sign nobody in."""
    flask = clinic(sqlite_database, provider)
    assert there_and_back(Visitor(flask), change=lambda back: back.replace("state=", "state=x")).status_code == 403
    answers: list[str] = []

    def keep(back: str) -> str:
        answers.append(back)
        return back

    visitor = Visitor(flask)
    assert there_and_back(visitor, change=keep).status_code == 303
    for other in (Visitor(flask), visitor):
        assert other.client.get(answers[0]).status_code == 403
    assert Visitor(flask).client.get("/sign-in/callback?error=access_denied&state=x").status_code == 403


def test_an_email_in_user_info_only(sqlite_database: Database, provider: Provider) -> None:
    """An e-mail that the ID token lacks is read from UserInfo of the same person (OpenID Connect Core 5.4)."""
    flask = clinic(sqlite_database, provider)
    whole = {"sub": "s-1", "email": login("alice"), "email_verified": True}
    for in_token in ({}, {"email": login("alice")}, {"email_verified": True}):
        provider.claims, provider.user_info = in_token, whole
        visitor = Visitor(flask)
        assert there_and_back(visitor).headers["Location"] == "/patients", in_token
        assert "Your patient" in visitor.get("/patients/p-1")


@pytest.mark.parametrize(
    ("claims", "user_info", "why"),
    [
        ({}, None, "email is missing"),
        ({"email": "alice@clinic.example"}, None, "email_verified is missing"),
        ({}, {"sub": "s-2", "email": "alice@clinic.example", "email_verified": True}, "sub of UserInfo"),
        ({}, {"email": "alice@clinic.example", "email_verified": True}, "sub of UserInfo"),
        ({}, {"sub": "s-1", "email": "alice@clinic.example"}, "email_verified is missing"),
        ({}, {"sub": "s-1", "email": "alice@clinic.example", "email_verified": "true"}, "email_verified is not true"),
        ({}, {"sub": "s-1", "email_verified": True}, "email is missing"),
        (
            {"email_verified": False},
            {"sub": "s-1", "email": "a@b.example", "email_verified": True},
            "email_verified of",
        ),
        ({"email": "bob@clinic.example"}, {"sub": "s-1", "email": "a@b.example", "email_verified": True}, "email of"),
        ({}, ["email"], "UserInfo is malformed"),
        ({"email": "mailto:a@b.example", "email_verified": True}, None, "email cannot be a login"),
        ({"aud": "another", "email": "a@b.example", "email_verified": True}, None, "a"),
        ({"nonce": "another", "email": "a@b.example", "email_verified": True}, None, "nonce is wrong"),
    ],
)
def test_the_log_names_the_claim(
    sqlite_database: Database,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    user_info: Any,
    why: str,
) -> None:
    """The log of a refused sign-in names the missing or wrong claim, without its value."""
    provider.claims, provider.user_info = claims, user_info
    assert there_and_back(Visitor(clinic(sqlite_database, provider))).status_code == 403
    assert f"a sign-in was refused: {why}" in caplog.text
    assert "alice@" not in caplog.text
    assert "a@b" not in caplog.text


def test_keys_that_nobody_knows(sqlite_database: Database, provider: Provider) -> None:
    """Unknown kinds of keys of the provider do not matter, and an ID token may lack `kid`."""
    provider.more_keys = [
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "EC", "crv": "P-9", "x": "A", "y": "A"},
    ]
    flask = clinic(sqlite_database, provider)
    for provider.hidden_kid in (False, True):
        assert there_and_back(Visitor(flask)).headers["Location"] == "/patients"


def test_sign_out_at_the_provider_too(sqlite_database: Database, provider: Provider) -> None:
    """*Sign out* ends the session here and leads to the provider with the ID token, and back."""
    provider.metadata = {"end_session_endpoint": f"{provider.issuer}/end"}
    flask = clinic(sqlite_database, provider)
    visitor = Visitor(flask)
    sent = there_and_back(visitor).headers.getlist("Set-Cookie")
    (kept,) = (cookie for cookie in sent if cookie.startswith("caregrant-id="))
    for flag in ("HttpOnly", "SameSite=Strict", "Path=/sign-out"):
        assert flag in kept.split("; ")
    page = visitor.client.get("/patients")
    assert f"form-action 'self' {provider.issuer};" in page.headers["Content-Security-Policy"]
    signed_out = visitor.post("/sign-out")
    assert signed_out.headers["Location"].startswith(f"{provider.issuer}/end?")
    assert "caregrant-id=;" in " ".join(signed_out.headers.getlist("Set-Cookie"))
    visitor.get("/patients", 303)
    back = requests.get(signed_out.headers["Location"], allow_redirects=False, timeout=30).headers["Location"]
    (hint,) = provider.sign_outs
    assert hint["id_token_hint"].count(".") == 2
    assert (hint["client_id"], hint["post_logout_redirect_uri"]) == (CLIENT, f"{HOME}/sign-out/callback")
    for other in (Visitor(flask), visitor):
        assert other.client.get(f"{back.removeprefix(HOME)}x").headers["Location"] == "/"
        assert "You are signed out." not in other.get("/")


def test_coming_back_from_the_provider(sqlite_database: Database, provider: Provider) -> None:
    """With the right state, once, the page says "signed out"; such a return signs nobody out."""
    provider.metadata = {"end_session_endpoint": f"{provider.issuer}/end"}
    flask = clinic(sqlite_database, provider)
    visitor = Visitor(flask)
    there_and_back(visitor)
    assert visitor.client.get("/sign-out/callback?state=x").status_code == 303
    assert "Your patient" in visitor.get("/patients/p-1")
    signed_out = visitor.post("/sign-out").headers["Location"]
    back = requests.get(signed_out, allow_redirects=False, timeout=30).headers["Location"].removeprefix(HOME)
    assert visitor.client.get(back).headers["Location"] == "/"
    assert "You are signed out." in visitor.get("/")
    assert Visitor(flask).client.post("/sign-out").headers["Location"] == "/", "without a session nobody is led away"


def test_sign_out_always_works_here(sqlite_database: Database, provider: Provider) -> None:
    """Signing out works if the provider offers no sign-out or is down; the page says what remains open."""
    provider.metadata = {"end_session_endpoint": ""}
    flask = clinic(sqlite_database, provider)
    visitor = Visitor(flask)
    there_and_back(visitor)
    assert "Sign out of your identity provider too" in visitor.done("/sign-out")
    visitor.get("/patients", 303)
    there_and_back(visitor)
    gone = Settings(issuer="http://127.0.0.1:9", oidc_client=CLIENT, public_url=HOME)
    flask.extensions["caregrant.provider"] = OidcProvider(flask, gone)
    assert "Sign out of your identity provider too" in visitor.done("/sign-out")
    visitor.get("/patients", 303)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.example"},
        {"token_endpoint": "http://another.example/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "ftp://another.example"},
        {"userinfo_endpoint": "http://another.example"},
        {"end_session_endpoint": "javascript:alert(1)"},
    ],
)
def test_metadata_that_cannot_be_believed(
    sqlite_database: Database, provider: Provider, metadata: dict[str, Any]
) -> None:
    """Metadata with another issuer or an endpoint without https is 503, and leads nobody there."""
    provider.metadata = metadata
    assert Visitor(clinic(sqlite_database, provider)).client.get("/sign-in").status_code == 503


def test_a_provider_that_is_silent(
    sqlite_database: Database, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first caller waits for a silent provider for a limited time; the next ones do not wait."""
    monkeypatch.setattr(oidc, "_SECONDS", 0.3)
    monkeypatch.setattr(oidc, "_PAUSE_SECONDS", 600.0)
    with serving() as silent:
        silent.manner = "silent"
        provider.issuer = silent.url
        flask = clinic(sqlite_database, provider)
        assert Visitor(flask).client.get("/sign-in").status_code == 503
        assert silent.fetched == 1
        for _ in range(5):
            assert Visitor(flask).client.get("/sign-in").status_code == 503
        assert silent.fetched == 1


def test_somebody_who_works_nowhere_here(sqlite_database: Database, provider: Provider) -> None:
    """A good answer with an e-mail that is nobody's login signs nobody in, and the page says so."""
    visitor = Visitor(clinic(sqlite_database, provider))
    provider.claims = {"email": "stranger@elsewhere.example", "email_verified": True}
    assert "Nobody works here with the e-mail" in text_of(there_and_back(visitor))
    visitor.get("/patients", 303)


def test_no_provider_no_sign_in(sqlite_database: Database) -> None:
    """Without a provider that can be reached nobody signs in: 503, or a page that says so."""
    gone = Provider(issuer="http://127.0.0.1:9")
    assert Visitor(clinic(sqlite_database, gone)).client.get("/sign-in").status_code == 503
    assert "no identity provider is set up" in Visitor(service(sqlite_database)).get("/")


def test_it_leads_to_no_other_site(sqlite_database: Database, provider: Provider) -> None:
    """After signing in one gets to a page of this service, whatever the address asks."""
    flask = clinic(sqlite_database, provider)
    for path in ("//evil.example", "https://evil.example", "/\\evil.example", "/", ""):
        visitor = Visitor(flask)
        assert there_and_back(visitor, f"/sign-in?next={path}").headers["Location"] == "/patients"


def test_the_cookie(sqlite_database: Database, provider: Provider) -> None:
    """The session's cookie is HttpOnly and SameSite; under https it is bound to the host."""
    flask = clinic(sqlite_database, provider, public_url="https://pages.example")
    sent = Visitor(flask).client.get("/sign-in").headers["Set-Cookie"]
    assert sent.startswith("__Host-caregrant=")
    for flag in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert flag in sent.split("; ")
    assert "Domain" not in sent


@pytest.fixture
def demonstration(sqlite_database: Database) -> Flask:
    """Return the demonstration clinic, where a visitor may be any of its people."""
    demo.fill(sqlite_database, POLICY.types, datetime.now(UTC) - timedelta(hours=1))
    return create_app(Settings(demo_sign_in=True, session_key=KEY), PDP(sqlite_database, POLICY))


def test_the_demonstrations_people(demonstration: Flask) -> None:
    """A visitor signs in as one of the demonstration's people, and as nobody else."""
    visitor = Visitor(demonstration)
    assert "Alice Andersson member" in visitor.get("/")
    assert "Ada Brook" in visitor.done("/sign-in", practitioner="alice", next="")
    for who in ("nobody", "", "p-1"):
        assert Visitor(demonstration).post("/sign-in", practitioner=who).status_code == 404
    assert Visitor(demonstration).client.post("/sign-in", data={"practitioner": "alice"}).status_code == 400


def test_where_the_demonstration_is_refused(demonstration: Flask) -> None:
    """With an identity provider, or off a loopback address, the demonstration does not start."""
    pdp: PDP = demonstration.extensions["caregrant"]
    for conflicting in (Settings(oidc_client="c"), Settings(jwks="keys.json", issuer="i")):
        with pytest.raises(InvalidInput, match="beside an identity provider"):
            create_app(replace(conflicting, demo_sign_in=True, session_key=KEY), pdp)
    with pytest.raises(InvalidInput, match="loopback"):
        serve(Settings(demo_sign_in=True), "0.0.0.0", 0, 1)  # noqa: S104 - it is refused


def test_the_demonstrations_people_open_no_other_clinic(sqlite_database: Database) -> None:
    """On another database than the demonstration's the service does not start."""
    people.fill(sqlite_database)
    with pytest.raises(InvalidInput, match="this database has other data"):
        service(sqlite_database, demo_sign_in=True, session_key=KEY)


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ({"issuer": ""}, "CAREGRANT_ISSUER"),
        ({"public_url": ""}, "CAREGRANT_PUBLIC_URL"),
        ({"session_key": ""}, "CAREGRANT_SESSION_KEY"),
        ({"session_key": "short"}, "at least 32 characters"),
        ({"public_url": "http://pages.example"}, "https"),
        ({"issuer": "http://id.example"}, "https"),
    ],
)
def test_half_a_provider_is_refused(sqlite_database: Database, lacking: dict[str, str], why: str) -> None:
    """With incomplete or unsafe settings of a provider the service does not start."""
    options = {"issuer": "https://id.example", "oidc_client": "c", "public_url": HOME, "session_key": KEY}
    with pytest.raises(InvalidInput, match=why):
        service(sqlite_database, **{**options, **lacking})


def test_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch in the environment is true or false; another value is refused."""
    assert not Settings.from_environment().demo_sign_in
    monkeypatch.setenv("CAREGRANT_DEMO_SIGN_IN", "True")
    assert Settings.from_environment().demo_sign_in
    monkeypatch.setenv("CAREGRANT_DEMO_SIGN_IN", "yes")
    with pytest.raises(InvalidInput, match="CAREGRANT_DEMO_SIGN_IN is true or false, not 'yes'"):
        Settings.from_environment()
