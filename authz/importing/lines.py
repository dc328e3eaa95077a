"""One line of an import file: the fields of each kind, checked without a database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from authz.domain import (
    FOREVER_MICROS,
    GRANT_ROLES,
    MEMBERSHIP_ROLES,
    normalise_login,
    parse_instant,
    parse_time_zone,
    to_micros,
)
from authz.errors import InvalidInput
from authz.policy.compiler import Schema
from authz.policy.entity_properties import parse_properties
from authz.strict_json import parse_object
from authz.texts import parse_reference, parse_stored_id, parse_text, quote_value


@dataclass(slots=True)
class Line:
    """A well-formed line and its fields; instants are microseconds, `until` is for ever if the line gives none."""

    number: int
    kind: str
    fields: dict[str, Any]


def _instant(value: object) -> int:
    return to_micros(parse_instant(value))


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{quote_value(value)} is neither true nor false")
    return value


def _reason(value: object) -> str:
    return parse_text(value) if value != "" else ""


def _reference(value: object) -> str:
    return parse_reference(value) if value != "" else ""


def _one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise InvalidInput(f"{quote_value(value)} is none of {', '.join(choices)}")
        return value

    return parse


def _properties(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{quote_value(value)} is not a JSON object")
    return value


Field = tuple[Callable[[object], object], bool]
"""The parser of a field's value, and whether each line must have the field."""
_LIFE: dict[str, Field] = {"started_at": (_instant, False), "until": (_instant, False)}
_KINDS: dict[str, dict[str, Field]] = {
    "subscription": {
        "id": (parse_stored_id, True),
        "name": (parse_text, True),
        "time_zone": (parse_time_zone, False),
        **_LIFE,
    },
    "practitioner": {"id": (parse_stored_id, True), "login": (normalise_login, True), "name": (parse_text, True)},
    "membership": {
        "practitioner": (parse_stored_id, True),
        "subscription": (parse_stored_id, True),
        "role": (_one_of(MEMBERSHIP_ROLES), True),
        **_LIFE,
    },
    "patient": {
        "id": (parse_stored_id, True),
        "subscription": (parse_stored_id, True),
        "name": (parse_text, True),
        "owner": (parse_stored_id, True),
        "reference": (_reference, False),
        **_LIFE,
    },
    "grant": {
        "patient": (parse_stored_id, True),
        "practitioner": (parse_stored_id, True),
        "role": (_one_of(GRANT_ROLES), True),
        "reason": (_reason, False),
        **_LIFE,
    },
    "standing_share": {
        "owner": (parse_stored_id, True),
        "colleague": (parse_stored_id, True),
        "subscription": (parse_stored_id, True),
        "content": (_boolean, False),
        "reason": (_reason, False),
        **_LIFE,
    },
    "entity": {
        "type": (parse_stored_id, True),
        "id": (parse_stored_id, True),
        "properties": (_properties, False),
        **_LIFE,
    },
}

_REQUIRED = {kind: [name for name, (_, required) in fields.items() if required] for kind, fields in _KINDS.items()}


def parse_line(number: int, text: bytes, types: Schema) -> Line:
    """Parse a line. Raises `InvalidInput` for anything malformed, naming the field."""
    whole = parse_object(text)
    if len(whole) != 1:
        raise InvalidInput(f"has {len(whole)} members; a line has one, which is one of {', '.join(_KINDS)}")
    ((kind, body),) = whole.items()
    if kind not in _KINDS:
        raise InvalidInput(f"is of the unknown kind {quote_value(kind)}; known are {', '.join(_KINDS)}")
    if not isinstance(body, dict):
        raise InvalidInput(f"{kind} is not a JSON object but {quote_value(body)}")
    fields = _parse_fields(kind, body)
    if "until" in _KINDS[kind]:
        fields.setdefault("until", FOREVER_MICROS)
    if kind == "entity":
        declared = types.named(fields["type"])
        if declared is None or not declared.declared:
            raise InvalidInput(f"types.toml declares no type {quote_value(fields['type'])}")
        if not declared.stored:
            raise InvalidInput(f"the type {declared.name} is not stored: its properties come with each question")
        fields["properties"], fields["relations"] = parse_properties(declared, types, fields.get("properties", {}))
    return Line(number, kind, fields)


def _parse_fields(kind: str, body: Mapping[str, object]) -> dict[str, Any]:
    """Parse the fields of a line. Raises `InvalidInput` for one that is unknown, malformed or missing."""
    parsers, fields = _KINDS[kind], {}
    for name, value in body.items():
        if name not in parsers:
            raise InvalidInput(f"{kind} has the unknown field {quote_value(name)}; known are {', '.join(parsers)}")
        try:
            fields[name] = parsers[name][0](value)
        except InvalidInput as error:
            raise InvalidInput(f"{kind}.{name}: {error}") from error
    for name in _REQUIRED[kind]:
        if name not in fields:
            raise InvalidInput(f"{kind} lacks {name}")
    return fields
