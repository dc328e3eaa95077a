"""Sign-in through an identity provider: OpenID Connect Core 1.0 (3.1, the authorization code flow), PKCE (RFC 7636).

Authlib speaks the protocol: discovery, state, nonce, the code's exchange, the claims of the ID token. This module says
what else must hold: the issuer is the configured one, a signature is judged as that of a bearer token, and the e-mail,
from the ID token or from UserInfo (5.4), is verified: it is the login. *Sign out* leads to the provider's own page for
it (OpenID Connect RP-Initiated Logout 1.0) where its metadata names one.

Every request to the provider is bounded in time and size, and only so many are under way at once, so that a provider
that does not answer takes no more threads than that.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import FlaskOAuth2App, OAuth
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken, UserInfo
from flask import Flask, Response
from joserfc.errors import JoseError
from requests import ConnectionError, RequestException, Timeout  # noqa: A004 - the name that requests gives it

from api.request_context import now
from api.web.session import LOOPBACK
from authz.callers.outbound import limit_time
from authz.callers.provider_keys import ProviderKeys
from authz.callers.signed_tokens import BadToken, SignatureVerifier, describe_fault, verified_login
from authz.callers.tokens import parse_algorithms
from authz.errors import CaregrantError, Unavailable
from authz.private_files import read_secret
from authz.settings import Settings

_DISCOVERY = "/.well-known/openid-configuration"
_SECONDS = 5.0
_AT_ONCE = 8
_RESTING_SECONDS = 5.0
_LEEWAY_SECONDS = 120
_NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL = ("userinfo_endpoint", "end_session_endpoint")
_CLAIMS = ("email", "email_verified")
_FAULTS = (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, AttributeError)


class NotProven(CaregrantError):
    """The provider did not prove who came; the text names the claim at fault, and nothing of the token."""


class _Session(OAuth2Session):  # type: ignore[misc]
    """Authlib's session, bounded."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        limit_time(self, _SECONDS)


class _Client(FlaskOAuth2App):  # type: ignore[misc]
    """Authlib's client, which judges signatures as those of bearer tokens and believes one issuer's metadata only."""

    client_cls = _Session
    issuer = ""
    algorithms: tuple[str, ...] = ()
    _verifier: SignatureVerifier | None = None

    def load_server_metadata(self) -> Any:
        """Read the provider's metadata, once. Raises `Unavailable` for another issuer's (OpenID Discovery 4.3)."""
        loaded = "_loaded_at" in self.server_metadata
        metadata = super().load_server_metadata()
        if not loaded and (fault := _fault_of(metadata, self.issuer)):
            metadata.pop("_loaded_at", None)
            raise Unavailable(f"the identity provider's metadata cannot serve: {fault}")
        return metadata

    def parse_id_token(self, token: Any, nonce: str, claims_options: Any = None, **_: Any) -> Any:
        """Return the claims of an ID token (3.1.3.7). Raises `BadToken`, `JoseError`, and `Unavailable`."""
        verified = self._verify(token["id_token"])
        about = {"nonce": nonce, "client_id": self.client_id, "access_token": token.get("access_token")}
        claims = CodeIDToken(verified.claims, verified.header, claims_options, about)
        claims.validate(leeway=_LEEWAY_SECONDS)
        return UserInfo(claims)

    def _verify(self, id_token: object) -> Any:
        if self._verifier is None:
            self._verifier = SignatureVerifier(ProviderKeys(self.load_server_metadata()["jwks_uri"]), self.algorithms)
        return self._verifier.verify(str(id_token), now())


def _fault_of(metadata: Mapping[str, Any], issuer: str) -> str:
    """Say what of the metadata is not to be believed; nothing if all is well."""
    if metadata.get("issuer") != issuer:
        return "its issuer is another one than CAREGRANT_ISSUER"
    for name in _NEEDED + _OPTIONAL:
        url = urlsplit(str(metadata.get(name) or ""))
        safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        if not (safe and url.netloc) and (name in _NEEDED or metadata.get(name)):
            return f"its {name} is no https URL"
    return ""


class _Turns:
    """Lets so many requests to the provider be under way at once, and none for a moment after it did not answer."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        self._failed = float("-inf")

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a turn, at once or not at all. Raises `Unavailable`."""
        if time.monotonic() - self._failed < _RESTING_SECONDS:
            raise Unavailable("the identity provider did not answer a moment ago")
        if not self._free.acquire(blocking=False):
            raise Unavailable("too many sign-ins wait for the identity provider")
        try:
            yield
        except RequestException as error:
            if isinstance(error, ConnectionError | Timeout):
                self._failed = time.monotonic()
            raise Unavailable(f"the identity provider cannot be reached: {type(error).__name__}") from error
        finally:
            self._free.release()


