"""Practitioners' tokens: JWTs (RFC 7519) that an identity provider signed, verified by its published keys (RFC 7517).

The e-mail claim, verified by the provider, is the login. Pinned are the issuer, the audience, the algorithms and that a
token expires. In development a key of one's own stands in for the provider; never beside one.
"""

import json
import os
import threading
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet

from authz.errors import CaregrantError, InvalidInput, Unavailable
from authz.settings import Settings
from authz.terms import normalise_login

_LEEWAY_SECONDS = 30
_FRESH = timedelta(minutes=10)
_AGAIN = timedelta(seconds=30)
_STALE = timedelta(hours=1)
_LARGEST = 1 << 20
_DEVELOPMENT = "caregrant-development"


class BadToken(CaregrantError):
    """A token that is not good; the text says why, and nothing of the token."""


@dataclass
class ProviderKeys:
    """The provider's keys at a URL or in a file: kept for ten minutes, fetched again for a key that is not among them.

    While the provider cannot be reached the keys that were read last serve for an hour, and then none.
    """

    source: str
    _keys: KeySet | None = None
    _read: datetime | None = None
    _tried: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self, now: datetime, *, lacking: bool = False) -> KeySet:
        """The keys; `lacking` asks for newer ones, which is granted every half a minute. Raises `Unavailable`."""
        if self._keys is not None and self._lock.locked():
            return self._good(now)  # somebody asks the provider; who has keys does not wait for that
        with self._lock:
            old = self._read is None or now - self._read > _FRESH or lacking
            if old and (self._tried is None or now - self._tried >= _AGAIN):
                self._tried = now
                try:
                    self._keys, self._read = KeySet.import_key_set(json.loads(_content(self.source))), now
                except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
                    if self._keys is None:
                        self._tried = None
                        raise Unavailable(f"the identity provider's keys cannot be read: {error}") from error
            return self._good(now)

    def _good(self, now: datetime) -> KeySet:
        if self._keys is None or self._read is None or now - self._read > _STALE:
            raise Unavailable("the identity provider's keys cannot be read")
        return self._keys


def _content(source: str) -> bytes:
    if not source.startswith(("https://", "http://")):
        return Path(source).read_bytes()
    with urllib.request.urlopen(source, timeout=5) as response:  # noqa: S310 - the scheme was checked at the start
        content: bytes = response.read(_LARGEST)
        return content


class Tokens:
    """Verifies tokens by the settings: of a provider, of the development key, or none at all."""

    def __init__(self, settings: Settings) -> None:
        if settings.jwks and settings.development_key:
            raise InvalidInput("CAREGRANT_DEVELOPMENT_KEY is refused where CAREGRANT_JWKS names an identity provider")
        if settings.jwks and not settings.issuer:
            raise InvalidInput("CAREGRANT_JWKS needs CAREGRANT_ISSUER, the issuer whose tokens count")
        url = urlsplit(settings.jwks)
        if url.scheme == "http" and url.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise InvalidInput("CAREGRANT_JWKS must be an https URL or a file")
        self._algorithms = settings.algorithms.split()
        unsafe = [one for one in self._algorithms if one[:2] not in ("RS", "PS", "ES", "Ed")]
        if unsafe or not self._algorithms:
            raise InvalidInput(f"CAREGRANT_ALGORITHMS names no public-key algorithm: {settings.algorithms!r}")
        self._issuer = settings.issuer if settings.jwks else _DEVELOPMENT
        self._audience = settings.audience
        self._provider = ProviderKeys(settings.jwks) if settings.jwks else None
        self._own = KeySet([signing_key(settings.development_key)]) if settings.development_key else None

    def login_of(self, token: str, now: datetime) -> str:
        """The login that a token speaks for. Raises `BadToken`, and `Unavailable` without the provider's keys."""
        try:
            claims = self._verified(token, now)
            registry = jwt.JWTClaimsRegistry(
                now=int(now.timestamp()),
                leeway=_LEEWAY_SECONDS,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._audience},
                exp={"essential": True},
            )
            registry.validate(claims)
            if claims.get("email_verified") is not True:
                raise BadToken("its e-mail is not verified")
            return normalise_login(claims.get("email"))
        except (JoseError, InvalidInput, ValueError, TypeError, KeyError) as error:
            raise BadToken(type(error).__name__) from error

    def _verified(self, token: str, now: datetime) -> dict[str, Any]:
        if self._own is not None:
            return jwt.decode(token, self._own, algorithms=["ES256"]).claims
        if self._provider is None:
            raise BadToken("no identity provider is configured")
        keys = self._provider.current(now)
        try:
            return jwt.decode(token, keys, algorithms=self._algorithms).claims
        except InvalidKeyIdError:
            keys = self._provider.current(now, lacking=True)
            return jwt.decode(token, keys, algorithms=self._algorithms).claims


def signing_key(path: str) -> ECKey:
    """The key in a file that only its owner may read, made if there is none. Raises `InvalidInput` for another."""
    file = Path(path)
    if not file.exists():
        made = ECKey.generate_key("P-256", auto_kid=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(made.as_dict(private=True), opened)
    try:
        return ECKey.import_key(json.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
        raise InvalidInput(f"{path} holds no signing key") from error


def sign(settings: Settings, login: str, now: datetime, seconds: int) -> str:
    """A token for a login, signed with the development key. Raises `InvalidInput` where there is none."""
    if not settings.development_key:
        raise InvalidInput("set CAREGRANT_DEVELOPMENT_KEY to a file; caregrant serve must know the same one")
    Tokens(settings)
    key = signing_key(settings.development_key)
    claims = {
        "iss": _DEVELOPMENT,
        "aud": settings.audience,
        "email": normalise_login(login),
        "email_verified": True,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + seconds,
    }
    return jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key)
