"""The properties of an entity: those that its type declares, of the declared kinds, and no others."""

from collections.abc import Iterator, Mapping

from authz.domain import finite_number, parse_instant, to_micros
from authz.errors import InvalidInput
from authz.policy.compiler import Schema, Type
from authz.policy.compiler.schema import Scalar, ToMany, ToOne, ToTargets
from authz.policy.decision import Ref
from authz.texts import parse_stored_id, quote_value

MOST_TARGETS = 10_000
"""The most rows that one relation of an entity leads to."""
_LONGEST_PROPERTY = 10_000

Relations = Mapping[str, Ref | tuple[Ref, ...]]
"""The relations of an entity by property: its target or, if it may lead to many or to several types, its targets."""


def parse_properties(
    declared: Type, schema: Schema, properties: Mapping[str, object]
) -> tuple[dict[str, object], Relations]:
    """Return the values of an entity as they are stored, and its relations.

    A property that is null is absent, and so is a relation to many that leads to no row.

    Raises `InvalidInput` for a property that the type does not declare, or a value of another kind.
    """
    values: dict[str, object] = {}
    relations: dict[str, Ref | tuple[Ref, ...]] = {}
    for name, value in properties.items():
        prop = declared.properties.get(name)
        if prop is None or isinstance(prop, ToMany) or name == "id":
            raise InvalidInput(f"{declared.name} has no property {quote_value(name)}")
        if value is None:
            continue
        try:
            if isinstance(prop, ToOne):
                relations[name] = (schema.types[prop.target].name, parse_stored_id(value))
            elif isinstance(prop, ToTargets):
                targets = _parse_targets(prop, schema, value)
                if targets:
                    relations[name] = targets
            elif prop.many:
                values[name] = _parse_list(prop, value)
            else:
                values[name] = _parse_scalar(prop.kind, value)
        except InvalidInput as error:
            raise InvalidInput(f"{declared.name}.{name}: {error}") from error
    return values, relations


def targets_of(relations: Relations) -> Iterator[tuple[str, Ref]]:
    """Yield the property and the target of each row that relations lead to."""
    for name, relation in relations.items():
        if isinstance(relation[0], tuple):
            yield from ((name, (kind, target)) for kind, target in relation)
        else:
            yield name, (str(relation[0]), str(relation[1]))


def _parse_targets(prop: ToTargets, schema: Schema, value: object) -> tuple[Ref, ...]:
    """Return the targets of a relation in order. Raises `InvalidInput` for a malformed one, or the same one twice."""
    if prop.many and not isinstance(value, list):
        raise InvalidInput(f"{quote_value(value)} is not a list")
    items = value if isinstance(value, list) and prop.many else [value]
    if len(items) > MOST_TARGETS:
        raise InvalidInput(f"leads to {len(items)} rows; at most {MOST_TARGETS} are allowed")
    names = [schema.types[target].name for target in prop.targets]
    targets: set[Ref] = set()
    for item in items:
        target = _parse_target(names, item)
        if target in targets:
            raise InvalidInput(f"names the {target[0]} {quote_value(target[1])} twice")
        targets.add(target)
    return tuple(sorted(targets))


def _parse_target(names: list[str], item: object) -> Ref:
    """Return the type and id of one target; a bare id is enough if only one type is possible."""
    if isinstance(item, str) and len(names) == 1:
        return names[0], parse_stored_id(item)
    if not isinstance(item, dict) or set(item) != {"type", "id"}:
        shape = '{"type": …, "id": …}' if len(names) > 1 else "an id"
        raise InvalidInput(f"{quote_value(item)} is not {shape}")
    if item["type"] not in names:
        raise InvalidInput(f"{quote_value(item['type'])} is none of the types {', '.join(names)}")
    return item["type"], parse_stored_id(item["id"])


def _parse_list(prop: Scalar, value: object) -> list[str | float]:
    if not isinstance(value, list):
        raise InvalidInput(f"{quote_value(value)} is not a list")
    return [_parse_scalar(prop.kind, item) for item in value]


def _parse_scalar(kind: str, value: object) -> str | float:
    if kind == "datetime":
        return to_micros(parse_instant(value))
    if kind == "string" and isinstance(value, str) and len(value) <= _LONGEST_PROPERTY and "\0" not in value:
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    if kind == "number" and (number := finite_number(value)) is not None:
        return number
    raise InvalidInput(f"{quote_value(value)} is not a {kind} that can be stored")
