"""Practitioners' tokens: which are accepted, and which are refused."""

import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from werkzeug.test import TestResponse

from authz.callers.signed_tokens import BadToken
from authz.callers.tokens import Tokens, sign_token
from authz.database import Database
from authz.errors import InvalidInput, Unavailable
from authz.settings import Settings
from tests.support import people
from tests.support.http import Person, answered, assert_problem, service
from tests.support.jwks_server import KeyServer, new_key, serving
from tests.support.signed_tokens import GOOD, ISSUER, NOW, coded, token_of


@pytest.fixture
def provider() -> Iterator[KeyServer]:
    with serving() as keys:
        yield keys


@pytest.fixture
def tokens(provider: KeyServer) -> Tokens:
    return Tokens(Settings(jwks=provider.url, issuer=ISSUER))


def test_a_good_token_is_its_verified_email(provider: KeyServer, tokens: Tokens) -> None:
    """The login is the normal form of the e-mail claim; the audience may be one of several."""
    assert tokens.login_of(token_of(provider), NOW) == "alice@clinic.example"
    assert tokens.login_of(token_of(provider, aud=["other", "caregrant"]), NOW) == "alice@clinic.example"
    assert provider.fetched == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"exp": int(NOW.timestamp()) - 60},
        {"exp": None},
        {"exp": "never"},
        {"nbf": int(NOW.timestamp()) + 120},
        {"email": None},
        {"email": 7},
        {"email": "not an e-mail"},
        {"email_verified": None},
        {"email_verified": False},
        {"email_verified": "true"},
    ],
    ids=str,
)
def test_a_claim_that_is_wrong(provider: KeyServer, tokens: Tokens, claims: dict[str, Any]) -> None:
    """A token with a wrong issuer, audience, expiry or e-mail is refused."""
    with pytest.raises(BadToken):
        tokens.login_of(token_of(provider, **claims), NOW)


def test_a_signature_that_is_wrong(provider: KeyServer, tokens: Tokens) -> None:
    """A token with a missing, foreign or weak signature, or a changed body, is refused."""
    head, body, signature = token_of(provider).split(".")
    hs256 = coded({"alg": "HS256", "kid": provider.keys[0].kid})
    mac = hmac.digest(provider.keys[0].as_pem(private=False), f"{hs256}.{body}".encode(), "sha256")
    curve = ECKey.generate_key("P-256", auto_kid=True)
    forged = [
        f"{coded({'alg': 'none'})}.{body}.",
        f"{head}.{body}.",
        f"{head}.{coded(GOOD | {'email': 'dan@clinic.example'})}.{signature}",
        f"{hs256}.{body}.{coded(mac)}",
        jwt.encode({"alg": "ES256", "kid": curve.kid}, GOOD, curve),
        token_of(provider, RSAKey.import_key(new_key().as_dict(private=True) | {"kid": str(provider.keys[0].kid)})),
        token_of(provider, new_key()),
        "a.b.c",
        "...",
        "é.é.é",
    ]
    for token in forged:
        with pytest.raises(BadToken):
            tokens.login_of(token, NOW)


def test_keys_are_rotated(provider: KeyServer, tokens: Tokens) -> None:
    """A token of a new key fetches the keys, at most every half a minute; a removed key no longer counts."""
    old = token_of(provider, exp=int(NOW.timestamp()) + 7200)
    tokens.login_of(old, NOW)
    provider.keys = [new_key()]
    with pytest.raises(BadToken):
        tokens.login_of(token_of(provider), NOW + timedelta(seconds=10))
    assert provider.fetched == 1
    assert tokens.login_of(token_of(provider), NOW + timedelta(seconds=31)) == "alice@clinic.example"
    assert provider.fetched == 2
    with pytest.raises(BadToken):
        tokens.login_of(old, NOW + timedelta(seconds=32))


def test_a_provider_that_is_down(provider: KeyServer, tokens: Tokens) -> None:
    """Fetched keys serve for an hour; without keys every token is 503 and not 401."""
    good = token_of(provider, exp=int(NOW.timestamp()) + 9000)
    provider.manner = "failing"
    for seconds in (0, 1, 29):
        with pytest.raises(Unavailable):
            tokens.login_of(good, NOW + timedelta(seconds=seconds))
    assert provider.fetched == 1
    provider.manner = "well"
    tokens.login_of(good, NOW + timedelta(seconds=30))
    provider.manner = "failing"
    assert tokens.login_of(good, NOW + timedelta(minutes=59)) == "alice@clinic.example"
    with pytest.raises(Unavailable):
        tokens.login_of(good, NOW + timedelta(minutes=61))


