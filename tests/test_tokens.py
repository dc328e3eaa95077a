"""Practitioners' tokens: whose count, and which never do."""

import base64
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from werkzeug.test import TestResponse

from authz.database import Database
from authz.errors import InvalidInput, Unavailable
from authz.settings import Settings
from authz.tokens import BadToken, Tokens, sign
from tests import people
from tests.http import Person, answered, assert_problem, service

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ISSUER = "https://id.clinic.example"
GOOD = {
    "iss": ISSUER,
    "aud": "caregrant",
    "email": "Alice@Clinic.example",
    "email_verified": True,
    "exp": int(NOW.timestamp()) + 60,
}


class Provider:
    """An identity provider's published keys: `serve` what, and how often they were fetched."""

    def __init__(self) -> None:
        self.keys = [self.new()]
        self.fetched, self.up = 0, True
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = HTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def new() -> RSAKey:
        return RSAKey.generate_key(2048, auto_kid=True)

    def sign(self, key: RSAKey | None = None, **claims: Any) -> str:
        said = {name: value for name, value in (GOOD | claims).items() if value is not None}
        signing = key or self.keys[0]
        return jwt.encode({"alg": "RS256", "kid": signing.kid}, said, signing)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    provider: ClassVar[Provider]

    def do_GET(self) -> None:
        self.provider.fetched += 1
        self.send_response(200 if self.provider.up else 500)
        self.end_headers()
        self.wfile.write(json.dumps(KeySet(list(self.provider.keys)).as_dict(private=False)).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def tokens(provider: Provider) -> Tokens:
    return Tokens(Settings(jwks=provider.url, issuer=ISSUER))


def test_a_good_token_is_its_verified_email(provider: Provider, tokens: Tokens) -> None:
    """The login is the e-mail claim in normal form; the audience may be one of several."""
    assert tokens.login_of(provider.sign(), NOW) == "alice@clinic.example"
    assert tokens.login_of(provider.sign(aud=["other", "caregrant"]), NOW) == "alice@clinic.example"
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
def test_a_claim_that_is_wrong(provider: Provider, tokens: Tokens, claims: dict[str, Any]) -> None:
    """Another issuer or audience, expired or without an end, an e-mail that is none or unverified: not good."""
    with pytest.raises(BadToken):
        tokens.login_of(provider.sign(**claims), NOW)


def coded(part: dict[str, Any] | bytes) -> str:
    """A part of a token."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def test_a_signature_that_is_wrong(provider: Provider, tokens: Tokens) -> None:
    """No signature, the public key as a shared secret, another algorithm, another's key, a changed body: not good."""
    head, body, signature = provider.sign().split(".")
    hs256 = coded({"alg": "HS256", "kid": provider.keys[0].kid})
    mac = hmac.digest(provider.keys[0].as_pem(private=False), f"{hs256}.{body}".encode(), "sha256")
    curve = ECKey.generate_key("P-256", auto_kid=True)
    forged = [
        f"{coded({'alg': 'none'})}.{body}.",
        f"{head}.{body}.",
        f"{head}.{coded(GOOD | {'email': 'dan@clinic.example'})}.{signature}",
        f"{hs256}.{body}.{coded(mac)}",
        jwt.encode({"alg": "ES256", "kid": curve.kid}, GOOD, curve),
        provider.sign(RSAKey.import_key(Provider.new().as_dict(private=True) | {"kid": str(provider.keys[0].kid)})),
        provider.sign(Provider.new()),
        "a.b.c",
        "...",
        "é.é.é",
    ]
    for token in forged:
        with pytest.raises(BadToken):
            tokens.login_of(token, NOW)


def test_keys_are_rotated(provider: Provider, tokens: Tokens) -> None:
    """A token of a new key makes us fetch the keys; not more often than every half a minute; an old key ends."""
    old = provider.sign(exp=int(NOW.timestamp()) + 7200)
    tokens.login_of(old, NOW)
    provider.keys = [Provider.new()]
    with pytest.raises(BadToken):
        tokens.login_of(provider.sign(), NOW + timedelta(seconds=10))
    assert provider.fetched == 1
    assert tokens.login_of(provider.sign(), NOW + timedelta(seconds=31)) == "alice@clinic.example"
    assert provider.fetched == 2
    with pytest.raises(BadToken):
        tokens.login_of(old, NOW + timedelta(seconds=32))


def test_a_provider_that_is_down(provider: Provider, tokens: Tokens) -> None:
    """Keys that were read serve for an hour; without any, nobody is let in and nobody is told that they are wrong."""
    good = provider.sign(exp=int(NOW.timestamp()) + 9000)
    provider.up = False
    with pytest.raises(Unavailable):
        tokens.login_of(good, NOW)
    provider.up = True
    tokens.login_of(good, NOW)
    provider.up = False
    assert tokens.login_of(good, NOW + timedelta(minutes=59)) == "alice@clinic.example"
    with pytest.raises(Unavailable):
        tokens.login_of(good, NOW + timedelta(minutes=61))


def test_keys_in_a_file(provider: Provider, tmp_path: Path) -> None:
    """A file of keys serves like a URL; one that holds none is no provider."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(KeySet(list(provider.keys)).as_dict(private=False)))
    settings = Settings(jwks=str(file), issuer=ISSUER)
    assert Tokens(settings).login_of(provider.sign(), NOW) == "alice@clinic.example"
    file.write_text("{}")
    with pytest.raises(Unavailable):
        Tokens(settings).login_of(provider.sign(), NOW)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "development_key": "key"}, "refused"),
        ({"jwks": "https://id.example/jwks"}, "CAREGRANT_ISSUER"),
        ({"jwks": "http://id.example/jwks", "issuer": ISSUER}, "https"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "algorithms": "HS256"}, "public-key"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "algorithms": "none"}, "public-key"),
        ({"jwks": "https://id.example/jwks", "issuer": ISSUER, "algorithms": " "}, "public-key"),
    ],
)
def test_settings_that_are_refused(given: dict[str, Any], why: str) -> None:
    """Nothing starts with settings under which a token could count that should not."""
    with pytest.raises(InvalidInput, match=why):
        Tokens(Settings(**given))


def test_over_http(provider: Provider, sqlite_database: Database) -> None:
    """A token of the provider opens what its login may see; a good one of nobody known 403, a bad one 401, down 503."""
    people.fill(sqlite_database)
    flask = service(sqlite_database, jwks=provider.url, issuer=ISSUER)
    exp = int(datetime.now(UTC).timestamp()) + 60

    def me(token: str) -> TestResponse:
        return Person(flask, {"Authorization": f"Bearer {token}"}).call("GET", "/v1/me")

    provider.up = False
    assert_problem(me(provider.sign(exp=exp)), 503, "unavailable")
    provider.up = True
    assert answered(me(provider.sign(exp=exp)))["id"] == "alice"
    assert_problem(me(provider.sign(exp=exp, email="new@clinic.example")), 403, "forbidden")
    refused = me(provider.sign(exp=exp - 3600))
    assert_problem(refused, 401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="caregrant"'


def test_a_development_token(tmp_path: Path) -> None:
    """The development key signs and verifies its own tokens alone; its file is its owner's only."""
    one, other = (Settings(development_key=str(tmp_path / name)) for name in ("one", "other"))
    token = sign(one, " Alice@Clinic.example", NOW, 60)
    assert Tokens(one).login_of(token, NOW) == "alice@clinic.example"
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    for strange in (Tokens(other), Tokens(Settings())):
        with pytest.raises(BadToken):
            strange.login_of(token, NOW)
    with pytest.raises(BadToken):
        Tokens(one).login_of(token, NOW + timedelta(seconds=91))
    with pytest.raises(InvalidInput, match="CAREGRANT_DEVELOPMENT_KEY"):
        sign(Settings(), "alice@clinic.example", NOW, 60)
    (tmp_path / "broken").write_text("{}")
    with pytest.raises(InvalidInput, match="no signing key"):
        Tokens(Settings(development_key=str(tmp_path / "broken")))
