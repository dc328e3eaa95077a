"""A refusal as a page: a title, a sentence, and a way on. It reads nothing from the database, which may be down."""

from collections.abc import Sequence

from flask import Response, make_response, render_template, request
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from api.errors import PROBLEMS, Problem
from api.web import session as sessions
from api.web.frame import HEADERS, form_address, page_of_button

_SENTENCES = {
    "bad-request": ("That did not work", "The form is out of date, or it is not from these pages. Nothing was done."),
    "unauthenticated": ("You are not signed in", "Sign in, and open the page again. Nothing was done."),
    "forbidden": ("You may not do this", "Your rights may have changed since you opened the page. Nothing was done."),
    "not-found": ("There is nothing here", "This page does not exist, or you may not see it."),
    "method-not-allowed": ("There is nothing here", "This address accepts forms only. Open the page and try again."),
    "conflict": ("Something has changed", "This has changed since you opened the page. Nothing was done."),
    "timeout": ("That took too long", "Your request did not arrive in time. Nothing was done; try again."),
    "uri-too-long": ("The address is too long", "Go back, and select fewer patients or search for less text."),
    "headers-too-large": (
        "That is too much",
        "Your browser sent too much. Delete this site's cookies, and try again.",
    ),
    "not-implemented": ("That did not work", "Your browser sent a request that this server does not support."),
    "too-large": ("That is too much", "What you sent is larger than this server accepts. Nothing was done."),
    "invalid": ("That did not work", "A value that you sent is not valid. Nothing was done."),
    "policy-unknown": ("There is no answer", "The rules of that time are not known here."),
    "recipient-not-eligible": ("Your colleague cannot receive", "Choose another colleague. Nothing was done."),
    "self-target": ("This is you", "Choose a colleague instead of yourself. Nothing was done."),
    "batch-refused": ("That did not work", "Not every patient allows this. Nothing was done."),
    "key-reused": ("That did not work", "This form was sent before with other values. Nothing was done."),
    "too-many": ("That was too fast", "You sent very many requests. Wait for a minute, and try again."),
    "internal-error": ("Something went wrong", "The fault is ours, not yours, and it has been recorded."),
    "unavailable": ("The service cannot answer now", "Nothing was done; what you typed is kept. Try again shortly."),
}
"""The title and the sentence of each kind of problem."""

_OUTDATED_FORM = ("bad-request", "conflict")
_TRANSIENT = ("unavailable", "internal-error", "too-many")
_NO_SENTENCE = Markup()

_FIELD_LABELS = {
    "action": "Action",
    "colleague": "Colleague",
    "content": "Include added content",
    "end_shares": "End the shares",
    "lasts": "Chosen end",
    "until": "End date",
    "reason": "Reason",
    "reference": "The clinic’s number",
    "note": "Note",
}
"""The labels of the fields that the page shows beside *Try again*, with the values that will be sent."""


def _fields() -> list[tuple[str, str]]:
    """Return the fields of the form that was sent; none if the form cannot be read."""
    try:
        return [(name, value) for name, values in request.form.lists() for value in values]
    except HTTPException:
        return []


def render_refusal(
    problem: Problem,
    *,
    title: str = "",
    sentence: Markup = _NO_SENTENCE,
    notes: Sequence[Markup] = (),
    onward: str = "",
    emergency: str = "",
) -> Response:
    """Return the page of a problem. A form that met a transient fault can be sent again with the same values.

    What was typed into any other form is shown, so that nothing typed is lost. `title` and `sentence` describe this
    case better than the problem does; `notes` are further sentences, `onward` is a path that leads on, and
    `emergency` the path of the form for emergency access, if there is one.
    """
    status, _ = PROBLEMS[problem.kind]
    usual_title, usual_sentence = _SENTENCES[problem.kind]
    send_again = request.method == "POST" and problem.kind in _TRANSIENT
    fields = _fields()
    text = render_template(
        "refusal.html",
        title=title or usual_title,
        sentence=sentence or usual_sentence,
        notes=notes,
        onward=onward,
        emergency=emergency,
        detail=problem.detail if problem.kind in ("forbidden", "conflict") else "",
        retry=problem.kind in _TRANSIENT,
        send_again=send_again,
        reopen=(page_of_button() or form_address())
        if request.method == "POST" and problem.kind in _OUTDATED_FORM
        else "",
        fields=[(name, value) for name, value in fields if name != "csrf_token"],
        labelled=[(_FIELD_LABELS[name], value) for name, value in fields if name in _FIELD_LABELS and value],
        signed_in=sessions.has_session(),
    )
    response = make_response(text, status)
    response.headers.extend(problem.headers)
    response.headers.update(HEADERS)
    return response