class Provider:
    """The identity provider of the settings, as the pages' client."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        home = settings.public_url.rstrip("/")
        self._back, self._left = home + "/sign-in/callback", home + "/sign-out/callback"
        self._turns = _Turns()
        self._client: Any = OAuth(app).register(
            "provider",
            client_cls=_Client,
            client_id=settings.oidc_client,
            client_secret=read_secret(settings.oidc_secret, "CAREGRANT_OIDC_SECRET") or None,
            server_metadata_url=settings.issuer.rstrip("/") + _DISCOVERY,
            client_kwargs={"scope": "openid email", "code_challenge_method": "S256"},
        )
        self._client.issuer = settings.issuer
        self._client.algorithms = tuple(parse_algorithms(settings.algorithms))

    def redirect(self) -> Response:
        """Lead to the provider. Raises `Unavailable`."""
        with self._turns.one():
            try:
                response: Response = self._client.authorize_redirect(self._back)
            except (RuntimeError, ValueError) as error:
                raise Unavailable(f"the identity provider's metadata cannot serve: {type(error).__name__}") from error
        return response

    def login(self) -> tuple[str, str]:
        """Return the login that the request's code proves, and the ID token. Raises `NotProven` and `Unavailable`."""
        with self._turns.one():
            try:
                token = self._client.authorize_access_token(
                    claims_options={
                        "iss": {"essential": True, "value": self._client.issuer},
                        "exp": {"essential": True},
                    }
                )
                claims = token.get("userinfo")
                if not claims:
                    raise NotProven("id_token is missing")
                if any(claims.get(name) is None for name in _CLAIMS):
                    claims = self._user_info(token, claims)
                return verified_login(claims), str(token["id_token"])
            except BadToken as error:
                raise NotProven(str(error)) from error
            except OAuthError as error:
                raise NotProven(f"the provider answers {str(error.error)[:40]!r}") from error
            except _FAULTS as error:
                raise NotProven(describe_fault(error)) from error

    def _user_info(self, token: Mapping[str, Any], claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims of UserInfo (5.3), which speaks of the same person and contradicts no claim.

        Raises `NotProven`, and what a session raises.
        """
        endpoint = self._client.load_server_metadata().get("userinfo_endpoint")
        if not endpoint:
            raise NotProven(f"{next(name for name in _CLAIMS if claims.get(name) is None)} is missing")
        bearer = {"Authorization": f"Bearer {token['access_token']}", "Accept": "application/json"}
        with _Session() as session:  # without Authlib's own look at the token: it takes one of a minute for an old one
            answer = session.request("GET", endpoint, headers=bearer, withhold_token=True)
        answer.raise_for_status()
        told = answer.json()
        if not isinstance(told, dict):
            raise NotProven("UserInfo is malformed")
        if told.get("sub") != claims["sub"]:
            raise NotProven("sub of UserInfo is another person's")
        for name in _CLAIMS:
            if claims.get(name) is not None and claims[name] != told.get(name):
                raise NotProven(f"{name} of UserInfo is another one")
        return told

    def logout_url(self, id_token: str, state: str) -> str:
        """Return the URL at which the provider ends its own session; empty if it offers none. Raises `Unavailable`.

        The ID token spares the person a question; without one the client's id names who asks.
        """
        with self._turns.one():
            try:
                if not self._client.load_server_metadata().get("end_session_endpoint"):
                    return ""
                url: str = self._client.create_logout_url(
                    post_logout_redirect_uri=self._left,
                    id_token_hint=id_token or None,
                    state=state,
                    client_id=self._client.client_id,
                )["url"]
            except (RuntimeError, ValueError) as error:
                raise Unavailable(f"the identity provider's metadata cannot serve: {type(error).__name__}") from error
        return url

    def origins(self) -> str:
        """Return the origins, with blanks between, to which the form *Sign out* may lead."""
        known = self._client.server_metadata
        urls = [urlsplit(self._client.issuer)]
        if "_loaded_at" in known and known.get("end_session_endpoint"):
            urls.append(urlsplit(known["end_session_endpoint"]))
        return " ".join(dict.fromkeys(f"{url.scheme}://{url.netloc}" for url in urls))


def install(app: Flask, settings: Settings) -> None:
    """Know the provider of the settings, if they name one."""
    app.extensions["caregrant.provider"] = Provider(app, settings) if settings.oidc_client else None
