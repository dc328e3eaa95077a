"""Signed tokens (JWT, RFC 7519) of an identity provider: their form, their signature, and the login in their claims.

Bearer tokens and the ID tokens of the sign-in are verified in the same way. A refusal names the part or the claim that
is missing or wrong, but never a value.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from authz.callers.provider_keys import NoMatchingKey, ProviderKeys, matching_keys
from authz.domain import normalise_login
from authz.errors import CaregrantError, InvalidInput

_LONGEST_TOKEN = 16_384
_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class BadToken(CaregrantError):
    """A token that is not valid; the text says why, without parts of the token."""


@dataclass(frozen=True)
class VerifiedToken:
    """A token with a valid signature; its claims are not checked yet."""

    header: dict[str, object]
    claims: dict[str, object]


class SignatureVerifier:
    """Verifies the signatures of one provider's tokens (RFC 7515), with its keys and the accepted algorithms."""

    def __init__(self, keys: ProviderKeys, algorithms: Sequence[str]) -> None:
        self._keys = keys
        self._algorithms = tuple(algorithms)

    def verify(self, token: str, now: datetime) -> VerifiedToken:
        """Verify a signature. Raises `BadToken`, and `Unavailable` without the provider's keys.

        A token that is malformed, or of an algorithm that is not accepted, is refused before the keys are read.
        """
        header = parse_header(token, self._algorithms)
        keys = self._keys.current(now)
        try:
            chosen = matching_keys(keys, header)
        except NoMatchingKey:
            try:
                chosen = matching_keys(self._keys.current(now, unknown_key=True), header)
            except NoMatchingKey as error:
                raise BadToken("kid: the provider has no such key for this algorithm") from error
        return decode(token, header, chosen)


def parse_header(token: str, algorithms: Sequence[str]) -> dict[str, object]:
    """Return the header of a signed token (RFC 7515, section 7.1), not verified.

    Raises `BadToken` for another form, for an algorithm that is not among `algorithms`, and for an extension that the
    header marks as critical.
    """
    parts = token.split(".", 3) if len(token) <= _LONGEST_TOKEN else []
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise BadToken("malformed")
    try:
        header = json.loads(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (ValueError, RecursionError) as error:
        raise BadToken("malformed header") from error
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        raise BadToken("malformed header")
    if header.get("alg") not in algorithms:
        raise BadToken("alg is not accepted here")
    if "crit" in header or header.get("b64", True) is not True:
        raise BadToken("crit is not supported")
    return header


def decode(token: str, header: Mapping[str, Any], keys: Iterable[Key]) -> VerifiedToken:
    """Verify a token with each of the keys until one matches. Raises `BadToken`."""
    registry = JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    for key in keys:
        try:
            decoded = jwt.decode(token, key, registry=registry)
        except BadSignatureError:
            continue
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadToken("malformed") from error
        return VerifiedToken(dict(decoded.header), dict(decoded.claims))
    raise BadToken("signature is wrong")


def describe_fault(error: Exception) -> str:
    """Name the claim that is missing or wrong, never its value."""
    if isinstance(error, MissingClaimError):
        return f"{error.claim} is missing"
    if isinstance(error, ExpiredTokenError):
        return "exp is over"
    if isinstance(error, ClaimError):
        return f"{error.claim} is wrong"
    return "malformed claims"


def verified_login(claims: Mapping[str, Any]) -> str:
    """Return the login in the claims: the e-mail address that the provider has verified. Raises `BadToken`."""
    for claim in ("email", "email_verified"):
        if claims.get(claim) is None:
            raise BadToken(f"{claim} is missing")
    if claims["email_verified"] is not True:
        raise BadToken("email_verified is not true")
    try:
        return normalise_login(claims["email"])
    except InvalidInput as error:
        raise BadToken("email cannot be a login") from error
