"""The request bodies of AuthZEN as models, and the questions that a body asks (AuthZEN 5–8).

Unknown members are ignored at every level, null is the same as absent, and values have the JSON type that the
specification names (10.1.1, 11.5). Properties and context, of which a policy may read members, stay as they were sent.
The name of a body's model ends with `Request`, the name of a part's model with `Part`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import malformed_request
from api.limits import MOST_EXPLAINED, MOST_ITEMS, MOST_RESULTS
from api.request_context import json_body
from api.v1.requests import Instant, describe_errors
from authz.policy.decision import Ref
from authz.record import RecordedQuestion

Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
Properties = dict[str, Any]
PARTS = ("subject", "action", "resource", "context")
MOST = MOST_RESULTS
"""The most results of one page of a search, and the number of results if the request names no limit."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class EntityTypePart(_Part):
    """The type of the subjects or resources to search for (8.4.1, 8.5.1); an id is ignored."""

    type: str
    properties: Properties | None = None


class EntityPart(EntityTypePart):
    """A subject or a resource (5.1, 5.2)."""

    id: str


class ActionPart(_Part):
    """An action (5.3)."""

    name: str
    properties: Properties | None = None


class ContextPart(_Part):
    """The environment of a request (5.4): any members, of which Caregrant reads these two."""

    model_config = ConfigDict(extra="allow", strict=True)

    at: Annotated[
        Instant | None, Field(description="Decide at this past instant instead of now; needs the scope audit.")
    ] = None
    explain: Annotated[
        bool | None, Field(description="Explain which conditions are met and unmet; needs the scope audit.")
    ] = None


class EvaluationRequest(_Part):
    """One question (6.1)."""

    subject: EntityPart
    action: ActionPart
    resource: EntityPart
    context: ContextPart | None = None


class OptionsPart(_Part):
    """The options of a batch (7.1.2)."""

    evaluations_semantic: Semantic | None = None


class EvaluationsRequest(_Part):
    """Several questions; each takes the parts that it leaves out from here (7.1.1)."""

    subject: object = None
    action: object = None
    resource: object = None
    context: object = None
    evaluations: Annotated[list[dict[str, object]], Field(max_length=MOST_ITEMS)] | None = None
    options: OptionsPart | None = None


class PagePart(_Part):
    """The requested page of the results (8.2.1)."""

    token: str | None = None
    limit: Annotated[int, Field(ge=0)] | None = None
    properties: Properties | None = None


class SearchRequest(_Part):
    """The members that all searches share: the context and the page."""

    context: ContextPart | None = None
    page: PagePart | None = None


class SubjectSearchRequest(SearchRequest):
    """A search for the subjects that may take an action on a resource (8.4.1)."""

    subject: EntityTypePart
    action: ActionPart
    resource: EntityPart


class ResourceSearchRequest(SearchRequest):
    """A search for the resources on which a subject may take an action (8.5.1)."""

    subject: EntityPart
    action: ActionPart
    resource: EntityTypePart


class ActionSearchRequest(SearchRequest):
    """A search for the actions that a subject may take on a resource (8.6.1)."""

    subject: EntityPart
    resource: EntityPart


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class AuthzenQuestion:
    """A question with all that was sent: its record, properties and context, the instant, whether to explain.

    `at` is None for the present.
    """

    recorded: RecordedQuestion
    request: Mapping[str, Properties]
    at: datetime | None
    explain: bool


@dataclass(frozen=True)
class MalformedItem:
    """An item of a batch of which a part is missing or malformed; `recorded` has the parts that are well formed."""

    recorded: RecordedQuestion
    fault: str


class _MalformedValue(Exception):
    def __init__(self, *errors: tuple[str, str]) -> None:
        self.errors = errors


def parse_body(model: type[Model]) -> tuple[Model, Properties]:
    """Return the request's body as a model, and as it was sent. Raises a `Problem` (400) for a malformed body."""
    body = json_body()
    try:
        return _parse(model, body), body
    except _MalformedValue as error:
        raise malformed_request(*error.errors) from error


def parse_question(body: Properties, present: datetime) -> AuthzenQuestion:
    """Return the question of an evaluation request. Raises a `Problem` (400) for a malformed question."""
    try:
        return _question(body, present)
    except _MalformedValue as error:
        raise malformed_request(*error.errors) from error


def parse_items(body: Properties, present: datetime) -> list[AuthzenQuestion | MalformedItem]:
    """Return the questions of a batch in order; each part of an item replaces the default as a whole (7.1.1).

    Raises a `Problem` (400) if too many items ask to be explained, because each explanation takes a statement.
    """
    defaults = {part: body.get(part) for part in PARTS}
    items: list[AuthzenQuestion | MalformedItem] = []
    for item in body["evaluations"]:
        parts = {part: default if item.get(part) is None else item[part] for part, default in defaults.items()}
        try:
            items.append(_question(parts, present))
        except _MalformedValue as error:
            fault = "; ".join(f"{pointer} {why}" for pointer, why in error.errors)
            items.append(MalformedItem(_partial_question(parts), fault))
    explained = sum(isinstance(item, AuthzenQuestion) and item.explain for item in items)
    if explained > MOST_EXPLAINED:
        why = f"has {explained} items that ask to be explained; at most {MOST_EXPLAINED} are allowed"
        raise malformed_request(("/evaluations", why))
    return items


def parse_options(context: ContextPart | None, present: datetime) -> tuple[datetime | None, bool]:
    """Return `at` and `explain` of a context. Raises a `Problem` (400) for an instant in the future."""
    try:
        return _options(context, present)
    except _MalformedValue as error:
        raise malformed_request(*error.errors) from error


def request_properties(body: Properties) -> dict[str, Properties]:
    """Return the properties of each part and the context, from a body that was parsed without an error."""
    properties = {part: (body.get(part) or {}).get("properties") or {} for part in PARTS[:3]}
    return {**properties, "context": body.get("context") or {}}


def _question(body: Properties, present: datetime) -> AuthzenQuestion:
    parsed = _parse(EvaluationRequest, body)
    at, explain = _options(parsed.context, present)
    request = request_properties(body)
    recorded = RecordedQuestion(
        (parsed.subject.type, parsed.subject.id),
        parsed.action.name,
        (parsed.resource.type, parsed.resource.id),
        purpose=request["context"].get("purpose"),
    )
    return AuthzenQuestion(recorded, request, at, explain)


def _options(context: ContextPart | None, present: datetime) -> tuple[datetime | None, bool]:
    if context is None:
        return None, False
    if context.at is not None and context.at > present:
        raise _MalformedValue(("/context/at", "lies in the future"))
    return context.at, bool(context.explain)


def _parse(model: type[Model], body: Properties) -> Model:
    try:
        return model.model_validate({name: value for name, value in body.items() if value is not None})
    except ValidationError as error:
        raise _MalformedValue(*describe_errors(error)) from error


def _partial_question(parts: Properties) -> RecordedQuestion:
    """Return the parts of a malformed item that are well formed, for the record; the others are empty."""

    def text(part: str, key: str) -> str:
        value = parts[part].get(key) if isinstance(parts[part], dict) else None
        return value if isinstance(value, str) else ""

    def ref(part: str) -> Ref:
        return text(part, "type"), text(part, "id")

    return RecordedQuestion(ref("subject"), text("action", "name"), ref("resource"))
