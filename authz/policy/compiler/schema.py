"""The schema: the types, properties and relations that a policy may name, and where each is stored.

    [document]
    patient = { type = "Patient", reverse = "documents" }
    readers = ["Practitioner", "Team"]
    →  Type("document", polar="Document", table="entity", properties={"patient": ToOne(target="Patient"),
       "readers": ToTargets(targets=("Practitioner", "Team"))}),
       and in Patient "documents": ToMany(target="Document", back="patient")

The built-in types come from the models, an app's own from the `types.toml` of the policy directory. A declaration that
would hide a built-in name is refused.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from peewee import BooleanField, ForeignKeyField, IntegerField, Model

from authz.domain import END_CAUSES, GRANT_END_CAUSES, GRANT_ORIGINS, GRANT_ROLES, MEMBERSHIP_ROLES
from authz.errors import Fault, PolicyRefused
from authz.models import FACTS, Entity, EntityLink, EntityTarget, InstantField

Kind = Literal["string", "integer", "boolean", "datetime", "number"]
KINDS: tuple[Kind, ...] = ("string", "integer", "boolean", "datetime", "number")
_CHOICES = {
    ("Membership", "role"): MEMBERSHIP_ROLES,
    ("Grant", "role"): GRANT_ROLES,
    ("Grant", "origin"): GRANT_ORIGINS,
    ("Grant", "end_cause"): ("", *GRANT_END_CAUSES),
    ("StandingShare", "end_cause"): ("", *END_CAUSES),
}
_NO_FACTS = ("search_key", "reason", "time_zone")
"""A copy of other columns, for lists; free text, which an erasure empties and no event tells
(docs/reference/record.md); and what only the pages read.
"""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_POLAR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LONGEST_KEY = 100
_NOT_IN_KEYS = re.compile(r"[\x00-\x1f\x7f-\x9f\"\\\ud800-\udfff]")
"""Characters that no path into JSON holds on both databases."""
RESERVED = ("id", "rules", "request", "started_at", "ended_at")


@dataclass(frozen=True)
class Scalar:
    """A value: `column` of a built-in type, or a property of a declared one (`column` is then None).

    `choices` are the only values that the database lets a column hold, if it limits them.
    """

    name: str
    kind: Kind
    column: str | None = None
    nullable: bool = False
    many: bool = False
    from_request: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToOne:
    """A relation to one row; a declared relation may point at none."""

    name: str
    target: str
    column: str | None = None

    @property
    def nullable(self) -> bool:
        """Whether the relation may point at no row."""
        return self.column is None


@dataclass(frozen=True)
class ToTargets:
    """A relation of a declared type to rows of the types `targets`: to any number, or to one if not `many`."""

    name: str
    targets: tuple[str, ...]
    many: bool = True
    nullable: Literal[True] = True


@dataclass(frozen=True)
class ToMany:
    """A relation to many rows: those of `target` whose field `back` points at this one."""

    name: str
    target: str
    back: str


Property = Scalar | ToOne | ToTargets | ToMany


@dataclass(frozen=True)
class Type:
    """A type: its name in requests (`standing_share`), in Polar (`StandingShare`), and its table.

    The rows of a type that is not `stored` come whole with the question.
    """

    name: str
    polar: str
    table: str
    declared: bool
    properties: Mapping[str, Property] = field(hash=False, compare=False)
    stored: bool = True
    keys: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    """The keys in `properties` of the fields that have another name in Polar, by that name."""

    def key_of(self, name: str) -> str:
        """Return the key in `properties` of a field, by its name in Polar; an empty text if it has another name."""
        return "" if name in self.keys.values() else self.keys.get(name, name)

    @property
    def fields(self) -> list[str]:
        """The names of all fields in Polar."""
        names = {key: name for name, key in self.keys.items()}
        return [names.get(key, key) for key in self.properties]

    @property
    def label(self) -> str:
        """The name for people: *standing share*."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Schema:
    """Every type, by its name in Polar."""

    types: Mapping[str, Type]

    def named(self, name: str) -> Type | None:
        """Return the type with a name in requests; None if there is none."""
        return self.by_name.get(name)

    def type_at(self, polar: str, fields: Sequence[str]) -> Type:
        """Return the type at the end of a path of to-one relations from a type, by its name in Polar."""
        type_at_path = self.types[polar]
        for name in fields:
            relation = type_at_path.properties[name]
            assert isinstance(relation, ToOne)
            type_at_path = self.types[relation.target]
        return type_at_path

    @cached_property
    def by_name(self) -> dict[str, Type]:
        """Every type, by its name in requests."""
        return {each.name: each for each in self.types.values()}

    @property
    def subjects(self) -> list[Type]:
        """The types that can be a subject: practitioners, and every declared type."""
        return [each for each in self.types.values() if each.declared or each.name == "practitioner"]

    @property
    def resources(self) -> list[Type]:
        """The types that can be a resource: those whose rows an app can name by an id of its own."""
        return [each for each in self.types.values() if each.declared or _kind_of_id(each) == "string"]


