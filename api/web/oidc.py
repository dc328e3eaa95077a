"""Sign-in through an identity provider: OpenID Connect Core 1.0 (3.1, the authorization code flow), PKCE (RFC 7636).

Authlib implements the protocol: discovery, state, nonce, the exchange of the code, the claims of the ID token. This
module requires more: the issuer is the configured one, the signature is verified as the signature of a bearer token is,
and the e-mail, which is the login, is verified (from the ID token or from UserInfo, 5.4). *Sign out* leads to the
provider's logout page (OpenID Connect RP-Initiated Logout 1.0), if its metadata names one.

Every request to the provider is limited in time and size, and at most `_MOST_AT_ONCE` are under way at once, so that a
provider that does not answer occupies no more threads.
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
_MOST_AT_ONCE = 8
_PAUSE_SECONDS = 5.0
_LEEWAY_SECONDS = 120
_REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL = ("userinfo_endpoint", "end_session_endpoint")
_CLAIMS = ("email", "email_verified")
_FAULTS = (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, AttributeError)


class SignInRefused(CaregrantError):
    """The provider did not prove the person's login; the text names the claim at fault, and nothing of the token."""


def _open_session(*args: object, **options: object) -> OAuth2Session:
    """Return an HTTP session of Authlib, limited in time and size."""
    session = OAuth2Session(*args, **options)
    limit_time(session, _SECONDS)
    return session


class ProviderClient(FlaskOAuth2App):  # type: ignore[misc] # Authlib has no types
    """Authlib's client, which verifies signatures as bearer tokens' are, and accepts only one issuer's metadata."""

    client_cls = staticmethod(_open_session)
    issuer = ""
    algorithms: tuple[str, ...] = ()
    _verifier: SignatureVerifier | None = None

    def load_server_metadata(self) -> Any:
        """Return the provider's metadata, read once.

        Raises `Unavailable` for another issuer's metadata (OpenID Discovery 4.3).
        """
        was_loaded = "_loaded_at" in self.server_metadata
        metadata = super().load_server_metadata()
        if not was_loaded and (fault := _metadata_fault(metadata, self.issuer)):
            metadata.pop("_loaded_at", None)
            raise Unavailable(f"the metadata of the identity provider is not usable: {fault}")
        return metadata

    def parse_id_token(self, token: Any, nonce: str, claims_options: object = None, **_: object) -> object:
        """Return the claims of an ID token (3.1.3.7). Raises `BadToken`, `JoseError`, and `Unavailable`."""
        verified = self._verify(token["id_token"])
        parameters = {"nonce": nonce, "client_id": self.client_id, "access_token": token.get("access_token")}
        claims = CodeIDToken(verified.claims, verified.header, claims_options, parameters)
        claims.validate(leeway=_LEEWAY_SECONDS)
        return UserInfo(claims)

    def _verify(self, id_token: object) -> Any:
        if self._verifier is None:
            self._verifier = SignatureVerifier(ProviderKeys(self.load_server_metadata()["jwks_uri"]), self.algorithms)
        return self._verifier.verify(str(id_token), now())


def _metadata_fault(metadata: Mapping[str, Any], issuer: str) -> str:
    """Describe why the metadata is not usable; return an empty text if it is."""
    if metadata.get("issuer") != issuer:
        return "its issuer is not CAREGRANT_ISSUER"
    for name in _REQUIRED + _OPTIONAL:
        url = urlsplit(str(metadata.get(name) or ""))
        is_safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        if not (is_safe and url.netloc) and (name in _REQUIRED or metadata.get(name)):
            return f"its {name} is not an https URL"
    return ""


