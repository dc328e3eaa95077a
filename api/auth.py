"""Who is asking: an app by its key, or a practitioner by a token of the identity provider.

An app with the scope `act` names the practitioner for whom it acts in `X-On-Behalf-Of`; both are recorded (T3). Nothing
in a body ever says who acts.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from flask import current_app, g, request

from api.errors import Problem
from api.ops.meters import meters
from api.request_context import now, request_id
from authz.callers.clients import Caller, find_client
from authz.callers.rates import Rates
from authz.callers.signed_tokens import BadToken
from authz.callers.tokens import Tokens
from authz.errors import InvalidInput
from authz.policy.pdp import PDP
from authz.queries.practitioner import by_login
from authz.record import Actor

_ON_BEHALF = "X-On-Behalf-Of"
_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="caregrant"')


@dataclass(frozen=True)
class Bearer:
    """What the `Authorization` header proved: an app, or a login."""

    app: Caller | None
    login: str = ""


def pdp() -> PDP:
    """The application's PDP."""
    found: PDP = current_app.extensions["caregrant"]
    return found


def bearer() -> Bearer:
    """The caller, whose rate this request is charged to, once. Raises a `Problem` (401) without a good key or token."""
    if "bearer" not in g:
        g.bearer = _bearer()
    known: Bearer = g.bearer
    return known


def authenticate() -> None:
    """Know the caller before anything of the request is parsed."""
    bearer()


def charge(requests: int) -> None:
    """Charge more requests to the caller: for a list that the request brought. Raises `TooMany`."""
    known = bearer()
    if known.app is not None:
        spend(known.app, requests)
    else:
        rates().spend(_meter(known.login), now(), requests=requests)


def _meter(login: str) -> str:
    return f"login:{hashlib.sha256(login.encode()).hexdigest()}"


def _bearer() -> Bearer:
    kind, _, credential = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    credential = credential.strip()
    if kind.lower() != "bearer" or not credential:
        raise _refused("none", "Send an app's key or a practitioner's token as Authorization: Bearer …")
    if "." not in credential:
        app = find_client(pdp().database, credential, now=now())
        if app is None:
            raise _refused("key", "This key is not known, or was revoked.")
        spend(app)
        return Bearer(app)
    tokens: Tokens = current_app.extensions["caregrant.tokens"]
    try:
        login = tokens.login_of(credential, now())
    except BadToken as error:
        raise _refused("token", "This token is not good here, or has expired.", str(error)) from error
    rates().spend(_meter(login), now())
    return Bearer(None, login)


def rates() -> Rates:
    """The application's count of what callers send."""
    found: Rates = current_app.extensions["caregrant.rates"]
    return found


def spend(app: Caller, requests: int = 1) -> None:
    """Count requests of an app. Raises `TooMany`."""
    rates().spend(f"client:{app.id}", now(), rate=app.rate, requests=requests)


def _refused(kind: str, detail: str, why: str = "") -> Problem:
    """A refusal, counted and logged: what kind of credential it was, and nothing of it."""
    meters().refused.labels(kind).inc()
    current_app.logger.warning("a credential was refused: kind=%s %s", kind, why)
    return Problem("unauthenticated", detail, headers=(_CHALLENGE,))


def needs(found: Caller, scope: str) -> None:
    """Raise a `Problem` (403) where an app lacks a scope."""
    if scope not in found.scopes:
        raise Problem("forbidden", f"This app's key lacks the scope {scope}.")


def caller(scope: str) -> Caller:
    """The app that asks. Raises a `Problem`: 401 without a good credential, 403 without the scope."""
    found = bearer().app
    if found is None:
        raise Problem("forbidden", f"This needs an app's key with the scope {scope}.")
    needs(found, scope)
    return found


def practitioner() -> Actor:
    """The practitioner who acts, themselves or through an app. Raises a `Problem` (401, 403)."""
    found = bearer()
    if found.app is None:
        if _ON_BEHALF in request.headers:
            raise Problem("forbidden", f"A practitioner's token speaks for its own login only; leave {_ON_BEHALF} out.")
        return _act(_person(found.login, None), None)
    needs(found.app, "act")
    login = request.headers.get(_ON_BEHALF)
    if login is None:
        raise Problem("forbidden", f"Say for whom: {_ON_BEHALF}: LOGIN.")
    return _act(_person(_decoded(login), found.app.subscription), found.app)


def operator_or_practitioner() -> Actor:
    """An app with the scope `admin`, which acts as the operator; else as `practitioner`."""
    found = bearer().app
    if found is not None and _ON_BEHALF not in request.headers:
        needs(found, "admin")
        return actor_of(found)
    return practitioner()


def operator() -> Actor:
    """An app with the scope `admin`."""
    return actor_of(caller("admin"))


def _decoded(header: str) -> str:
    """Decode a header from UTF-8, of which WSGI writes the bytes as Latin-1 (PEP 3333); other bytes are no login."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return ""


def _person(login: str, tenant: str | None) -> str:
    try:
        found = by_login(pdp(), login, tenant)
    except InvalidInput:
        found = None
    if found is None:
        raise Problem("forbidden", "No practitioner whom this caller serves has this login.")
    return found


def actor_of(app: Caller) -> Actor:
    """An app that acts for nobody: one that asks for decisions, or the operator's."""
    return _act("", app)


def _act(by: str, app: Caller | None) -> Actor:
    through: dict[str, Any] = {} if app is None else {"client": app.id, "tenant": app.subscription}
    return Actor(by, now(), request_id=request_id(), address=request.remote_addr or "", **through)