ENTITY_TABLE: str = Entity._meta.table_name
LINK_TABLE: str = EntityLink._meta.table_name
TARGET_TABLE: str = EntityTarget._meta.table_name


def read_schema(declarations: str = "", file: str = "types.toml") -> Schema:
    """Return the built-in types and those that the text of a `types.toml` declares.

    Raises `PolicyRefused` with every fault of the declarations.
    """
    properties = {model.__name__: _stored_properties(model) for model in FACTS}
    for model in FACTS:
        for key in _foreign_keys(model):
            properties[key.rel_model.__name__][key.backref] = ToMany(key.backref, model.__name__, key.name)
    types = {
        model.__name__: Type(
            model._meta.table_name, model.__name__, model._meta.table_name, False, properties[model.__name__]
        )
        for model in FACTS
    }
    faults: list[Fault] = []
    _declare(types, declarations, file, faults)
    if faults:
        raise PolicyRefused(faults)
    return Schema(types)


def declared_in(folder: Path) -> Schema:
    """Return the schema of a policy directory."""
    path = folder / "types.toml"
    return read_schema(path.read_text("utf-8") if path.exists() else "", path.name)


def _kind_of_id(each: Type) -> str | None:
    key = each.properties.get("id")
    return key.kind if isinstance(key, Scalar) else None


def _foreign_keys(model: type[Model]) -> Iterable[ForeignKeyField]:
    return (column for column in model._meta.sorted_fields if isinstance(column, ForeignKeyField))


def _stored_properties(model: type[Model]) -> dict[str, Property]:
    stored: dict[str, Property] = {}
    for column in model._meta.sorted_fields:
        if column.name in _NO_FACTS:
            continue
        if isinstance(column, ForeignKeyField):
            stored[column.name] = ToOne(column.name, column.rel_model.__name__, column.column_name)
        else:
            choices = _CHOICES.get((model.__name__, column.name), ())
            kind = _kind(column)
            stored[column.name] = Scalar(column.name, kind, column.column_name, column.null, choices=choices)
    return stored


def _kind(column: object) -> Kind:
    if isinstance(column, InstantField):
        return "datetime"
    if isinstance(column, BooleanField):
        return "boolean"
    return "integer" if isinstance(column, IntegerField) else "string"


def polar_name(name: str) -> str:
    """Return the name in Polar: `rehab_plan` in requests is `RehabPlan` in Polar."""
    return "".join(part.capitalize() for part in name.split("_"))


def _declare(types: dict[str, Type], text: str, file: str, faults: list[Fault]) -> None:
    """Add the types that a TOML text declares, and a fault for each declaration that is none."""
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # a `TOMLDecodeError`, or a number of too many digits
        at = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (0, 0)
        faults.append(Fault(file, line, column, f"is not TOML: {error}"))
        return
    lines = text.splitlines()

    def refuse(type_name: str, key: str, why: str) -> None:
        faults.append(Fault(file, *_place(lines, type_name, key), why))

    for name, table in tables.items():
        if not _NAME.fullmatch(name) or not isinstance(table, dict):
            refuse(name, "", f"a type is a table with a name such as [rehab_plan], not {name!r}")
        elif polar_name(name) in types:
            refuse(name, "", f"the type {name} exists already")
        else:
            stored = table.get("stored") is not False
            types[polar_name(name)] = Type(name, polar_name(name), ENTITY_TABLE, True, {}, stored)
    for name, table in tables.items():
        if isinstance(table, dict) and polar_name(name) in types:
            declared = types[polar_name(name)]
            own, keys = _own_properties(types, declared, table, partial(refuse, name))
            types[polar_name(name)] = replace(declared, properties=own, keys=keys)
    for name, key, target, back in list(_reverses(types, tables)):
        holder = dict(types[target].properties)
        if not _NAME.fullmatch(back.name) or back.name in holder or back.name in RESERVED:
            refuse(name, key, f"{target} has a field {back.name!r} already, or cannot have one of that name")
        else:
            holder[back.name] = back
            types[target] = replace(types[target], properties=holder)


def _own_properties(
    types: Mapping[str, Type], declared: Type, table: Mapping[str, object], refuse: Callable[[str, str], None]
) -> tuple[dict[str, Property], dict[str, str]]:
    """Return the properties that a type's table declares, and their keys by other names in Polar.

    Each declaration that makes none is refused.
    """
    own: dict[str, Property] = {"id": Scalar("id", "string", "id")}
    keys: dict[str, str] = {}
    for key, declaration in table.items():
        if key == "stored" and isinstance(declaration, bool):
            continue
        try:
            prop = _property(types, key, declaration)
            if not declared.stored:
                _require_requestable(prop, declaration)
            own[key] = prop
            if (polar := _polar_name_of(key, declaration, (*keys, *table))) != key:
                keys[polar] = key
        except _Undeclarable as why:
            refuse(key, str(why))
    return own, keys