class _RequestSlots:
    """Slots that limit the requests to the provider: `_MOST_AT_ONCE` at once, and none for a while after a failure."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._failed = float("-inf")

    @contextmanager
    def take(self) -> Iterator[None]:
        """Take a slot, without waiting. Raises `Unavailable` if none is free, or if the request fails."""
        if time.monotonic() - self._failed < _PAUSE_SECONDS:
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
    """The identity provider of the settings, of which the pages are a client."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        base = settings.public_url.rstrip("/")
        self._sign_in_callback, self._sign_out_callback = base + "/sign-in/callback", base + "/sign-out/callback"
        self._slots = _RequestSlots()
        self._client: Any = OAuth(app).register(
            "provider",
            client_cls=ProviderClient,
            client_id=settings.oidc_client,
            client_secret=read_secret(settings.oidc_secret, "CAREGRANT_OIDC_SECRET") or None,
            server_metadata_url=settings.issuer.rstrip("/") + _DISCOVERY,
            client_kwargs={"scope": "openid email", "code_challenge_method": "S256"},
        )
        self._client.issuer = settings.issuer
        self._client.algorithms = tuple(parse_algorithms(settings.algorithms))

    def redirect(self) -> Response:
        """Return a redirect to the provider's sign-in page. Raises `Unavailable`."""
        with self._slots.take():
            try:
                response: Response = self._client.authorize_redirect(self._sign_in_callback)
            except (RuntimeError, ValueError) as error:
                raise _unusable_metadata(error) from error
        return response

    def login(self) -> tuple[str, str]:
        """Return the login that the request's code proves, and the ID token.

        Raises `SignInRefused` and `Unavailable`.
        """
        with self._slots.take():
            try:
                token = self._client.authorize_access_token(
                    claims_options={
                        "iss": {"essential": True, "value": self._client.issuer},
                        "exp": {"essential": True},
                    }
                )
                claims = token.get("userinfo")
                if not claims:
                    raise SignInRefused("id_token is missing")
                if any(claims.get(name) is None for name in _CLAIMS):
                    claims = self._user_info(token, claims)
                return verified_login(claims), str(token["id_token"])
            except BadToken as error:
                raise SignInRefused(str(error)) from error
            except OAuthError as error:
                raise SignInRefused(f"the provider answers {str(error.error)[:40]!r}") from error
            except _FAULTS as error:
                raise SignInRefused(describe_fault(error)) from error

    def _user_info(self, token: Mapping[str, Any], claims: Mapping[str, object]) -> Mapping[str, object]:
        """Return the claims of UserInfo (5.3), which must have the same subject and contradict no claim of the token.

        Raises `SignInRefused`, and the errors of a session.
        """
        endpoint = self._client.load_server_metadata().get("userinfo_endpoint")
        if not endpoint:
            raise SignInRefused(f"{next(name for name in _CLAIMS if claims.get(name) is None)} is missing")
        headers = {"Authorization": f"Bearer {token['access_token']}", "Accept": "application/json"}
        with _open_session() as session:  # withhold_token: Authlib would treat a token that lives a minute as expired
            response = session.request("GET", endpoint, headers=headers, withhold_token=True)
        response.raise_for_status()
        user_info = response.json()
        if not isinstance(user_info, dict):
            raise SignInRefused("UserInfo is malformed")
        if user_info.get("sub") != claims["sub"]:
            raise SignInRefused("sub of UserInfo is another person's")
        for name in _CLAIMS:
            if claims.get(name) is not None and claims[name] != user_info.get(name):
                raise SignInRefused(f"{name} of UserInfo differs from the ID token")
        return user_info

    def logout_url(self, id_token: str, state: str) -> str:
        """Return the URL at which the provider ends its own session, empty if there is none. Raises `Unavailable`.

        With the ID token the provider need not ask the person to confirm; without it, the client's id names the client.
        """
        with self._slots.take():
            try:
                if not self._client.load_server_metadata().get("end_session_endpoint"):
                    return ""
                url: str = self._client.create_logout_url(
                    post_logout_redirect_uri=self._sign_out_callback,
                    id_token_hint=id_token or None,
                    state=state,
                    client_id=self._client.client_id,
                )["url"]
            except (RuntimeError, ValueError) as error:
                raise _unusable_metadata(error) from error
        return url

    def origins(self) -> str:
        """Return the origins to which the form *Sign out* may lead, separated by blanks."""
        metadata = self._client.server_metadata
        urls = [urlsplit(self._client.issuer)]
        if "_loaded_at" in metadata and metadata.get("end_session_endpoint"):
            urls.append(urlsplit(metadata["end_session_endpoint"]))
        return " ".join(dict.fromkeys(f"{url.scheme}://{url.netloc}" for url in urls))


def _unusable_metadata(error: Exception) -> Unavailable:
    return Unavailable(f"the metadata of the identity provider is not usable: {type(error).__name__}")


def install(app: Flask, settings: Settings) -> None:
    """Add the provider of the settings to an application, if they name one."""
    app.extensions["caregrant.provider"] = Provider(app, settings) if settings.oidc_client else None
