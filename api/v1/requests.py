"""The request bodies of `/v1`, each a model; a member that the model does not name is refused (T18).

The name of a model is what the caller asks for, with the ending `Request`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from api.errors import Problem
from api.limits import MOST_ERRORS
from api.request_context import json_body
from authz.domain import EMERGENCY_PURPOSES, EMERGENCY_VERDICTS, MEMBERSHIP_ROLES, parse_instant, parse_time_zone
from authz.errors import InvalidInput
from authz.operations.inputs import MOST_AT_ONCE

Model = TypeVar("Model", bound=BaseModel)


def _validator(parse: Callable[[object], object]) -> BeforeValidator:
    """Return a validator that calls one of our parsers."""

    def validate(value: object) -> object:
        try:
            return parse(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(validate)


def _parse_role(value: object) -> object:
    if value not in MEMBERSHIP_ROLES:
        raise InvalidInput(f"is not one of {', '.join(MEMBERSHIP_ROLES)}")
    return value


def _parse_purpose(value: object) -> object:
    if value not in EMERGENCY_PURPOSES:
        raise InvalidInput(f"is not one of {', '.join(EMERGENCY_PURPOSES)}")
    return value


def _parse_verdict(value: object) -> object:
    if value not in EMERGENCY_VERDICTS:
        raise InvalidInput(f"is not one of {', '.join(EMERGENCY_VERDICTS)}")
    return value


Purpose = Annotated[str, _validator(_parse_purpose), Field(json_schema_extra={"enum": list(EMERGENCY_PURPOSES)})]
Instant = Annotated[datetime, _validator(parse_instant)]


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("*")
    @classmethod
    def refuse_nul(cls, value: object) -> object:
        """Refuse the character NUL, which PostgreSQL cannot store."""
        texts = value if isinstance(value, list) else [value]
        if any("\0" in text for text in texts if isinstance(text, str)):
            raise ValueError("contains the character NUL")
        return value


class AddPatientRequest(_RequestBody):
    """A patient to add."""

    name: str
    reference: str = ""
    subscription: str | None = None


class AddPatientWithIdRequest(AddPatientRequest):
    """A patient to add, under an id that the operator's app may choose."""

    id: str | None = None


class EditPatientRequest(_RequestBody):
    """Changes of a patient's name and reference; a member that is left out stays."""

    name: str | None = None
    reference: str | None = None


class EndPatientRequest(_RequestBody):
    """The reason why a patient leaves the clinic."""

    reason: str = ""


class ShareRequest(_RequestBody):
    """A share of one patient."""

    colleague: str
    until: Instant | None = None
    reason: str = ""


class ChangeShareRequest(_RequestBody):
    """Changes of a share's end (null: none) and reason; a member that is left out stays."""

    until: Instant | None = None
    reason: str | None = None


PatientIds = Annotated[list[str], Field(max_length=MOST_AT_ONCE)]


class ShareBatchRequest(ShareRequest):
    """A share of several patients."""

    patients: PatientIds


class TransferRequest(_RequestBody):
    """A transfer of one patient."""

    colleague: str
    reason: str = ""
    end_shares: bool = False


class TransferBatchRequest(TransferRequest):
    """A transfer of several patients."""

    patients: PatientIds


class UndoTransferBatchRequest(_RequestBody):
    """An undo of the transfers of several patients."""

    patients: PatientIds


class EmergencyRequest(_RequestBody):
    """An emergency access to a patient, who is named by `patient`, the id, or by `reference`, the clinic's number."""

    patient: str | None = None
    reference: str | None = None
    subscription: str | None = None
    purpose: Purpose
    reason: str


class EmergencyReviewRequest(_RequestBody):
    """The review of an emergency access."""

    verdict: Annotated[str, _validator(_parse_verdict), Field(json_schema_extra={"enum": list(EMERGENCY_VERDICTS)})]
    note: str = ""


class ShareAllRequest(_RequestBody):
    """A share of all patients that the practitioner owns, now and later."""

    colleague: str
    content: bool = False
    until: Instant | None = None
    subscription: str | None = None


class PutSubscriptionRequest(_RequestBody):
    """The state that a subscription shall have."""

    name: str
    live: bool = True
    until: Instant | None = None
    time_zone: Annotated[str, _validator(parse_time_zone)] | None = None


class PutPractitionerRequest(_RequestBody):
    """The state that a practitioner shall have."""

    login: str
    name: str


class PutMembershipRequest(_RequestBody):
    """The state that a membership shall have."""

    role: Annotated[str, _validator(_parse_role), Field(json_schema_extra={"enum": list(MEMBERSHIP_ROLES)})]
    until: Instant | None = None


class PutEntityRequest(_RequestBody):
    """The properties that an entity shall have."""

    properties: dict[str, object] = {}


def parse_body(model: type[Model]) -> Model:
    """Return the request's body as a model.

    Raises a `Problem`: 400 for a body that is not a JSON object, 422 with a pointer to each member that is invalid.
    """
    try:
        return model.model_validate(json_body())
    except ValidationError as error:
        errors = describe_errors(error)
        detail = "; ".join(f"{pointer or 'the body'}: {why}" for pointer, why in errors)
        raise Problem("invalid", detail, errors) from error


def describe_errors(error: ValidationError) -> tuple[tuple[str, str], ...]:
    """Return a JSON pointer (RFC 6901) and a sentence for each of the first `MOST_ERRORS` errors of a model."""
    errors = error.errors(include_url=False, include_input=False)
    described = [(_pointer(each["loc"]), _describe_error(each)) for each in errors[:MOST_ERRORS]]
    if len(errors) > MOST_ERRORS:
        described.append(("", f"has {len(errors) - MOST_ERRORS} more errors"))
    return tuple(described)


def _pointer(location: tuple[int | str, ...]) -> str:
    """Return the JSON pointer of a location; a long name that the caller chose is cut."""
    return "".join(f"/{str(step)[:128].replace('~', '~0').replace('/', '~1')}" for step in location)


_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a known member",
    "string_type": "is not a string",
    "bool_type": "is neither true nor false",
    "int_type": "is not a whole number",
    "list_type": "is not an array",
    "dict_type": "is not an object",
    "model_type": "is not an object",
}


def _describe_error(error: Mapping[str, Any]) -> str:
    if error["type"] == "too_long":
        return f"has {error['ctx']['actual_length']} items; at most {error['ctx']['max_length']} are allowed"
    message: str = error["msg"]
    return _SENTENCES.get(error["type"]) or message.removeprefix("Value error, ")
