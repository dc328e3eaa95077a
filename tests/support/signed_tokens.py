"""Tokens that a key server of the tests signs."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from joserfc.jwk import RSAKey

from tests.support.jwks_server import KeyServer

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


ISSUER = "https://id.clinic.example"


GOOD = {
    "iss": ISSUER,
    "aud": "caregrant",
    "email": "Alice@Clinic.example",
    "email_verified": True,
    "exp": int(NOW.timestamp()) + 60,
}


def token_of(provider: KeyServer, key: RSAKey | None = None, **claims: Any) -> str:
    """Return a good token of the provider with these claims changed; None removes a claim."""
    return provider.sign({name: value for name, value in (GOOD | claims).items() if value is not None}, key)


def coded(part: dict[str, Any] | bytes) -> str:
    """Return a part of a token, encoded."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
