"""What the OpenAPI document says of a route, beside its view: who may call, what it takes and gives, an example.

What is described is what holds: a query parameter that a view does not name here is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app, request

from authz.errors import InvalidInput

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """A query parameter."""

    name: str
    schema: Mapping[str, Any]
    description: str


@dataclass(frozen=True)
class Description:
    """`caller` is a scope, ``practitioner``, ``manager`` (or scope admin) or empty for anybody; `takes` and `gives` are
    models; `once`: it takes an Idempotency-Key.
    """

    caller: str = ""
    takes: Any = None
    gives: Any = None
    status: int = 200
    query: tuple[Parameter, ...] = ()
    idempotency_key: bool = False
    example: Any = None


_TRUTH = {"type": "string", "enum": ["true", "false"], "default": "false"}
Q = Parameter(
    "q",
    {"type": "string"},
    "Words, each of which is in the name or beside it (a reference, a login), in any order; or the whole id.",
)
SORT = Parameter(
    "sort", {"type": "string", "enum": ["name", "id"], "default": "name"}, "By name, reference and id; or by id."
)
ROLE = Parameter("role", {"type": "string", "enum": ["owner", "viewer"]}, "Only in this role.")
LEFT = Parameter("left", _TRUTH, "Instead, what leavers left, for a manager to hand over.")
UNREAD = Parameter("unread", _TRUTH, "Only those not read yet.")
LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "How many, at most.")
CURSOR = Parameter("cursor", {"type": "string"}, "Go on after the page whose next this was.")
PATIENT = Parameter("patient", {"type": "string"}, "Who may receive this patient.")
AFTER = Parameter("after", {"type": "integer", "minimum": 0, "default": 0}, "Go on after this event.")
EVENTS = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}, "How many, at most.")
WAIT = Parameter("wait", {"type": "integer", "minimum": 0, "maximum": 30, "default": 0}, "Wait so long for the first.")


def described(
    **said: Any,
) -> Callable[[View], View]:
    """Describe a view; what is said are the fields of `Description`."""

    def mark(view: View) -> View:
        view.__dict__["described"] = Description(**said)
        return view

    return mark


def description_of(endpoint: str | None) -> Description | None:
    """What is said of an endpoint, if anything."""
    found: Description | None = getattr(current_app.view_functions.get(endpoint or ""), "described", None)
    return found


def refuse_unknown_parameters() -> None:
    """Raise `InvalidInput` for a query parameter that the route does not describe."""
    description = description_of(request.endpoint)
    known = [one.name for one in description.query] if description else []
    for name in request.args:
        if name not in known:
            raise InvalidInput(f"{name[:40]}: is not known here; known are {', '.join(known) or 'none'}")
