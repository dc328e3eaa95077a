"""Sign in and out: the sign-in page, the demonstration's list of people, the way through an identity provider."""

from flask import Response, current_app, flash, make_response, render_template, request, session

from api import session as sessions
from api.credentials import pdp
from api.oidc import NotProven, Provider
from api.pages.frame import go, ours, pages
from authz import demo, directory
from authz.errors import NotFound


@pages.get("/")
def sign_in() -> Response:
    """The sign-in page; whoever is signed in goes on to their patients."""
    try:
        sessions.act()
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
    if not sessions.ways().demo or who not in demo.PEOPLE or who not in directory.people(pdp(), [who]):
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
        login = _provider().login()
    except NotProven as error:
        current_app.logger.warning("a sign-in was refused: %s", error)
        return _sign_in_page("The identity provider did not confirm who you are. Try again.", 403)
    who = directory.by_login(pdp(), login, None)
    if who is None:
        return _sign_in_page("Nobody works here with the e-mail that you signed in with. Ask your manager.", 403)
    sessions.begin(who)
    return go(ours(path, "/patients"))


def _provider() -> Provider:
    found: Provider | None = current_app.extensions["caregrant.provider"]
    if found is None:
        raise NotFound
    return found


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session; who has none is given none, so that no other site can take one away."""
    if sessions.known():
        sessions.end()
        flash("You are signed out.")
    return go("/")
