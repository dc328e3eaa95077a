"""Practitioners' tokens: JWTs (RFC 7519) that an identity provider signed, verified by its published keys (RFC 7517).

The e-mail claim, verified by the provider, is the login. Pinned are the issuer, the audience, the algorithms and that a
token expires. In development a key of one's own stands in for the provider; never beside one.
"""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from authz.callers.provider_keys import ProviderKeys, require_keys_in
from authz.callers.signed_tokens import (
    BadToken,
    SignatureVerifier,
    VerifiedToken,
    decode,
    describe_fault,
    parse_header,
    verified_login,
)
from authz.domain import normalise_login
from authz.errors import InvalidInput
from authz.private_files import read_private, write_private
from authz.settings import Settings

_LEEWAY_SECONDS = 30
_DEVELOPMENT = "caregrant-development"
_PUBLIC_KEY = ("RS", "PS", "ES", "Ed")


class Tokens:
    """Verifies practitioners' tokens by the settings: of a provider, of the development key, or none at all."""

    def __init__(self, settings: Settings) -> None:
        require_no_development_beside(settings)
        algorithms = parse_algorithms(settings.algorithms)
        self._issuer = settings.issuer if settings.jwks else _DEVELOPMENT
        self._audience = settings.audience
        self._provider = None
        self._own = None
        if settings.jwks:
            _require_jwks(settings)
            self._provider = SignatureVerifier(ProviderKeys(settings.jwks), algorithms)
        elif settings.development_key:
            self._own = signing_key(settings.development_key)

    def login_of(self, token: str, now: datetime) -> str:
        """Return the login of a token. Raises `BadToken`, and `Unavailable` without the provider's keys."""
        claims = self._verified(token, now).claims
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except (JoseError, ValueError, TypeError, OverflowError) as error:
            raise BadToken(describe_fault(error)) from error
        return verified_login(claims)

    def _verified(self, token: str, now: datetime) -> VerifiedToken:
        if self._own is not None:
            return decode(token, parse_header(token, ["ES256"]), [self._own])
        if self._provider is None:
            raise BadToken("no identity provider is configured")
        return self._provider.verify(token, now)


def require_no_development_beside(settings: Settings) -> None:
    """Raise `InvalidInput` for a development key, or the demonstration's sign-in, in a service of real people."""
    development = {
        "CAREGRANT_DEVELOPMENT_KEY": settings.development_key,
        "CAREGRANT_DEMO_SIGN_IN": settings.demo_sign_in,
    }
    providers = {"CAREGRANT_JWKS": settings.jwks, "CAREGRANT_OIDC_CLIENT": settings.oidc_client}
    for variable in (name for name, value in development.items() if value):
        for provider in (name for name, value in providers.items() if value):
            raise InvalidInput(f"{variable} is refused beside an identity provider, which {provider} names")
        if urlsplit(settings.public_url).scheme == "https":
            raise InvalidInput(f"{variable} is refused beside an https CAREGRANT_PUBLIC_URL")


def parse_algorithms(text: str) -> list[str]:
    """Return the names of signature algorithms in a text. Raises `InvalidInput` for one that uses a shared secret."""
    algorithms = text.split()
    if not algorithms or any(one[:2] not in _PUBLIC_KEY for one in algorithms):
        raise InvalidInput(f"CAREGRANT_ALGORITHMS names no public-key algorithm: {text!r}")
    return algorithms


def _require_jwks(settings: Settings) -> None:
    """Raise `InvalidInput` for keys that nobody should believe or that are not there."""
    if not settings.issuer:
        raise InvalidInput("CAREGRANT_JWKS needs CAREGRANT_ISSUER, the issuer whose tokens count")
    url = urlsplit(settings.jwks)
    if url.scheme == "http" and url.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise InvalidInput("CAREGRANT_JWKS must be an https URL or a file")
    if url.scheme not in ("http", "https"):
        require_keys_in(settings.jwks)


def signing_key(path: str) -> ECKey:
    """Return the key in a file that only its owner may read, made if there is none. Raises `InvalidInput`."""
    if not Path(path).exists():
        made = ECKey.generate_key("P-256", auto_kid=True)
        with suppress(FileExistsError):  # another process was faster: its key counts
            write_private(path, json.dumps(made.as_dict(private=True)))
    try:
        key = ECKey.import_key(json.loads(read_private(path)))
    except (ValueError, KeyError, TypeError, JoseError) as error:
        raise InvalidInput(f"{path} holds no signing key") from error
    if not key.is_private:
        raise InvalidInput(f"{path} holds no signing key, but a public one")
    return key


def sign_token(settings: Settings, login: str, now: datetime, seconds: int) -> str:
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
