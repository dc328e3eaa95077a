"""Sign-in through an identity provider: OpenID Connect Core 1.0 (3.1, the authorization code flow), PKCE (RFC 7636).

Authlib speaks the protocol: discovery, state, nonce, the code's exchange, the signature and claims of the ID token.
This module says what else must hold: the issuer is the configured one, and the e-mail is verified: it is the login.
"""

from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Flask, Response
from joserfc.errors import JoseError
from requests import RequestException

from authz.errors import CaregrantError, InvalidInput, Unavailable
from authz.settings import Settings, secret
from authz.terms import normalise_login

_DISCOVERY = "/.well-known/openid-configuration"


class NotProven(CaregrantError):
    """The provider did not prove who came; the text says why, and nothing of the token."""


class Provider:
    """The identity provider of the settings, as the pages' client."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._issuer = settings.issuer
        self._back = settings.public_url.rstrip("/") + "/sign-in/callback"
        self._client: Any = OAuth(app).register(
            "provider",
            client_id=settings.oidc_client,
            client_secret=secret(settings.oidc_secret) or None,
            server_metadata_url=settings.issuer.rstrip("/") + _DISCOVERY,
            client_kwargs={"scope": "openid email", "code_challenge_method": "S256", "timeout": 5},
        )

    def redirect(self) -> Response:
        """To the provider. Raises `Unavailable`."""
        try:
            response: Response = self._client.authorize_redirect(self._back)
        except (RequestException, RuntimeError, ValueError) as error:
            raise Unavailable(f"the identity provider cannot be reached: {error}") from error
        return response

    def login(self) -> str:
        """The login that the request's code proves. Raises `NotProven`, and `Unavailable` without the provider."""
        try:
            token = self._client.authorize_access_token(
                claims_options={"iss": {"essential": True, "value": self._issuer}, "exp": {"essential": True}}
            )
        except RequestException as error:
            raise Unavailable(f"the identity provider cannot be reached: {error}") from error
        except (AuthlibBaseError, JoseError, ValueError, KeyError) as error:
            raise NotProven(type(error).__name__) from error
        claims = token.get("userinfo") or {}
        if claims.get("email_verified") is not True:
            raise NotProven("its e-mail is not verified")
        try:
            return normalise_login(claims.get("email"))
        except InvalidInput as error:
            raise NotProven("it names no e-mail") from error


def install(app: Flask, settings: Settings) -> None:
    """Know the provider of the settings, if they name one."""
    app.extensions["caregrant.provider"] = Provider(app, settings) if settings.oidc_client else None
