"""Sign in and out: the sign-in page, the demonstration's list of people, the way through an identity provider."""

import hmac
import secrets

from flask import Response, current_app, flash, make_response, render_template, request, session

from api.auth import pdp
from api.web import session as sessions
from api.web.frame import go, ours, pages
from api.web.oidc import NotProven, Provider
from authz.errors import NotFound, Unavailable
from authz.importing import demo
from authz.queries import practitioner as practitioner_queries


@pages.get("/")
def sign_in() -> Response:
    """The sign-in page; whoever is signed in goes on to their patients."""
    try:
        sessions.actor()
    except sessions.SignedOut:
        return _sign_in_page()
    return go("/patients")


def _sign_in_page(refused: str = "", status: int = 200) -> Response:
    said = {
        "ways": sessions.ways(),
        "clinics": _clinics(),
        "next": request.values.get("next", ""),
        "locked": sessions.known(),
        "refused": refused,
    }
    return make_response(render_template("sign_in.html", **said), status)


def _clinics() -> list[tuple[str, list[dict[str, str]]]]:
    """The demonstration's people by clinic."""
    return [
        (
            name,
            [
                {"id": who, "name": called, "role": role}
                for who, (called, at, role) in demo.PEOPLE.items()
                if at == where
            ],
        )
        for where, name in demo.SUBSCRIPTIONS.items()
    ]


@pages.post("/sign-in")
def sign_in_as() -> Response:
    """In the demonstration: as one of its people."""
    who = request.form.get("practitioner", "")
    if not sessions.ways().demo or who not in demo.PEOPLE or who not in practitioner_queries.people(pdp(), [who]):
        raise NotFound
    sessions.begin(who)
    return go(ours(request.form.get("next", ""), "/patients"))


@pages.get("/sign-in")
def to_provider() -> Response:
    """To the identity provider, if there is one."""
    session["next"] = request.args.get("next", "")
    return _provider().redirect()


@pages.get("/sign-in/callback")
def from_provider() -> Response:
    """Back from the identity provider, with a code that proves who came."""
    path = session.pop("next", "")
    try:
        login, id_token = _provider().login()
    except NotProven as error:
        current_app.logger.warning("a sign-in was refused: %s", error)
        return _sign_in_page("The identity provider did not confirm who you are. Try again.", 403)
    who = practitioner_queries.by_login(pdp(), login, None)
    if who is None:
        return _sign_in_page("Nobody works here with the e-mail that you signed in with. Ask your manager.", 403)
    sessions.begin(who)
    response = go(ours(path, "/patients"))
    sessions.keep_id_token(response, id_token)
    return response


def _provider() -> Provider:
    found: Provider | None = current_app.extensions["caregrant.provider"]
    if found is None:
        raise NotFound
    return found


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session, here and at the provider. Without a session nothing happens: no other site can end one."""
    if not sessions.known():
        return go("/")
    sessions.end()
    provider: Provider | None = current_app.extensions["caregrant.provider"]
    if provider is None:
        flash("You are signed out.")
        return go("/")
    state = secrets.token_urlsafe(16)
    try:
        there = provider.logout_url(sessions.id_token(), state)
    except Unavailable as error:
        current_app.logger.warning("a sign-out did not reach the identity provider: %s", error)
        there = ""
    if there:
        session["leaving"] = state
    else:
        flash("You are signed out here. Sign out of your identity provider too if others use this computer.")
    response = go(there or "/")
    sessions.keep_id_token(response, "")
    return response


@pages.get("/sign-out/callback")
def signed_out() -> Response:
    """Back from the provider, which has ended its session; an answer that nobody here waits for says nothing."""
    state = session.pop("leaving", "")
    if state and hmac.compare_digest(state.encode(), request.args.get("state", "").encode()):
        flash("You are signed out.")
    return go("/")
