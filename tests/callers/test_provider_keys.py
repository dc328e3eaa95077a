"""The provider's keys: which of them are used, and what a provider that misbehaves costs."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from authz.callers import outbound, provider_keys
from authz.callers.signed_tokens import BadToken
from authz.callers.tokens import Tokens
from authz.database import Database
from authz.errors import Unavailable
from authz.settings import Settings
from tests.support import people
from tests.support.http import App, Person, assert_problem, question, service
from tests.support.jwks_server import KeyServer, Manner, new_key, serving
from tests.support.signed_tokens import GOOD, ISSUER, NOW, coded, token_of


@pytest.fixture
def provider() -> Iterator[KeyServer]:
    with serving() as keys:
        yield keys


def tokens_of(provider: KeyServer, algorithms: str = "RS256 ES256") -> Tokens:
    return Tokens(Settings(jwks=provider.url, issuer=ISSUER, algorithms=algorithms))


def public(key: Any, **members: Any) -> dict[str, Any]:
    """Return a public key as a provider publishes it; None removes a member."""
    members = {**key.as_dict(private=False), **members}
    return {name: value for name, value in members.items() if value is not None}


EC = public(ECKey.generate_key("P-256", auto_kid=True))
STRANGE: list[Any] = [
    {**EC, "crv": "P-9999"},
    {**EC, "crv": "brainpoolP256r1"},
    {**EC, "x": "AAAA"},
    {**EC, "x": 7},
    {**EC, "kid": 7},
    {**EC, "kid": None},
    {**EC, "use": "enc"},
    {**EC, "use": "both"},
    {**EC, "use": 7},
    {**EC, "key_ops": ["sing"]},
    {**EC, "key_ops": "verify"},
    {**EC, "key_ops": ["encrypt"]},
    {**EC, "alg": "ECDH-ES"},
    {**EC, "alg": 7},
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "quantum"},
    {"kty": "OKP", "crv": "X448", "x": "AAAA"},
    {"kty": "OKP", "crv": "Ed9999", "x": "AAAA"},
    {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", "kid": "shared"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "RSA", "e": "AQAB"},
    {"kty": ["RSA"]},
    {"kty": None},
    {"kid": "none"},
    {},
    [],
    "key",
    None,
    7,
]


@pytest.mark.parametrize("strange", STRANGE, ids=map(str, range(len(STRANGE))))
def test_a_key_that_cannot_serve_is_skipped(provider: KeyServer, strange: Any) -> None:
    """A key that cannot be used does not keep the other keys of the set from use (RFC 7517, section 5)."""
    good = provider.keys[0]
    for keys in ([strange, good], [good, strange]):
        provider.keys = [_Published(key) if not isinstance(key, RSAKey) else key for key in keys]
        assert tokens_of(provider).login_of(token_of(provider, good), NOW) == "alice@clinic.example"


class _Published:
    """A member of the set that is no key."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def as_dict(self, *, private: bool) -> Any:
        assert not private
        return self._value


def test_no_key_can_serve(provider: KeyServer, caplog: pytest.LogCaptureFixture) -> None:
    """A set without a usable key is as no provider, and the log says so."""
    good = provider.keys[0]
    provider.keys = [public(good, use="enc"), *(member for member in STRANGE if isinstance(member, dict))]
    with caplog.at_level(logging.WARNING), pytest.raises(Unavailable):
        tokens_of(provider).login_of(token_of(provider, good), NOW)
    assert "it has no key that can verify a signature" in caplog.text


def test_members_that_do_not_matter(provider: KeyServer) -> None:
    """Unknown operations beside `verify`, certificates and other members do not change a key."""
    good = provider.keys[0]
    provider.keys = [public(good, key_ops=["verify", "verify-twice"], x5c=[7], x5t="?", use="sig", ext=True)]
    assert tokens_of(provider).login_of(token_of(provider, good), NOW) == "alice@clinic.example"


def test_a_token_without_kid(provider: KeyServer) -> None:
    """A token without `kid` is verified by the one signing key that fits; with two or none it is refused."""
    good, curve = provider.keys[0], ECKey.generate_key("P-256", auto_kid=True)
    nameless = provider.sign(GOOD, good, kid=None)
    others = [curve, OKPKey.generate_key("Ed25519"), public(new_key(), use="enc"), public(new_key(), alg="PS256")]
    for keys in ([good], [good, *others], [public(good, kid=None), *others]):
        provider.keys = keys
        assert tokens_of(provider).login_of(nameless, NOW) == "alice@clinic.example"
    for keys in (
        [good, new_key()],
        [curve],
        [public(good, use="enc"), curve],
        [public(good, key_ops=["wrapKey"]), curve],
    ):
        provider.keys = keys
        with pytest.raises(BadToken, match="kid"):
            tokens_of(provider).login_of(nameless, NOW)


