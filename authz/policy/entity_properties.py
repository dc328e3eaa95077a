"""The properties of an entity: those that its type declares, of the declared kinds, and no others."""

from collections.abc import Mapping

from authz.domain import parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import Schema, Type
from authz.policy.compiler.schema import Scalar, ToMany, ToOne
from authz.texts import parse_stored_id, quote_value

_LONGEST_PROPERTY = 10_000


def parse_properties(
    declared: Type, schema: Schema, properties: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, tuple[str, str]]]:
    """Return the values of an entity as they are stored, and its relations as (type, id), by property.

    A property that is null is absent.

    Raises `InvalidInput` for a property that the type does not declare, or a value of another kind.
    """
    values: dict[str, object] = {}
    links: dict[str, tuple[str, str]] = {}
    for name, value in properties.items():
        prop = declared.properties.get(name)
        if prop is None or isinstance(prop, ToMany) or name == "id":
            raise InvalidInput(f"{declared.name} has no property {quote_value(name)}")
        if value is None:
            continue
        try:
            if isinstance(prop, ToOne):
                links[name] = (schema.types[prop.target].name, parse_stored_id(value))
            elif prop.many:
                values[name] = _parse_list(prop, value)
            else:
                values[name] = _parse_scalar(prop.kind, value)
        except InvalidInput as error:
            raise InvalidInput(f"{declared.name}.{name}: {error}") from error
    return values, links


def _parse_list(prop: Scalar, value: object) -> list[str | int]:
    if not isinstance(value, list):
        raise InvalidInput(f"{quote_value(value)} is not a list")
    return [_parse_scalar(prop.kind, item) for item in value]


def _parse_scalar(kind: str, value: object) -> str | int:
    if kind == "datetime":
        return to_micros(parse_instant(value))
    if kind == "string" and isinstance(value, str) and len(value) <= _LONGEST_PROPERTY and "\0" not in value:
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise InvalidInput(f"{quote_value(value)} is not a {kind} that can be stored")
