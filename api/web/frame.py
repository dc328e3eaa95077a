"""What every page shares: the blueprint, who is signed in, the frame around the content, and the headers.

Views are thin: they parse a form, call one function of `authz`, and render or redirect. What a page offers comes from
the actions that the PDP permits; a page knows no rule.
"""

from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from flask import Blueprint, Flask, Response, current_app, flash, make_response, redirect, render_template, request
from markupsafe import Markup
from werkzeug.datastructures import MultiDict

from api.auth import pdp
from api.web import session as sessions
from authz.queries import manager as manager_queries
from authz.queries import practitioner as practitioner_queries

pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

PAGE = 50
_NOT_KEPT = ("csrf_token", "patient", "search", "shown")
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pages.before_request
def _guard() -> None:
    """Every form carries the session's token; without a session nothing is done, and what was typed waits."""
    if request.method not in ("GET", "HEAD") and (sessions.known() or request.path == "/sign-in"):
        current_app.extensions["csrf"].protect()


@pages.after_request
def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    provider = current_app.extensions["caregrant.provider"]
    if provider is not None:  # a browser holds to form-action also where the answer to a form leads
        form = f"form-action 'self' {provider.origins()};"
        response.headers["Content-Security-Policy"] = _POLICY.replace("form-action 'self';", form)
    return response


@pages.errorhandler(sessions.SignedOut)
def _sign_in_first(_: sessions.SignedOut) -> Response:
    """To the sign-in page, and from there back to where one was: to the form, if one was sent."""
    path = request.full_path.rstrip("?")
    if request.method == "POST":
        chosen = urlencode([("patient", one) for one in request.form.getlist("patient")])
        path = (
            "/notifications" if request.path.startswith("/notifications/") else f"{request.path}?{chosen}".rstrip("?")
        )
        if sessions.known():
            sent = {name: values for name, values in request.form.lists() if name not in _NOT_KEPT}
            sessions.keep(_place(request.form.getlist("patient")), sent)
    return go(f"/?{urlencode({'next': path})}")


def go(path: str) -> Response:
    """To another page, by GET."""
    return redirect(path, 303)  # type: ignore[return-value]


def done(path: str, sentence: Markup, *names: str) -> Response:
    """To another page, where a pop-up says what was done; each ``{}`` of the sentence is a name."""
    flash(sentence.format(*(named(name) for name in names)))
    return go(path)


def named(name: str) -> Markup:
    """A name inside a sentence, where it keeps its own direction of writing."""
    return Markup("<bdi>{}</bdi>").format(name)


def page(template: str, status: int = 200, **said: Any) -> Response:
    """A page of somebody who is signed in, in its frame."""
    actor = sessions.actor()
    frame = {
        "me": practitioner_queries.me(pdp(), actor),
        "unread": practitioner_queries.unread(pdp(), actor),
        "managed": manager_queries.managed(pdp(), actor),
    }
    return make_response(render_template(template, **frame, **said), status)


def typed() -> MultiDict[str, str]:
    """Return the values that a form shows: those just sent, else those kept until their owner signed in.

    An address says where *Back* leads and chooses nothing: a link that somebody else made ticks no box.
    """
    if request.method == "POST":
        return request.form
    kept = sessions.kept(_place(request.args.getlist("patient")))
    waiting = MultiDict((name, value) for name, values in kept.items() for value in values)
    return waiting or MultiDict({"back": request.args.get("back", "")})


def _place(patients: list[str]) -> str:
    """The form at this path about these patients: what was typed about some is not shown beside others."""
    return f"{request.path} {sha256(orjson.dumps(patients)).hexdigest()[:32]}" if patients else request.path


def patient_path(patient: str, *more: object) -> str:
    """The path of a patient's page, or of one beneath it."""
    return "/".join(("/patients", quote(patient, safe=""), *map(str, more)))


def ours(path: str, otherwise: str) -> str:
    """A path of these pages that came with a request; what would lead elsewhere becomes `otherwise`."""
    safe = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if safe and path != "/" else otherwise


def _nav(managed: list[Any]) -> list[tuple[str, str, str]]:
    """The navigation, from the top: where it leads, what it is called, its picture."""
    usual = [("/patients", "Patients", "patients"), ("/sharing", "Share all", "standing_share")]
    clinic = [("/clinic", "Clinic", "clinic")] if managed else []
    return [*usual, ("/notifications", "Notifications", "bell"), *clinic]


def _query(**changed: str | None) -> str:
    """This page's query with some of it changed; None takes it away."""
    said = {**request.args.to_dict(), **changed}
    return urlencode({name: value for name, value in said.items() if value})


def install(app: Flask) -> None:
    """Let the templates use what leads from page to page."""
    app.jinja_env.globals.update(nav=_nav, query=_query, path=patient_path, ours=ours)