def test_algorithms_are_not_confused(provider: KeyServer) -> None:
    """A key verifies only its own kind of algorithm, and only the algorithm that it names."""
    rsa, curve, other = provider.keys[0], ECKey.generate_key("P-256", auto_kid=True), ECKey.generate_key("P-384")
    provider.keys = [public(rsa, alg="RS256"), curve, other]
    tokens = tokens_of(provider, "RS256 RS512 PS256 ES256 ES384")
    assert tokens.login_of(provider.sign(GOOD, curve, alg="ES256"), NOW) == "alice@clinic.example"
    assert tokens.login_of(provider.sign(GOOD, other, alg="ES384", kid=None), NOW) == "alice@clinic.example"
    for token in (
        provider.sign(GOOD, rsa, alg="PS256"),
        provider.sign(GOOD, rsa, alg="RS512"),
        provider.sign(GOOD, rsa, alg="PS256", kid=None),
        provider.sign(GOOD, curve, alg="ES256", kid=rsa.kid),
    ):
        with pytest.raises(BadToken):
            tokens.login_of(token, NOW)


def test_header_members_of_others(provider: KeyServer) -> None:
    """Unknown header members are ignored, unless the header lists them as critical (RFC 7515, section 4)."""
    known = {"alg": "RS256", "kid": provider.keys[0].kid}
    token = provider.sign(GOOD, nonce="of the provider")
    assert tokens_of(provider).login_of(token, NOW) == "alice@clinic.example"
    body = coded(GOOD)
    extensions: list[dict[str, Any]] = [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False}]
    for critical in extensions:
        with pytest.raises(BadToken, match="crit"):
            tokens_of(provider).login_of(f"{coded({**known, **critical})}.{body}.AAAA", NOW)


MALFORMED = [
    "a.b",
    "a.b.c",
    "a.b.c.d.e",
    "...",
    ".",
    "eyJhbGciOiJSUzI1NiJ9",
    f"{coded({'alg': 'RS256'})}.b",
    f"{coded({'alg': 'RS256'})}..c",
    f"{coded({'alg': 'RS256'})}.b.",
    f"{coded({'alg': 'RS256', 'kid': 7})}.b.c",
    f"{coded({'alg': 'HS256', 'kid': 'k'})}.b.c",
    f"{coded({'alg': 'none'})}.b.c",
    f"{coded({'alg': ['RS256']})}.b.c",
    f"{coded({'alg': None})}.b.c",
    f"{coded({'kid': 'k'})}.b.c",
    f"{coded(b'[]')}.b.c",
    f"{coded(b'[' * 9000)}.b.c",
    f"{coded({'alg': 'RS256'})}.b.c" + "c" * 20_000,
    "é.é.é",
]


@pytest.mark.parametrize("token", MALFORMED, ids=lambda token: token[:30])
def test_what_is_no_token_asks_nobody(provider: KeyServer, token: str) -> None:
    """A text that is no token is refused without a request to the provider."""
    provider.manner = "silent"
    with pytest.raises(BadToken):
        tokens_of(provider).login_of(token, NOW)
    assert provider.fetched == 0


