"""The session of a practitioner who is signed in, in a cookie that this server signs.

The cookie names the practitioner and the time of the sign-in. It contains no rights: every request asks the PDP again.
A session is locked after half an hour without a request, and twelve hours after the sign-in; what was typed into a form
then stays in the session for the same person (docs/decisions/0021-sessions.md).
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Request, Response, current_app, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import CSRFProtect, generate_csrf

from api.request_context import now, request_id
from authz.errors import InvalidInput
from authz.importing.demo import is_demo
from authz.policy.pdp import PDP
from authz.private_files import read_key, read_secret
from authz.record import Actor
from authz.settings import Settings

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_KEPT = 2500
_LONGEST_ID_TOKEN = 3800
_REFRESH_INTERVAL = timedelta(minutes=1)


class SignedOut(Exception):
    """Nobody is signed in, or the session is locked; after the sign-in the person returns to the same page."""


@dataclass(frozen=True)
class SignInOptions:
    """The ways to sign in: through an identity provider, as one of the demonstration's people, or not at all."""

    provider: bool
    demo: bool


class _CookieSessions(SecureCookieSessionInterface):
    """Flask's sessions, without the work for a request that has no cookie: no app sends one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ or self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)


def install(app: Flask, settings: Settings) -> None:
    """Set up signed cookies and protected forms. Raises `InvalidInput` as `require_valid_settings`."""
    require_valid_settings(settings, app.extensions["caregrant"])
    secure = urlsplit(settings.public_url).scheme == "https"
    app.config.update(
        SECRET_KEY=_signing_key(settings.session_key),
        SESSION_COOKIE_NAME="__Host-caregrant" if secure else "caregrant",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=7),
        CAREGRANT_ID_COOKIE="__Secure-caregrant-id" if secure else "caregrant-id",
        CAREGRANT_SIGN_OUT_PATH=urlsplit(settings.public_url).path.rstrip("/") + "/sign-out",
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.session_interface = _CookieSessions()
    app.extensions["caregrant.sign_in_options"] = SignInOptions(bool(settings.oidc_client), settings.demo_sign_in)
    CSRFProtect(app)
    app.jinja_env.globals["csrf_token"] = generate_csrf


def require_valid_settings(settings: Settings, pdp: PDP) -> None:
    """Raise `InvalidInput` for settings under which nobody should sign in."""
    if settings.demo_sign_in and not is_demo(pdp.database):
        raise InvalidInput("CAREGRANT_DEMO_SIGN_IN is for the demonstration clinic; this database has other data")
    if (settings.demo_sign_in or settings.oidc_client) and not settings.session_key:
        raise InvalidInput("sign-in needs sessions: set CAREGRANT_SESSION_KEY")
    _signing_key(settings.session_key)
    read_secret(settings.oidc_secret, "CAREGRANT_OIDC_SECRET")
    urls = {"CAREGRANT_ISSUER": settings.issuer, "CAREGRANT_PUBLIC_URL": settings.public_url}
    for name, value in urls.items() if settings.oidc_client else ():
        url = urlsplit(value)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise InvalidInput(f"CAREGRANT_OIDC_CLIENT needs {name}, an https URL")


def _signing_key(setting: str) -> str:
    """Return the key that signs cookies; a new key for this process if the setting is empty and nobody can sign in."""
    return read_key(setting, "CAREGRANT_SESSION_KEY") if setting else secrets.token_urlsafe(32)


def sign_in_options() -> SignInOptions:
    """Return how a person can sign in here."""
    options: SignInOptions = current_app.extensions["caregrant.sign_in_options"]
    return options


def begin(practitioner: str) -> None:
    """Sign a practitioner in, in a new session.

    If the same person's session was locked, keep what they typed and selected, and the token of forms in other tabs.
    """
    same_person = session.get("by") == practitioner
    kept = {name: session[name] for name in ("kept", "csrf_token", "selection") if name in session and same_person}
    session.clear()
    session.permanent = True
    moment = int(now().timestamp())
    session.update(by=practitioner, since=moment, seen=moment, **kept)


def end() -> None:
    """Sign the practitioner out."""
    session.clear()


def keep_id_token(response: Response, token: str) -> None:
    """Keep the provider's ID token in a cookie that only *Sign out* receives; a token that is too long is not kept."""
    config, is_kept = current_app.config, 0 < len(token) <= _LONGEST_ID_TOKEN
    response.set_cookie(
        config["CAREGRANT_ID_COOKIE"],
        token if is_kept else "",
        max_age=LONGEST if is_kept else 0,
        path=config["CAREGRANT_SIGN_OUT_PATH"],
        secure=config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Strict",
    )


def id_token() -> str:
    """Return the ID token that `keep_id_token` kept, or an empty text."""
    return request.cookies.get(current_app.config["CAREGRANT_ID_COOKIE"], "")


def has_session() -> bool:
    """Return whether this browser has a session, which may be locked."""
    return "by" in session


def actor() -> Actor:
    """Return the practitioner who acts, at one instant for the whole request. Raises `SignedOut`."""
    if "actor" in g:
        acting: Actor = g.actor
        return acting
    moment = int(now().timestamp())
    by, since, seen = (session.get(name, 0) for name in ("by", "since", "seen"))
    if not by or moment - seen > IDLE.total_seconds() or moment - since > LONGEST.total_seconds():
        raise SignedOut
    if moment - seen > _REFRESH_INTERVAL.total_seconds():
        session["seen"] = moment
    g.actor = Actor(by, now(), request_id=request_id(), address=request.remote_addr or "")
    return actor()


def selection_token(*, make: bool = False) -> str:
    """Return the token under which this session's selection of patients is kept, empty if there is none yet."""
    if make and not session.get("selection"):
        session["selection"] = secrets.token_hex(16)
    return str(session.get("selection", ""))


def keep_form(key: str, form: dict[str, list[str]]) -> None:
    """Keep the values that were typed into the form with this key, if they fit into a cookie."""
    if sum(len(name) + sum(len(value.encode()) for value in values) for name, values in form.items()) <= _MOST_KEPT:
        session["kept"] = {"path": key, "form": form}


def take_kept_form(key: str) -> dict[str, list[str]]:
    """Return the kept values of the form with this key, and forget them."""
    kept: dict[str, Any] = session.get("kept") or {}
    if kept.get("path") != key:
        return {}
    session.pop("kept")
    form: dict[str, list[str]] = kept["form"]
    return form
