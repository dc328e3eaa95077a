"""The parts that all pages share: blueprint, frame around the content, redirects with a message, and headers.

Views are thin: they parse a form, call one function of `authz`, and render or redirect. A page offers the actions that
the PDP permits; no page knows a rule.
"""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from urllib.parse import quote, urlencode

import orjson
from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    session,
)
from markupsafe import Markup
from werkzeug.datastructures import MultiDict

from api.auth import pdp
from api.limits import MOST_SELECTED
from api.request_context import now
from api.web import session as sessions
from authz.domain import Row
from authz.errors import CaregrantError
from authz.queries import manager as manager_queries
from authz.queries import notifications as notification_queries
from authz.queries import practitioner as practitioner_queries
from authz.queries.selections import keep_patients

pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

PAGE = 50
"""The most items of one page of a list."""

_MOST_NAMED = 50
"""The most patients whom an address names: it goes through a cookie while somebody signs in."""

_FIELDS_NOT_KEPT = ("csrf_token", "here", "kept", "listed", "patient", "refused", "search", "shown")
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
def _require_csrf_token() -> None:
    """Refuse a form without the session's token; without a session, the view leads to the sign-in page instead."""
    if request.method not in ("GET", "HEAD") and (sessions.has_session() or request.path == "/sign-in"):
        current_app.extensions["csrf"].protect()


@pages.after_request
def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    provider = current_app.extensions["caregrant.provider"]
    if provider is not None:  # a browser applies form-action also to the redirect that answers a form
        form = f"form-action 'self' {provider.origins()};"
        response.headers["Content-Security-Policy"] = _POLICY.replace("form-action 'self';", form)
    return response


@pages.errorhandler(sessions.SignedOut)
def _sign_in_first(_: sessions.SignedOut) -> Response:
    """Redirect to the sign-in page, which leads back to the present page, or to the form that was sent."""
    path = request.full_path.rstrip("?")
    if request.method == "POST":
        patients, is_list = request.form.getlist("patient"), "listed" in request.form
        path = page_of_button() or form_address()
        if sessions.has_session() and not is_list:
            values = {name: values for name, values in request.form.lists() if name not in _FIELDS_NOT_KEPT}
            sessions.keep_form(_form_key(patients), values)
            if len(patients) > _MOST_NAMED:
                path = _keep_selected(patients) or path
    return redirect_to(f"/?{urlencode({'next': path})}")


def _keep_selected(patients: Sequence[str]) -> str:
    """Keep the patients of a form as the selection; return the address of the form, empty if they cannot be kept."""
    with suppress(CaregrantError):
        token = sessions.selection_token(make=True)
        keep_patients(pdp().database, session["by"], token, patients[:MOST_SELECTED], now=now())
        return request.path
    return ""


def page_of_button() -> str:
    """Return the page with the button that was pressed; empty for a form that has a page at its own path."""
    first = request.path.split("/")[1]
    return {"notifications": "/notifications", "transfers": "/patients"}.get(first, "")


def form_address() -> str:
    """Return the address of the page of the form that was sent, about the same patients.

    The address names the patients, unless the form is about those that are ticked in lists; a list names itself. An
    address cannot name more than `_MOST_NAMED` patients: it is then that of the page from which the form was opened.
    """
    patients = [] if "kept" in request.form else request.form.getlist("patient")
    if len(patients) > _MOST_NAMED:
        return own_path(request.form.get("back", ""), "/patients")
    query = urlencode([("patient", patient) for patient in patients])
    return own_path(request.form.get("here", ""), f"{request.path}?{query}".rstrip("?"))


def redirect_to(path: str) -> Response:
    """Redirect to another page, by GET."""
    return make_response(redirect(path, 303))


def redirect_with_message(path: str, sentence: Markup, *names: str, category: str = "message") -> Response:
    """Redirect to another page, where a pop-up shows the sentence; each ``{}`` of the sentence is a name.

    The category is ``message``, ``refused``, or ``undo`` with the instant of the transfer that a button undoes.
    """
    flash(sentence.format(*(isolate(name) for name in names)), category)
    return redirect_to(path)


def isolate(name: str) -> Markup:
    """Return a name for a sentence, with its own direction of writing."""
    return Markup("<bdi>") + name + Markup("</bdi>")  # adding escapes the name, and costs less than a format


def render_page(template: str, status: int = 200, **values: object) -> Response:
    """Render a page in its frame, for the practitioner who is signed in. Raises `SignedOut`."""
    actor = sessions.actor()
    frame = {
        "me": practitioner_queries.me(pdp(), actor),
        "unread": notification_queries.unread(pdp(), actor),
        "managed": manager_queries.managed(pdp(), actor),
    }
    return make_response(render_template(template, **frame, **values), status)


def form_values(patients: Sequence[str] = ()) -> MultiDict[str, str]:
    """Return the values that a form about several `patients` or about its path shows.

    They are the values just sent, else the values kept until the person signed in.
    The address says only where *Back* leads: a link that somebody else made fills in no field.
    """
    if request.method == "POST":
        return request.form
    kept = sessions.take_kept_form(_form_key(patients))
    values = MultiDict((name, value) for name, values in kept.items() for value in values)
    return values or MultiDict({"back": request.args.get("back", "")})


def _form_key(patients: Sequence[str]) -> str:
    """Return a key of the form at this path about these patients, so that no other patients get its kept values."""
    return f"{request.path} {sha256(orjson.dumps(list(patients))).hexdigest()[:32]}" if patients else request.path


def patient_path(patient: str, *steps: object) -> str:
    """Return the path of a patient's page, or of a page below it."""
    return "/".join(("/patients", quote(patient, safe=""), *map(str, steps)))


def member_path(subscription: str, practitioner: str) -> str:
    """Return the path of the page with a member's patients, for the manager."""
    return f"/clinic/{quote(subscription, safe='')}/members/{quote(practitioner, safe='')}"


def own_path(path: str, default: str) -> str:
    """Return a path from a request if it leads to one of these pages, else `default`."""
    is_safe = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_safe and path != "/" else default


def back_to(path: str, back: str) -> str:
    """Return a path with the address that *Back* leads to from there; the usual list needs none."""
    return path if back in ("", "/patients") else f"{path}?{urlencode({'back': back})}"


def _navigation(managed: list[Row], audited: list[Row]) -> list[tuple[str, str, str]]:
    """Return the entries of the navigation: path, label and icon.

    `managed` are the clinics of a manager, `audited` those whose emergency accesses the reader reviews.
    """
    clinic = [("/clinic", "Clinic", "clinic")] if managed or audited else []
    return [
        ("/patients", "Patients", "patients"),
        ("/sharing", "Share all", "standing_share"),
        ("/notifications", "Notifications", "bell"),
        *clinic,
    ]


def _query(**changed: str | None) -> str:
    """Return the query of this page with some parameters changed; None removes a parameter."""
    parameters = {**request.args.to_dict(), **changed}
    return urlencode({name: value for name, value in parameters.items() if value})


def install(app: Flask) -> None:
    """Add the functions with which the templates make paths."""
    paths = {"path": patient_path, "member_path": member_path, "own_path": own_path}
    app.jinja_env.filters.update(back_to=back_to)
    app.jinja_env.globals.update(navigation=_navigation, query=_query, **paths)