def test_a_dead_provider_costs_an_app_nothing(
    provider: KeyServer, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the provider is silent, one token waits, others are 503 at once, and apps are answered."""
    monkeypatch.setattr(provider_keys, "_WAIT_SECONDS", 60.0)
    monkeypatch.setattr(provider_keys, "_FETCH_SECONDS", 60.0)
    people.fill(sqlite_database)
    flask = service(sqlite_database, jwks=provider.url, issuer=ISSUER)
    app, provider.manner = App(flask, sqlite_database), "silent"
    garbage = Person(flask, {"Authorization": "Bearer a.b"})
    good = Person(flask, {"Authorization": f"Bearer {token_of(provider)}"})

    with ThreadPoolExecutor(8) as pool:
        requests = [pool.submit(good.call, "GET", "/v1/me") for _ in range(8)]
        refused = [request.result() for request in islice(as_completed(requests), 7)]
        decided = [app.ask(question()) for _ in range(5)]
        malformed = [garbage.call("GET", "/v1/me") for _ in range(5)]
        (waiting,) = (request for request in requests if not request.done())
        provider.over.set()
        refused.append(waiting.result())
    assert {response.status_code for response in decided} == {200}
    assert {response.status_code for response in malformed} == {401}
    assert {response.status_code for response in refused} == {503}
    assert good.call("GET", "/v1/me").status_code == 503
    assert provider.fetched == 1, "the failure was forgotten"


@pytest.mark.parametrize("manner", ["failing", "silent", "slow", "slow headers", "endless", "redirecting", "no JSON"])
def test_every_fault_ends(provider: KeyServer, monkeypatch: pytest.MonkeyPatch, manner: Manner) -> None:
    """Each fault of the provider ends the fetch soon; a fetch half a minute later succeeds."""
    monkeypatch.setattr(provider_keys, "_WAIT_SECONDS", 20.0)
    monkeypatch.setattr(provider_keys, "_FETCH_SECONDS", 0.3)
    provider.manner = manner
    tokens = tokens_of(provider)
    with pytest.raises(Unavailable):
        tokens.login_of(token_of(provider), NOW)
    assert tokens._provider is not None
    assert not tokens._provider._keys._fetching, "only the wait of the caller ended"
    assert provider.fetched == 1
    provider.manner = "well"
    assert tokens.login_of(token_of(provider), NOW + timedelta(seconds=30)) == "alice@clinic.example"


def test_keys_serve_while_newer_ones_come(provider: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one caller waits for newer keys, other callers use the present ones."""
    monkeypatch.setattr(provider_keys, "_FETCH_SECONDS", 30.0)
    monkeypatch.setattr(provider_keys, "_WAIT_SECONDS", 30.0)
    tokens, good = tokens_of(provider), token_of(provider)
    tokens.login_of(good, NOW)
    provider.manner, later = "silent", NOW + timedelta(seconds=40)
    stranger = provider.sign(GOOD, new_key())

    def ask_for_newer() -> None:
        with pytest.raises(BadToken):
            tokens.login_of(stranger, later)

    waiting = threading.Thread(target=ask_for_newer)
    waiting.start()
    while provider.fetched < 2:
        assert waiting.is_alive()
    assert tokens.login_of(good, later) == "alice@clinic.example"
    assert waiting.is_alive()
    provider.over.set()
    waiting.join()


def test_a_clock_that_went_back(provider: KeyServer) -> None:
    """After the clock went back the keys are still fetched."""
    tokens = tokens_of(provider)
    provider.manner = "failing"
    with pytest.raises(Unavailable):
        tokens.login_of(token_of(provider), NOW + timedelta(hours=1))
    provider.manner = "well"
    assert tokens.login_of(token_of(provider), NOW) == "alice@clinic.example"


def test_an_answer_through_the_bounds(provider: KeyServer) -> None:
    """A good answer of the provider is read completely."""
    assert b'"keys"' in outbound.get(provider.url, 5)


def test_the_log_names_the_claim(
    provider: KeyServer, sqlite_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of a refused token names the missing or wrong part or claim, without its value."""
    flask = service(sqlite_database, jwks=provider.url, issuer=ISSUER)
    future = int(time.time()) + 600
    good = token_of(provider, exp=future)
    head, body, _ = good.split(".")
    wrong = {
        "exp is over": token_of(provider, exp=1),
        "exp is missing": token_of(provider, exp=None),
        "aud is wrong": token_of(provider, exp=future, aud="secret-of-another"),
        "aud is missing": token_of(provider, exp=future, aud=None),
        "iss is wrong": token_of(provider, exp=future, iss="https://secret-of-another.example"),
        "email is missing": token_of(provider, exp=future, email=None),
        "email cannot be a login": token_of(provider, exp=future, email="secret-of-another"),
        "email_verified is missing": token_of(provider, exp=future, email_verified=None),
        "email_verified is not true": token_of(provider, exp=future, email_verified="secret-of-another"),
        "nbf is wrong": token_of(provider, exp=future, nbf=future),
        "signature is wrong": f"{head}.{body}.{coded(b'secret-of-another' * 15)}",
        "kid: ": provider.sign(GOOD, new_key()),
        "alg is not accepted": f"{coded({'alg': 'HS256'})}.b.c",
        "malformed": "secret.of-another",
    }
    for expected, token in wrong.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            refused = Person(flask, {"Authorization": f"Bearer {token}"}).call("GET", "/v1/me")
        assert_problem(refused, 401, "unauthenticated")
        assert expected in caplog.text
        assert "secret" not in caplog.text + refused.text
