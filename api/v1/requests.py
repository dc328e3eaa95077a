"""What `/v1` takes: each body a model, each query parameter checked; what a model does not name is refused (T18)."""

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from api.errors import Problem
from api.limits import LONGEST_QUERY, MOST_ERRORS
from api.request_context import body
from authz.domain import MEMBERSHIP_ROLES, parse_instant
from authz.errors import InvalidInput, NotFound
from authz.operations.transaction import MOST_AT_ONCE
from authz.policy.plan import PagePosition
from authz.texts import LONGEST_SORT_KEY, is_stored_id, parse_number

Model = TypeVar("Model", bound=BaseModel)
MOST = 200
USUAL = 50


def _by(parse: Callable[[object], Any]) -> BeforeValidator:
    """A parser of ours as a validator."""

    def validate(value: object) -> Any:
        try:
            return parse(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(validate)


def _role(value: object) -> object:
    if value not in MEMBERSHIP_ROLES:
        raise InvalidInput(f"is none of {', '.join(MEMBERSHIP_ROLES)}")
    return value


Instant = Annotated[datetime, _by(parse_instant)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("*")
    @classmethod
    def no_nul(cls, value: object) -> object:
        """PostgreSQL keeps no text with the character NUL."""
        if any("\0" in text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
            raise ValueError("holds the character NUL")
        return value


class NewPatient(_Body):
    """A patient to add."""

    name: str
    reference: str = ""
    subscription: str | None = None


class PatientChanges(_Body):
    """Changes of a patient's name and reference; a field that is left out stays."""

    name: str | None = None
    reference: str | None = None


class EndOfPatient(_Body):
    """Why a patient leaves the clinic."""

    reason: str = ""


class NewPatientWithId(NewPatient):
    """A patient to add under an id that the operator chose."""

    id: str | None = None


class NewShare(_Body):
    """A share of one patient."""

    colleague: str
    until: Instant | None = None
    reason: str = ""


Patients = Annotated[list[str], Field(max_length=MOST_AT_ONCE)]


class NewShares(NewShare):
    """A share of several."""

    patients: Patients


class NewTransfer(_Body):
    """A transfer of one patient."""

    colleague: str
    reason: str = ""
    end_shares: bool = False


class NewTransfers(NewTransfer):
    """A transfer of several."""

    patients: Patients


class NewStandingShare(_Body):
    """A share of everything."""

    colleague: str
    content: bool = False
    until: Instant | None = None
    subscription: str | None = None


class AsSubscription(_Body):
    """How a subscription shall be."""

    name: str
    live: bool = True
    until: Instant | None = None


class AsPractitioner(_Body):
    """How a practitioner shall be."""

    login: str
    name: str


class AsMembership(_Body):
    """How a membership shall be."""

    role: Annotated[str, _by(_role), Field(json_schema_extra={"enum": list(MEMBERSHIP_ROLES)})]
    until: Instant | None = None


class AsEntity(_Body):
    """How an entity shall be."""

    properties: dict[str, Any] = {}


def read(model: type[Model]) -> Model:
    """The request's body as a model. Raises a `Problem`: 400 for what is no JSON object, 422 for what is wrong."""
    try:
        return model.model_validate(body())
    except ValidationError as error:
        errors = pointed(error)
        raise Problem("invalid", "; ".join(f"{at or 'the body'}: {why}" for at, why in errors), errors) from error


def pointed(error: ValidationError) -> tuple[tuple[str, str], ...]:
    """What a model refused, each as a JSON pointer (RFC 6901) and why."""
    found = error.errors(include_url=False, include_input=False)
    pointers = [("".join(f"/{_step(part)}" for part in one["loc"]), _sentence(one)) for one in found[:MOST_ERRORS]]
    if len(found) > MOST_ERRORS:
        pointers.append(("", f"has {len(found) - MOST_ERRORS} more errors"))
    return tuple(pointers)


def _step(part: int | str) -> str:
    return str(part)[:128].replace("~", "~0").replace("/", "~1")  # a caller's own long name is cut


_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "string_type": "is not a string",
    "bool_type": "is neither true nor false",
    "int_type": "is not a whole number",
    "list_type": "is not an array",
    "dict_type": "is not an object",
    "model_type": "is not an object",
}


def _sentence(error: Mapping[str, Any]) -> str:
    said: str = error["msg"]
    if error["type"] == "too_long":
        return f"has {error['ctx']['actual_length']} items; at most {error['ctx']['max_length']} are taken"
    return _SENTENCES.get(error["type"]) or said.removeprefix("Value error, ")


def limit(most: int = MOST) -> int:
    """`limit`, from 1."""
    return number("limit", USUAL, 1, most)


def number(name: str, usual: int, least: int, most: int) -> int:
    """A query parameter that is a whole number. Raises `InvalidInput` for another, or one beyond its bounds."""
    text = request.args.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not least <= int(text) <= most:
        raise InvalidInput(f"{name}: a whole number from {least} to {most}")
    return int(text)


def search() -> str:
    """Return what is searched for: a form's field `q`, else the query parameter. Raises `InvalidInput` if too long."""
    text = (request.form if request.method == "POST" else request.args).get("q", "")
    if len(text) > LONGEST_QUERY:
        raise InvalidInput(f"q: up to {LONGEST_QUERY} characters")
    return text


def truth(name: str) -> bool:
    """A query parameter that is true or false. Raises `InvalidInput` for another."""
    text = request.args.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"{name}: true or false")
    return text == "true"


def cursor(last: str) -> str:
    """An opaque cursor: what to go on after."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def cursor_after(place: PagePosition, following: tuple[str, str] | None) -> str | None:
    """The cursor of the next page of a list that begins at a place; None if there is no more."""
    if following is None:
        return None
    return cursor("\n".join(("name", *following)) if place.by_name else following[1])


def place(limit: int) -> PagePosition:
    """Return the place at which a page of a list begins, by the parameters `sort` and `cursor`.

    Raises `InvalidInput` for a cursor that was made for another order.
    """
    by_name = request.args.get("sort", "name") == "name"
    if request.args.get("sort", "name") not in ("name", "id"):
        raise InvalidInput("sort: name or id")
    if not by_name or not request.args.get("cursor"):
        return PagePosition(limit, after(), by_name=by_name)
    kind, _, rest = _decoded().partition("\n")
    key, _, last = rest.rpartition("\n")
    if kind != "name" or not is_stored_id(last) or len(key) > LONGEST_SORT_KEY or "\0" in key:
        raise InvalidInput("cursor: is none that was given out")
    return PagePosition(limit, last, key)


def after() -> str:
    """What the request's `cursor` says. Raises `InvalidInput` for one that is none of ours."""
    last = _decoded()
    if last and not is_stored_id(last):
        raise InvalidInput("cursor: is none that was given out")
    return last


def after_number() -> int:
    """The number in the request's `cursor`, 0 without one. Raises `InvalidInput` for a cursor that is none of ours."""
    text = after()
    try:
        return parse_number(text) if text else 0
    except InvalidInput as error:
        raise InvalidInput("cursor: is none that was given out") from error


def row_number(text: str) -> int:
    """The number of a row in a path or a form. Raises `NotFound` for what can be none."""
    try:
        return parse_number(text)
    except InvalidInput as error:
        raise NotFound from error


def _decoded() -> str:
    text = request.args.get("cursor", "")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("cursor: is none that was given out") from error
