"""A refusal as a page: a sentence and a way on. It asks nothing of the database, which may be what is missing."""

from urllib.parse import urlencode

from flask import Response, make_response, render_template, request

from api.errors import PROBLEMS, Problem
from api.web import session as sessions
from api.web.frame import HEADERS

_SAID = {
    "bad-request": ("That did not work", "The form is out of date, or not of these pages. Nothing was done."),
    "forbidden": ("You may not do this", "Your rights may have changed since you opened the page. Nothing was done."),
    "not-found": ("There is nothing here", "This page does not exist, or it is not yours to see."),
    "method-not-allowed": ("There is nothing here", "This address only takes a form. Open the page and try again."),
    "conflict": ("Somebody was faster", "This has changed since you opened the page. Nothing was done."),
    "too-large": ("That is too much", "What you sent is larger than this server takes. Nothing was done."),
    "internal-error": ("Something went wrong here", "It is our fault, not yours, and it has been noted."),
    "unavailable": ("The service cannot answer now", "Nothing was done; what you typed is kept. Try again shortly."),
}
_STALE = ("bad-request", "conflict")
_PASSING = ("unavailable", "internal-error")


_CHOICES = {
    "action": "Action",
    "colleague": "Colleague",
    "content": "Include added content",
    "end_shares": "End the shares",
    "until": "End date",
    "reason": "Reason",
}
"""The fields of a form that the page shows beside *Try again*, as they will be sent."""


def _form_again() -> str:
    """The path of the form that was sent, about the same patients."""
    chosen = urlencode([("patient", one) for one in request.form.getlist("patient")])
    return f"{request.path}?{chosen}".rstrip("?")


def refusal(problem: Problem) -> Response:
    """The page that tells a problem. A form that met a passing fault can be sent again as it was."""
    status, title = PROBLEMS[problem.kind]
    title, sentence = _SAID.get(problem.kind, (title, problem.detail))
    again = request.method == "POST" and problem.kind in _PASSING
    fields = [(name, value) for name, values in request.form.lists() for value in values] if again else []
    text = render_template(
        "refusal.html",
        title=title,
        sentence=sentence,
        detail=problem.detail if problem.kind in ("forbidden", "conflict") else "",
        retry=problem.kind in _PASSING,
        again=again,
        reopen=_form_again() if request.method == "POST" and problem.kind in _STALE else "",
        fields=[one for one in fields if one[0] != "csrf_token"],
        choices=[(_CHOICES[name], value) for name, value in fields if name in _CHOICES and value],
        signed_in=sessions.known(),
    )
    response = make_response(text, status)
    response.headers.extend(problem.headers)
    response.headers.update(HEADERS)
    return response
