"""Authentication: an app by its key, or a practitioner by a token of the identity provider.

An app with the scope `act` names the practitioner for whom it acts in the header `X-On-Behalf-Of`; the record names
both (T3). No member of a request's body says who acts.
"""

import hashlib
from dataclasses import dataclass

from flask import current_app, g, request

from api import request_group
from api.errors import Problem
from api.ops.meters import meters
from api.request_context import now, request_id
from authz.callers.clients import Caller, find_client
from authz.callers.rates import Rates
from authz.callers.signed_tokens import BadToken
from authz.callers.tokens import Tokens
from authz.errors import InvalidInput
from authz.policy.pdp import PDP
from authz.policy.served import ServedPolicy
from authz.queries.practitioner import by_login
from authz.record import Actor

_ON_BEHALF = "X-On-Behalf-Of"
_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="caregrant"')


@dataclass(frozen=True)
class Bearer:
    """The bearer of the credential in the `Authorization` header: an app, or the practitioner with this login."""

    app: Caller | None
    login: str = ""


def pdp() -> PDP:
    """Return the PDP of the request: the same for all of it, also if another policy is activated in the meantime."""
    known: PDP | None = g.get("pdp")
    if known is None:
        served: ServedPolicy = current_app.extensions["caregrant.policy"]
        known = g.pdp = served.pdp
    return known


def bearer() -> Bearer:
    """Return the bearer of the request's credential; charge the request to the bearer's rate, once.

    Raises a `Problem` (401) without a valid key or token, and `TooMany`.
    """
    if "bearer" not in g:
        g.bearer = _verify_credential()
    verified: Bearer = g.bearer
    return verified


def authenticate() -> None:
    """Verify the credential before anything else of the request is parsed."""
    bearer()


def charge(requests: int) -> None:
    """Charge more requests to the bearer, for the items of a list. Raises `TooMany`."""
    verified = bearer()
    if verified.app is not None:
        charge_client(verified.app, requests)
    else:
        rates().spend(_rate_key(verified.login), now(), requests=requests)


def _rate_key(login: str) -> str:
    return f"login:{hashlib.sha256(login.encode()).hexdigest()}"


def _verify_credential() -> Bearer:
    scheme, _, credential = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise _invalid_credential("none", "Send an app's key or a practitioner's token as Authorization: Bearer …")
    if "." not in credential:
        client = _find_client(credential)
        if client is None:
            raise _invalid_credential("key", "This key is not known, or it was revoked.")
        charge_client(client)
        return Bearer(client)
    tokens: Tokens = current_app.extensions["caregrant.tokens"]
    try:
        login = tokens.login_of(credential, now())
    except BadToken as error:
        raise _invalid_credential("token", "This token is not valid here, or it has expired.", str(error)) from error
    rates().spend(_rate_key(login), now())
    return Bearer(None, login)


def _find_client(key: str) -> Caller | None:
    """Return the app of a key, which is looked up once for a group of requests."""
    group = request_group.current()
    client = None if group is None else group.callers.get(key)
    if client is None:
        client = find_client(pdp().database, key, now=now())
        if group is not None and client is not None:
            group.callers[key] = client
    return client


def rates() -> Rates:
    """Return the counter of the requests of each caller."""
    counter: Rates = current_app.extensions["caregrant.rates"]
    return counter


def charge_client(client: Caller, requests: int = 1) -> None:
    """Charge requests to an app. Raises `TooMany`."""
    rates().spend(f"client:{client.id}", now(), rate=client.rate, requests=requests)


def _invalid_credential(kind: str, detail: str, fault: str = "") -> Problem:
    """Count and log an invalid credential, by its kind alone; return the problem (401)."""
    meters().refused.labels(kind).inc()
    current_app.logger.warning("a credential was refused: kind=%s %s", kind, fault)
    return Problem("unauthenticated", detail, headers=(_CHALLENGE,))


def require_scope(client: Caller, scope: str) -> None:
    """Raise a `Problem` (403) if an app lacks a scope."""
    if scope not in client.scopes:
        raise Problem("forbidden", f"The key of this app lacks the scope {scope}.")


def require_client(scope: str) -> Caller:
    """Return the app that sends the request. Raises a `Problem`: 403 if no app does, or if the app lacks the scope."""
    client = bearer().app
    if client is None:
        raise Problem("forbidden", f"This request needs the key of an app with the scope {scope}.")
    require_scope(client, scope)
    return client


def require_practitioner() -> Actor:
    """Return the practitioner who acts, in person or through an app. Raises a `Problem` (401, 403)."""
    verified = bearer()
    if verified.app is None:
        if _ON_BEHALF in request.headers:
            raise Problem(
                "forbidden", f"A practitioner's token is valid for its own login only; leave out {_ON_BEHALF}."
            )
        return _actor(_find_practitioner(verified.login, None), None)
    require_scope(verified.app, "act")
    login = request.headers.get(_ON_BEHALF)
    if login is None:
        raise Problem("forbidden", f"Name the practitioner for whom the app acts: {_ON_BEHALF}: LOGIN.")
    return _actor(_find_practitioner(_decode_header(login), verified.app.subscription), verified.app)


def require_operator_or_practitioner() -> Actor:
    """Return an app with the scope `admin` as the operator, else the practitioner of `require_practitioner`."""
    client = bearer().app
    if client is not None and _ON_BEHALF not in request.headers:
        require_scope(client, "admin")
        return actor_of(client)
    return require_practitioner()


def require_operator() -> Actor:
    """Return an app with the scope `admin` as the operator. Raises a `Problem` (401, 403)."""
    return actor_of(require_client("admin"))


def _decode_header(header: str) -> str:
    """Decode a header from UTF-8, of which WSGI writes the bytes as Latin-1 (PEP 3333); other bytes are no login."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return ""


def _find_practitioner(login: str, tenant: str | None) -> str:
    try:
        practitioner = by_login(pdp(), login, tenant)
    except InvalidInput:
        practitioner = None
    if practitioner is None:
        raise Problem("forbidden", "No practitioner of this caller has this login.")
    return practitioner


def actor_of(client: Caller) -> Actor:
    """Return an app as an actor that acts for no practitioner: the operator, or an app that asks for decisions."""
    return _actor("", client)


def _actor(practitioner: str, client: Caller | None) -> Actor:
    return Actor(
        practitioner,
        now(),
        client=None if client is None else client.id,
        tenant=None if client is None else client.subscription,
        request_id=request_id(),
        address=request.remote_addr or "",
    )
