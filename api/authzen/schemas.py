"""What a request of AuthZEN says: models of its forms, and the questions that they make (AuthZEN 5–8).

Unknown members are ignored at every level, null is the same as absent, and values are of the JSON type that the
specification names (10.1.1, 11.5). What a policy reads of properties and context stays as it was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import malformed
from api.limits import MOST_EXPLAINED, MOST_ITEMS, MOST_RESULTS
from api.request_context import body
from api.v1.requests import Instant, pointed
from authz.policy.decision import Ref
from authz.record import RecordedQuestion

Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
Properties = dict[str, Any]
PARTS = ("subject", "action", "resource", "context")
MOST = MOST_RESULTS
"""The most results of one page of a search, and how many there are if no limit is named."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Kind(_Form):
    """What is searched for: subjects or resources of a type (8.4.1, 8.5.1). An id is ignored."""

    type: str
    properties: Properties | None = None


class Entity(Kind):
    """A subject or a resource (5.1, 5.2)."""

    id: str


class Action(_Form):
    """An action (5.3)."""

    name: str
    properties: Properties | None = None


class Context(_Form):
    """The environment of a request (5.4): free, but for these two members of ours."""

    model_config = ConfigDict(extra="allow", strict=True)

    at: Annotated[Instant | None, Field(description="A past instant instead of now; scope audit.")] = None
    explain: Annotated[bool | None, Field(description="Tell which conditions are met and which fail; scope audit.")] = (
        None
    )


class Evaluation(_Form):
    """One question (6.1)."""

    subject: Entity
    action: Action
    resource: Entity
    context: Context | None = None


class Options(_Form):
    """How a batch is answered (7.1.2)."""

    evaluations_semantic: Semantic | None = None


class Evaluations(_Form):
    """Many questions; what an item leaves out, it takes from here (7.1.1)."""

    subject: Any = None
    action: Any = None
    resource: Any = None
    context: Any = None
    evaluations: Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None
    options: Options | None = None


class Page(_Form):
    """Which page of the results (8.2.1)."""

    token: str | None = None
    limit: Annotated[int, Field(ge=0)] | None = None
    properties: Properties | None = None


class _Search(_Form):
    context: Context | None = None
    page: Page | None = None


class SubjectSearch(_Search):
    """Who may? (8.4.1)"""

    subject: Kind
    action: Action
    resource: Entity


class ResourceSearch(_Search):
    """What may they? (8.5.1)"""

    subject: Entity
    action: Action
    resource: Kind


class ActionSearch(_Search):
    """Which actions may they take? (8.6.1)"""

    subject: Entity
    resource: Entity


Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class Question:
    """Who, what, which; what else came with it; about when; whether to explain a denial."""

    asked: RecordedQuestion
    request: Mapping[str, Properties]
    at: datetime | None
    explain: bool


@dataclass(frozen=True)
class Faulty:
    """An item of a batch that asks nothing, because a part is missing or of another form."""

    asked: RecordedQuestion
    why: str


class _Wrong(Exception):
    def __init__(self, *errors: tuple[str, str]) -> None:
        self.errors = errors


def read(form: type[Form]) -> tuple[Form, Properties]:
    """The request's body as a form, and as it was sent. Raises a `Problem` (400) for anything malformed."""
    said = body()
    try:
        return _parsed(form, said), said
    except _Wrong as wrong:
        raise malformed(*wrong.errors) from wrong


def one(said: Properties, present: datetime) -> Question:
    """The question of an evaluation request. Raises a `Problem` (400)."""
    try:
        return _question(said, present)
    except _Wrong as wrong:
        raise malformed(*wrong.errors) from wrong


def items(said: Properties, present: datetime) -> list[Question | Faulty]:
    """The questions of a batch in order; each part of an item stands whole in place of the default (7.1.1).

    Raises a `Problem` (400) if too many of them ask to be explained: each takes a statement of its own.
    """
    defaults = {part: said.get(part) for part in PARTS}
    made: list[Question | Faulty] = []
    for item in said["evaluations"]:
        given = {part: default if item.get(part) is None else item[part] for part, default in defaults.items()}
        try:
            made.append(_question(given, present))
        except _Wrong as wrong:
            made.append(Faulty(_as_far(given), "; ".join(f"{at} {why}" for at, why in wrong.errors)))
    explained = sum(isinstance(question, Question) and question.explain for question in made)
    if explained > MOST_EXPLAINED:
        why = f"has {explained} items that ask to be explained; at most {MOST_EXPLAINED} are taken"
        raise malformed(("/evaluations", why))
    return made


def options(context: Context | None, present: datetime) -> tuple[datetime | None, bool]:
    """`at` and `explain`. Raises a `Problem` (400) for an instant in the future."""
    try:
        return _options(context, present)
    except _Wrong as wrong:
        raise malformed(*wrong.errors) from wrong


def came_with(said: Properties) -> dict[str, Properties]:
    """The properties and the context that came with a request whose form is known to be good."""
    found = {part: (said.get(part) or {}).get("properties") or {} for part in PARTS[:3]}
    return {**found, "context": said.get("context") or {}}


def _question(said: Properties, present: datetime) -> Question:
    form = _parsed(Evaluation, said)
    at, explain = _options(form.context, present)
    ends = (form.subject.type, form.subject.id), form.action.name, (form.resource.type, form.resource.id)
    request = came_with(said)
    return Question(RecordedQuestion(*ends, purpose=request["context"].get("purpose")), request, at, explain)


def _options(context: Context | None, present: datetime) -> tuple[datetime | None, bool]:
    if context is None:
        return None, False
    if context.at is not None and context.at > present:
        raise _Wrong(("/context/at", "lies in the future"))
    return context.at, bool(context.explain)


def _parsed(form: type[Form], said: Properties) -> Form:
    try:
        return form.model_validate({name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        raise _Wrong(*pointed(error)) from error


def _as_far(said: Properties) -> RecordedQuestion:
    """What a faulty item asks, as far as it can be told: the record keeps what was there."""

    def word(part: str, key: str) -> str:
        found = said[part].get(key) if isinstance(said[part], dict) else None
        return found if isinstance(found, str) else ""

    def ref(part: str) -> Ref:
        return word(part, "type"), word(part, "id")

    return RecordedQuestion(ref("subject"), word("action", "name"), ref("resource"))