def _reverses(
    types: Mapping[str, Type], tables: Mapping[str, Mapping[str, object]]
) -> Iterator[tuple[str, str, str, ToMany]]:
    """Yield the way back of each relation that names one: type and key of the relation, the target, and the way."""
    for declared in types.values():
        for key, prop in declared.properties.items() if declared.declared else ():
            declaration = tables[declared.name].get(key)
            if isinstance(declaration, dict) and isinstance(prop, ToOne | ToTargets) and "reverse" in declaration:
                back = ToMany(str(declaration["reverse"]), declared.polar, key)
                targets = (prop.target,) if isinstance(prop, ToOne) else prop.targets
                yield from ((declared.name, key, target, back) for target in targets)


class _Undeclarable(Exception):
    """A declaration of a property that is none; the text says why."""


def _property(types: Mapping[str, Type], key: str, declaration: object) -> Property:
    """Return the property that a declaration makes. Raise `_Undeclarable` if it makes none."""
    options: dict[str, object] = declaration if isinstance(declaration, dict) else {"type": declaration}
    kind, unknown = options.get("type"), set(options) - {"type", "reverse", "from_request", "many", "polar"}
    targets = _targets(types, key, options)
    many = isinstance(kind, list)
    kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    if not key or len(key) > _LONGEST_KEY or _NOT_IN_KEYS.search(key) or key in RESERVED:
        raise _Undeclarable(
            f"a property has a name of at most {_LONGEST_KEY} characters without control characters, quotes and "
            f"backslashes, none of {', '.join(RESERVED)}; not {key!r}"
        )
    if unknown:
        known = "type, reverse, many, polar and from_request"
        raise _Undeclarable(f"unknown option {sorted(unknown)[0]!r} of {key}; known are {known}")
    if kind in KINDS:
        from_request = options.get("from_request", False)
        if "reverse" in options:
            raise _Undeclarable(f"{key} is no relation, so it has no reverse")
        if not isinstance(from_request, bool):
            raise _Undeclarable(f"from_request of {key} is true or false")
        if "many" in options:
            raise _Undeclarable(f'{key} is no relation: a list of values is written ["{kind}"]')
        return Scalar(key, kind, None, True, many, from_request)
    if targets and "from_request" in options:
        raise _Undeclarable(f"a relation is never taken from the request: {key}")
    if len(targets) == 1 and not options.get("many", many):
        return ToOne(key, targets[0])
    if targets:
        return ToTargets(key, targets, bool(options.get("many", True)))
    raise _Undeclarable(
        f"the type of {key} is one of {', '.join(KINDS)}, a list of one of them, a type, or a list of types; "
        f"not {kind!r}"
    )


def _targets(types: Mapping[str, Type], key: str, options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the types that a relation leads to; none if the declaration is no relation. Raise `_Undeclarable`."""
    kind = options.get("type")
    names = kind if isinstance(kind, list) else [kind]
    targets = tuple(name for name in names if isinstance(name, str) and name in types)
    if not targets or len(targets) < len(names):
        return ()
    if not isinstance(options.get("many", False), bool):
        raise _Undeclarable(f"many of {key} is true or false")
    unstored = [name for name in targets if not types[name].stored]
    if unstored:
        raise _Undeclarable(f"{key} cannot lead to {unstored[0]}, which is not stored")
    if len(set(targets)) < len(targets):
        raise _Undeclarable(f"{key} names a type twice")
    numbered = [name for name in targets if not types[name].declared and _kind_of_id(types[name]) != "string"]
    if numbered and (isinstance(kind, list) or options.get("many")):
        raise _Undeclarable(f"{key} cannot lead to {numbered[0]}, whose rows have no id that an app knows")
    return targets


def _require_requestable(prop: Property, declaration: object) -> None:
    """Raise `_Undeclarable` unless a property can come with the question, as a type that is not stored needs."""
    if isinstance(declaration, dict) and set(declaration) - {"polar"} > {"type"}:
        raise _Undeclarable(f"{prop.name} belongs to a type that is not stored, so it takes no option")
    if isinstance(prop, ToTargets) or (isinstance(prop, Scalar) and prop.many):
        raise _Undeclarable(f"{prop.name} belongs to a type that is not stored, so it cannot be a list")


def _polar_name_of(key: str, declaration: object, taken: Iterable[str]) -> str:
    """Return the name in Polar of a property: its option `polar`, otherwise its key. Raise `_Undeclarable`."""
    name = declaration.get("polar", key) if isinstance(declaration, dict) else key
    if not isinstance(name, str) or not _POLAR_NAME.fullmatch(name) or name in RESERVED:
        why = f'{key!r} needs a name in Polar, such as {{ type = "string", polar = "x_tag" }}'
        raise _Undeclarable(f"{why}, none of {', '.join(RESERVED)}; not {name!r}")
    if name != key and name in taken:
        raise _Undeclarable(f"the name {name} of {key!r} in Polar is that of another property")
    return name


def _place(lines: list[str], type_name: str, key: str) -> tuple[int, int]:
    """Return the line and column of a key of a table in a TOML text; zeros if it is not found."""
    inside = False
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[\s*\"?([^\]\"]*?)\"?\s*\]", line)
        if header:
            inside = header[1] == type_name
            if inside and not key:
                return number, line.index("[") + 1
        elif inside and key and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
            return number, len(line) - len(line.lstrip()) + 1
    return 0, 0
