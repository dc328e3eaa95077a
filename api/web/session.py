"""Who is signed in: a practitioner's session, in a cookie that this server signed.

The cookie says who and since when, and nothing of what they may: that is asked anew at every request. A session is
locked after half an hour without a request and after twelve hours in any case; what was typed into a form then waits in
it for the same person (docs/decisions/0021-sessions.md).
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
_KEPT_AT_MOST = 2500
_LONGEST_ID_TOKEN = 3800
_REFRESHED = timedelta(minutes=1)


class SignedOut(Exception):
    """Nobody is signed in, or the session is locked. Not a refusal: whoever signs in goes on where they were."""


@dataclass(frozen=True)
class Ways:
    """How one signs in here: through an identity provider, by choosing one of the demo people, or not at all."""

    provider: bool
    demo: bool


class _Sessions(SecureCookieSessionInterface):
    """Flask's, which makes ready to check a cookie where there is none: no app sends one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "HTTP_COOKIE" not in request.environ or self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed or session.modified:
            super().save_session(app, session, response)


def install(app: Flask, settings: Settings) -> None:
    """Sign cookies, protect forms. Raises as `check`."""
    check(settings, app.extensions["caregrant"])
    secure = urlsplit(settings.public_url).scheme == "https"
    app.config.update(
        SECRET_KEY=_key(settings.session_key),
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
    app.session_interface = _Sessions()
    app.extensions["caregrant.ways"] = Ways(bool(settings.oidc_client), settings.demo_sign_in)
    CSRFProtect(app)
    app.jinja_env.globals["csrf_token"] = generate_csrf


def check(settings: Settings, served: PDP) -> None:
    """Raise `InvalidInput` for settings under which nobody should sign in."""
    if settings.demo_sign_in and not is_demo(served.database):
        raise InvalidInput("CAREGRANT_DEMO_SIGN_IN is for the demonstration clinic; this database holds another")
    if (settings.demo_sign_in or settings.oidc_client) and not settings.session_key:
        raise InvalidInput("who signs in needs a session: set CAREGRANT_SESSION_KEY")
    _key(settings.session_key)
    read_secret(settings.oidc_secret, "CAREGRANT_OIDC_SECRET")
    urls = {"CAREGRANT_ISSUER": settings.issuer, "CAREGRANT_PUBLIC_URL": settings.public_url}
    for name, value in urls.items() if settings.oidc_client else ():
        url = urlsplit(value)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise InvalidInput(f"CAREGRANT_OIDC_CLIENT needs {name}, an https URL")


def _key(given: str) -> str:
    """The key that signs cookies; without any way to sign in, one that is forgotten with this process."""
    return read_key(given, "CAREGRANT_SESSION_KEY") if given else secrets.token_urlsafe(32)


def ways() -> Ways:
    """How one signs in here."""
    found: Ways = current_app.extensions["caregrant.ways"]
    return found


def begin(practitioner: str) -> None:
    """Sign a practitioner in, in a new session; what they typed before the old one was locked stays."""
    waiting, same = session.get("kept"), session.get("by") == practitioner
    session.clear()
    session.permanent = True
    moment = int(now().timestamp())
    session.update(by=practitioner, since=moment, seen=moment)
    if waiting and same:
        session["kept"] = waiting


def end() -> None:
    """Sign out."""
    session.clear()


def keep_id_token(response: Response, token: str) -> None:
    """Keep the provider's ID token in a cookie that only *Sign out* sees; one that is too large is not kept."""
    config, kept = current_app.config, 0 < len(token) <= _LONGEST_ID_TOKEN
    response.set_cookie(
        config["CAREGRANT_ID_COOKIE"],
        token if kept else "",
        max_age=LONGEST if kept else 0,
        path=config["CAREGRANT_SIGN_OUT_PATH"],
        secure=config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Strict",
    )


def id_token() -> str:
    """The ID token that `keep_id_token` kept, or nothing."""
    return request.cookies.get(current_app.config["CAREGRANT_ID_COOKIE"], "")


def known() -> bool:
    """Whether this browser has a session at all, be it locked."""
    return "by" in session


def actor() -> Actor:
    """The practitioner who acts, at one instant for the whole request. Raises `SignedOut`."""
    if "actor" in g:
        acting: Actor = g.actor
        return acting
    moment = int(now().timestamp())
    by, since, seen = (session.get(name, 0) for name in ("by", "since", "seen"))
    if not by or moment - seen > IDLE.total_seconds() or moment - since > LONGEST.total_seconds():
        raise SignedOut
    if moment - seen > _REFRESHED.total_seconds():
        session["seen"] = moment
    g.actor = Actor(by, now(), request_id=request_id(), address=request.remote_addr or "")
    return actor()


def keep(path: str, form: dict[str, list[str]]) -> None:
    """Remember what was typed into the form at a path, as far as a cookie holds it."""
    if sum(len(name) + sum(len(value.encode()) for value in values) for name, values in form.items()) <= _KEPT_AT_MOST:
        session["kept"] = {"path": path, "form": form}


def kept(path: str) -> dict[str, list[str]]:
    """What was typed into the form at a path before the session was locked; once."""
    waiting: dict[str, Any] = session.get("kept") or {}
    if waiting.get("path") != path:
        return {}
    session.pop("kept")
    form: dict[str, list[str]] = waiting["form"]
    return form