def test_keys_in_a_file(provider: KeyServer, tmp_path: Path) -> None:
    """A file of keys serves like a URL; with a missing or empty file the service does not start."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": provider.published()}))
    settings = Settings(jwks=str(file), issuer=ISSUER)
    assert Tokens(settings).login_of(token_of(provider), NOW) == "alice@clinic.example"
    for content in (
        "{}",
        "[]",
        '{"keys": []}',
        "no JSON",
        "[" * 100_000,
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
    ):
        file.write_text(content)
        with pytest.raises(InvalidInput, match="CAREGRANT_JWKS"):
            Tokens(settings)
    with pytest.raises(InvalidInput, match=r"CAREGRANT_JWKS: the file .*missing cannot be used"):
        Tokens(Settings(jwks=str(tmp_path / "missing"), issuer=ISSUER))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "development_key": "key"}, "refused"),
        ({"oidc_client": "pages", "issuer": ISSUER, "development_key": "key"}, "refused beside an identity provider"),
        ({"public_url": "https://clinic.example", "development_key": "key"}, "refused beside an https"),
        ({"public_url": "HTTPS://clinic.example", "development_key": "key"}, "refused beside an https"),
        ({"public_url": "https://clinic.example", "demo_sign_in": True}, "refused beside an https"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "demo_sign_in": True}, "refused beside an identity"),
        ({"jwks": "https://id.example/jwks"}, "CAREGRANT_ISSUER"),
        ({"jwks": "http://id.example/jwks", "issuer": ISSUER}, "https"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "algorithms": "HS256"}, "public-key"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "algorithms": "none"}, "public-key"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "algorithms": " "}, "public-key"),
    ],
)
def test_settings_that_are_refused(values: dict[str, Any], why: str) -> None:
    """The service does not start with settings that would accept unsafe tokens."""
    with pytest.raises(InvalidInput, match=why):
        Tokens(Settings(**values))


def test_over_http(provider: KeyServer, sqlite_database: Database) -> None:
    """A known login is served; an unknown one is 403, a bad token 401, and without the provider 503."""
    people.fill(sqlite_database)
    flask = service(sqlite_database, jwks=provider.url, issuer=ISSUER)
    exp = int(datetime.now(UTC).timestamp()) + 60

    def me(token: str) -> TestResponse:
        return Person(flask, {"Authorization": f"Bearer {token}"}).call("GET", "/v1/me")

    assert answered(me(token_of(provider, exp=exp)))["id"] == "alice"
    assert_problem(me(token_of(provider, exp=exp, email="new@clinic.example")), 403, "forbidden")
    refused = me(token_of(provider, exp=exp - 3600))
    assert_problem(refused, 401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="caregrant"'
    provider.manner = "failing"
    down = service(sqlite_database, jwks=provider.url, issuer=ISSUER)
    good = {"Authorization": f"Bearer {token_of(provider, exp=exp)}"}
    assert_problem(Person(down, good).call("GET", "/v1/me"), 503, "unavailable")


def test_a_development_token(tmp_path: Path) -> None:
    """The development key verifies only the tokens that it signed; its file is readable by its owner alone."""
    own, other = (Settings(development_key=str(tmp_path / name)) for name in ("one", "other"))
    token = sign_token(own, "Alice@Clinic.example", NOW, 60)
    assert Tokens(own).login_of(token, NOW) == "alice@clinic.example"
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    for strange in (Tokens(other), Tokens(Settings())):
        with pytest.raises(BadToken):
            strange.login_of(token, NOW)
    with pytest.raises(BadToken):
        Tokens(own).login_of(token, NOW + timedelta(seconds=91))
    with pytest.raises(InvalidInput, match="CAREGRANT_DEVELOPMENT_KEY"):
        sign_token(Settings(), "alice@clinic.example", NOW, 60)
    (tmp_path / "broken").write_text("{}")
    with pytest.raises(InvalidInput, match="no signing key"):
        Tokens(Settings(development_key=str(tmp_path / "broken")))
