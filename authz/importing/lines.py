"""One line of an import file: what each kind may and must say, checked without a database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from authz.domain import FOREVER_MICROS, GRANT_ROLES, MEMBERSHIP_ROLES, normalise_login, parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import Schema
from authz.policy.entity_properties import parse_properties
from authz.strict_json import parse_object
from authz.texts import parse_reference, parse_stored_id, parse_text, quote_value


@dataclass(slots=True)
class Line:
    """A line that says something well formed; instants are microseconds, `until` is for ever where left out."""

    number: int
    kind: str
    said: dict[str, Any]


def _instant(value: object) -> int:
    return to_micros(parse_instant(value))


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{quote_value(value)} is neither true nor false")
    return value


def _reason(value: object) -> str:
    return parse_text(value) if value != "" else ""


def _reference(value: object) -> str:
    return parse_reference(value) if value != "" else ""


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise InvalidInput(f"{quote_value(value)} is none of {', '.join(words)}")
        return value

    return parse


def _properties(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{quote_value(value)} is not a JSON object")
    return value


Field = tuple[Callable[[object], Any], bool]
_LIFE: dict[str, Field] = {"started_at": (_instant, False), "until": (_instant, False)}
_KINDS: dict[str, dict[str, Field]] = {
    "subscription": {"id": (parse_stored_id, True), "name": (parse_text, True), **_LIFE},
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
        "content": (_truth, False),
        "reason": (_reason, False),
        **_LIFE,
    },
    "entity": {"type": (parse_stored_id, True), "id": (parse_stored_id, True), "properties": (_properties, False)},
}

_REQUIRED = {kind: [name for name, (_, required) in fields.items() if required] for kind, fields in _KINDS.items()}


def parse_line(number: int, text: bytes, types: Schema) -> Line:
    """The line as what it says. Raises `InvalidInput` for anything malformed, naming the field."""
    whole = parse_object(text)
    if len(whole) != 1:
        raise InvalidInput(f"holds {len(whole)} things; a line is one of {', '.join(_KINDS)}")
    ((kind, body),) = whole.items()
    fields = _KINDS.get(kind)
    if fields is None:
        raise InvalidInput(f"is of the unknown kind {quote_value(kind)}; known are {', '.join(_KINDS)}")
    if not isinstance(body, dict):
        raise InvalidInput(f"{kind} is not a JSON object but {quote_value(body)}")
    said = _said(kind, body, fields)
    if "until" in fields:
        said.setdefault("until", FOREVER_MICROS)
    if kind == "entity":
        declared = types.named(said["type"])
        if declared is None or not declared.declared:
            raise InvalidInput(f"types.toml declares no type {quote_value(said['type'])}")
        said["properties"], said["links"] = parse_properties(declared, types, said.get("properties", {}))
    return Line(number, kind, said)


def _said(kind: str, body: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    said = {}
    for name, value in body.items():
        if name not in fields:
            raise InvalidInput(f"{kind} has the unknown field {quote_value(name)}; known are {', '.join(fields)}")
        try:
            said[name] = fields[name][0](value)
        except InvalidInput as error:
            raise InvalidInput(f"{kind}.{name}: {error}") from error
    for name in _REQUIRED[kind]:
        if name not in said:
            raise InvalidInput(f"{kind} lacks {name}")
    return said
