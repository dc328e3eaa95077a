"""The properties of an entity: of the kinds that its type declares, and nothing else."""

from collections.abc import Mapping
from typing import Any

from authz.domain import parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import Schema, Type
from authz.policy.compiler.schema import Scalar, ToMany, ToOne
from authz.texts import parse_stored_id, quote_value

_LONGEST_PROPERTY = 10_000


def parse_properties(
    declared: Type, types: Schema, properties: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """The values of an entity as they are stored, and its relations as (type, id) by property; null is absent.

    Raises `InvalidInput` for a property that the type does not declare, or a value of another kind.
    """
    values: dict[str, Any] = {}
    links: dict[str, tuple[str, str]] = {}
    for name, value in properties.items():
        prop = declared.properties.get(name)
        if prop is None or isinstance(prop, ToMany) or name == "id":
            raise InvalidInput(f"{declared.name} has no property {quote_value(name)}")
        if value is None:
            continue
        try:
            if isinstance(prop, ToOne):
                links[name] = (types.types[prop.target].name, parse_stored_id(value))
            elif prop.many:
                values[name] = _many(prop, value)
            else:
                values[name] = _scalar(prop.kind, value)
        except InvalidInput as error:
            raise InvalidInput(f"{declared.name}.{name}: {error}") from error
    return values, links


def _many(prop: Scalar, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"{quote_value(value)} is not a list")
    return [_scalar(prop.kind, one) for one in value]


def _scalar(kind: str, value: object) -> Any:
    if kind == "datetime":
        return to_micros(parse_instant(value))
    if kind == "string" and isinstance(value, str) and len(value) <= _LONGEST_PROPERTY and "\0" not in value:
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise InvalidInput(f"{quote_value(value)} is not a {kind} that can be stored")
