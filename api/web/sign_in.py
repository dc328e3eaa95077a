"""Sign in and out: the sign-in page, the demonstration's list of people, and the identity provider."""

import hmac
import secrets

from flask import Response, current_app, flash, make_response, render_template, request, session

from api.auth import pdp
from api.web import session as sessions
from api.web.frame import own_path, pages, redirect_to
from api.web.oidc import Provider, SignInRefused
from authz.errors import NotFound, Unavailable
from authz.importing import demo
from authz.queries import practitioner as practitioner_queries

_LONGEST_NEXT = 2500
"""The most characters of the page to go on to: they are kept in a cookie, and a browser takes 4,096 of all."""


@pages.get("/")
def sign_in() -> Response:
    """Show the sign-in page; redirect a person who is signed in to their patients."""
    try:
        sessions.actor()
    except sessions.SignedOut:
        return _sign_in_page()
    return redirect_to("/patients")


def _sign_in_page(refusal: str = "", status: int = 200) -> Response:
    text = render_template(
        "sign_in.html",
        options=sessions.sign_in_options(),
        clinics=_demo_clinics(),
        next=request.values.get("next", ""),
        is_locked=sessions.has_session(),
        refusal=refusal,
    )
    return make_response(text, status)


def _demo_clinics() -> list[tuple[str, list[dict[str, str]]]]:
    """Return the names of the demonstration's clinics, each with its people."""
    return [
        (
            clinic_name,
            [
                {"id": practitioner, "name": name, "role": role}
                for practitioner, (name, subscription, role) in demo.PEOPLE.items()
                if subscription == clinic
            ],
        )
        for clinic, clinic_name in demo.SUBSCRIPTIONS.items()
    ]


@pages.post("/sign-in")
def sign_in_as() -> Response:
    """Sign in as one of the demonstration's people."""
    practitioner = request.form.get("practitioner", "")
    is_demo_person = sessions.sign_in_options().demo and practitioner in demo.PEOPLE
    if not is_demo_person or practitioner not in practitioner_queries.people(pdp(), [practitioner]):
        raise NotFound
    sessions.begin(practitioner)
    return redirect_to(own_path(request.form.get("next", ""), "/patients"))


@pages.get("/sign-in")
def to_provider() -> Response:
    """Redirect to the identity provider, if there is one."""
    path = request.args.get("next", "")
    session["next"] = path if len(path) <= _LONGEST_NEXT else ""
    return _provider().redirect()


@pages.get("/sign-in/callback")
def from_provider() -> Response:
    """Sign in the practitioner whose login the identity provider's code proves."""
    path = session.pop("next", "")
    try:
        login, id_token = _provider().login()
    except SignInRefused as error:
        current_app.logger.warning("a sign-in was refused: %s", error)
        return _sign_in_page("The identity provider did not confirm who you are. Try again.", 403)
    practitioner = practitioner_queries.by_login(pdp(), login, None)
    if practitioner is None:
        return _sign_in_page("Nobody works here with the e-mail that you signed in with. Ask your manager.", 403)
    sessions.begin(practitioner)
    response = redirect_to(own_path(path, "/patients"))
    sessions.keep_id_token(response, id_token)
    return response


def _provider() -> Provider:
    provider: Provider | None = current_app.extensions["caregrant.provider"]
    if provider is None:
        raise NotFound
    return provider


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session, here and at the provider; without a session do nothing, so that no other site can end one."""
    if not sessions.has_session():
        return redirect_to("/")
    sessions.end()
    provider: Provider | None = current_app.extensions["caregrant.provider"]
    if provider is None:
        flash("You are signed out.")
        return redirect_to("/")
    state = secrets.token_urlsafe(16)
    try:
        logout_url = provider.logout_url(sessions.id_token(), state)
    except Unavailable as error:
        current_app.logger.warning("a sign-out did not reach the identity provider: %s", error)
        logout_url = ""
    if logout_url:
        session["leaving"] = state
    else:
        flash("You are signed out here. Sign out of your identity provider too if others use this computer.")
    response = redirect_to(logout_url or "/")
    sessions.keep_id_token(response, "")
    return response


@pages.get("/sign-out/callback")
def signed_out() -> Response:
    """Confirm the sign-out after the provider has ended its session; show nothing if no sign-out was under way."""
    state = session.pop("leaving", "")
    if state and hmac.compare_digest(state.encode(), request.args.get("state", "").encode()):
        flash("You are signed out.")
    return redirect_to("/")
