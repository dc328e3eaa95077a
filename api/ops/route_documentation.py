"""The documentation of a route, beside its view: who may call, request body, response body, parameters, an example.

`api/ops/openapi.py` makes the OpenAPI document from it. The documentation holds: a query parameter that a route does
not document is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from flask import current_app, request
from pydantic import BaseModel

from authz.errors import InvalidInput

View = TypeVar("View", bound=Callable[..., object])
Model = type[BaseModel]


@dataclass(frozen=True)
class QueryParameter:
    """A query parameter with its JSON schema."""

    name: str
    schema: Mapping[str, object]
    description: str


@dataclass(frozen=True)
class RouteDocumentation:
    """The documentation of one route.

    `caller` is a scope of an app, ``practitioner``, ``manager`` (or an app with the scope admin), or empty for anybody.
    `idempotency_key` says whether the route supports the header Idempotency-Key.
    """

    caller: str = ""
    request_body: Model | None = None
    response_body: Model | None = None
    status: int = 200
    query: tuple[QueryParameter, ...] = ()
    idempotency_key: bool = False
    example: Mapping[str, object] | None = None


_BOOLEAN = {"type": "string", "enum": ["true", "false"], "default": "false"}
Q = QueryParameter(
    "q",
    {"type": "string"},
    "Words that all occur, in any order, in the name or beside it (a reference, a login); or the whole id.",
)
SORT = QueryParameter(
    "sort", {"type": "string", "enum": ["name", "id"], "default": "name"}, "By name, reference and id; or by id."
)
ROLE = QueryParameter("role", {"type": "string", "enum": ["owner", "viewer"]}, "Only patients with this role.")
LEFT = QueryParameter(
    "left", _BOOLEAN, "List the patients whose owner has left instead; a manager may hand these patients over."
)
UNREAD = QueryParameter("unread", _BOOLEAN, "Only unread notifications.")
DUE = QueryParameter("due", _BOOLEAN, "Only emergency accesses that wait for their review.")
LIMIT = QueryParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "The most items of the page."
)
CURSOR = QueryParameter("cursor", {"type": "string"}, "The value of next of the previous page.")
PATIENT = QueryParameter("patient", {"type": "string"}, "Only colleagues who may receive this patient.")
AFTER = QueryParameter(
    "after", {"type": "integer", "minimum": 0, "default": 0}, "Only events after the event of this id."
)
EVENTS = QueryParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}, "The most events of the response."
)
WAIT = QueryParameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": 30, "default": 0},
    "The most seconds to wait for the first event.",
)


def document_route(
    *,
    caller: str = "",
    request_body: Model | None = None,
    response_body: Model | None = None,
    status: int = 200,
    query: tuple[QueryParameter, ...] = (),
    idempotency_key: bool = False,
    example: Mapping[str, object] | None = None,
) -> Callable[[View], View]:
    """Return a decorator that documents a view; the arguments are the fields of `RouteDocumentation`."""
    documentation = RouteDocumentation(caller, request_body, response_body, status, query, idempotency_key, example)

    def mark(view: View) -> View:
        view.__dict__["documentation"] = documentation
        return view

    return mark


def documentation_of(endpoint: str | None) -> RouteDocumentation | None:
    """Return the documentation of an endpoint, or None."""
    view = current_app.view_functions.get(endpoint or "")
    documentation: RouteDocumentation | None = getattr(view, "documentation", None)
    return documentation


def refuse_unknown_parameters() -> None:
    """Raise `InvalidInput` if the request has a query parameter that its route does not document."""
    documentation = documentation_of(request.endpoint)
    known = [parameter.name for parameter in documentation.query] if documentation else []
    for name in request.args:
        if name not in known:
            raise InvalidInput(f"{name[:40]}: unknown parameter; known parameters: {', '.join(known) or 'none'}")
