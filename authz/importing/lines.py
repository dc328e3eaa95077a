"""One line of an import file: what each kind may and must say, checked without a database."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from authz.compiler import Vocabulary
from authz.compiler.vocabulary import Scalar, ToMany, ToOne, Type
from authz.errors import InvalidInput
from authz.strict_json import parse_object
from authz.terms import (
    FOREVER_MICROS,
    GRANT_ROLES,
    MEMBERSHIP_ROLES,
    normalise_login,
    parse_id,
    parse_instant,
    parse_text,
    shown,
    to_micros,
)

_LONGEST_PROPERTY = 10_000


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
        raise InvalidInput(f"{shown(value)} is neither true nor false")
    return value


def _reason(value: object) -> str:
    return parse_text(value) if value != "" else ""


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise InvalidInput(f"{shown(value)} is none of {', '.join(words)}")
        return value

    return parse


def _properties(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{shown(value)} is not a JSON object")
    return value


Field = tuple[Callable[[object], Any], bool]
_LIFE: dict[str, Field] = {"started_at": (_instant, False), "until": (_instant, False)}
_KINDS: dict[str, dict[str, Field]] = {
    "subscription": {"id": (parse_id, True), "name": (parse_text, True), **_LIFE},
    "practitioner": {"id": (parse_id, True), "login": (normalise_login, True), "name": (parse_text, True)},
    "membership": {
        "practitioner": (parse_id, True),
        "subscription": (parse_id, True),
        "role": (_one_of(MEMBERSHIP_ROLES), True),
        **_LIFE,
    },
    "patient": {
        "id": (parse_id, True),
        "subscription": (parse_id, True),
        "name": (parse_text, True),
        "owner": (parse_id, True),
        **_LIFE,
    },
    "grant": {
        "patient": (parse_id, True),
        "practitioner": (parse_id, True),
        "role": (_one_of(GRANT_ROLES), True),
        "reason": (_reason, False),
        **_LIFE,
    },
    "standing_share": {
        "owner": (parse_id, True),
        "colleague": (parse_id, True),
        "subscription": (parse_id, True),
        "content": (_truth, False),
        "reason": (_reason, False),
        **_LIFE,
    },
    "entity": {"type": (parse_id, True), "id": (parse_id, True), "properties": (_properties, False)},
}


def parse_line(number: int, text: bytes, types: Vocabulary) -> Line:
    """The line as what it says. Raises `InvalidInput` for anything malformed, naming the field."""
    whole = parse_object(text)
    if len(whole) != 1:
        raise InvalidInput(f"holds {len(whole)} things; a line is one of {', '.join(_KINDS)}")
    ((kind, body),) = whole.items()
    fields = _KINDS.get(kind)
    if fields is None:
        raise InvalidInput(f"is of the unknown kind {shown(kind)}; known are {', '.join(_KINDS)}")
    if not isinstance(body, dict):
        raise InvalidInput(f"{kind} is not a JSON object but {shown(body)}")
    said = _said(kind, body, fields)
    if "until" in fields:
        said.setdefault("until", FOREVER_MICROS)
    if kind == "entity":
        declared = types.named(said["type"])
        if declared is None or not declared.declared:
            raise InvalidInput(f"types.toml declares no type {shown(said['type'])}")
        said["properties"], said["links"] = typed(declared, types, said.get("properties", {}))
    return Line(number, kind, said)


def _said(kind: str, body: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    said = {}
    for name, value in body.items():
        if name not in fields:
            raise InvalidInput(f"{kind} has the unknown field {shown(name)}; known are {', '.join(fields)}")
        try:
            said[name] = fields[name][0](value)
        except InvalidInput as error:
            raise InvalidInput(f"{kind}.{name}: {error}") from error
    for name, (_, required) in fields.items():
        if required and name not in said:
            raise InvalidInput(f"{kind} lacks {name}")
    return said


def typed(
    declared: Type, types: Vocabulary, properties: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """The values of an entity as they are stored, and its relations as (type, id) by property; null is absent.

    Raises `InvalidInput` for a property that the type does not declare, or a value of another kind.
    """
    values: dict[str, Any] = {}
    links: dict[str, tuple[str, str]] = {}
    for name, value in properties.items():
        prop = declared.properties.get(name)
        if prop is None or isinstance(prop, ToMany) or name == "id":
            raise InvalidInput(f"{declared.name} has no property {shown(name)}")
        if value is None:
            continue
        try:
            if isinstance(prop, ToOne):
                links[name] = (types.types[prop.target].name, parse_id(value))
            elif prop.many:
                values[name] = _many(prop, value)
            else:
                values[name] = _scalar(prop.kind, value)
        except InvalidInput as error:
            raise InvalidInput(f"{declared.name}.{name}: {error}") from error
    return values, links


def _many(prop: Scalar, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"{shown(value)} is not a list")
    return [_scalar(prop.kind, one) for one in value]


def _scalar(kind: str, value: object) -> Any:
    if kind == "datetime":
        return _instant(value)
    if kind == "string" and isinstance(value, str) and len(value) <= _LONGEST_PROPERTY and "\0" not in value:
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise InvalidInput(f"{shown(value)} is not a {kind} that can be stored")
