"""The types, fields and relations that a policy may speak of, and where each is stored.

The built-in types come from the models, an app's own from the `types.toml` of the policy directory. The built-in
names win: a declaration that would hide one is refused.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peewee import BooleanField, ForeignKeyField, IntegerField, Model

from authz.domain import END_CAUSES, GRANT_ORIGINS, GRANT_ROLES, MEMBERSHIP_ROLES
from authz.errors import Fault, PolicyRefused
from authz.models import FACTS, Entity, EntityLink, InstantField

Kind = Literal["string", "integer", "boolean", "datetime"]
KINDS: tuple[Kind, ...] = ("string", "integer", "boolean", "datetime")
_WORDS = {
    ("Membership", "role"): MEMBERSHIP_ROLES,
    ("Grant", "role"): GRANT_ROLES,
    ("Grant", "origin"): GRANT_ORIGINS,
    ("Grant", "end_cause"): ("", *END_CAUSES),
    ("StandingShare", "end_cause"): ("", *END_CAUSES),
}
_NO_FACTS = ("search_key", "reason")
"""A copy of other columns, for lists; and free text, which an erasure empties and no event tells (docs/audit.md)."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
RESERVED = ("id", "rules", "request", "started_at", "ended_at")


@dataclass(frozen=True)
class Scalar:
    """A value: `column` of a built-in type, or a property of a declared one (`column` is then None).

    `words` are the only values that the database lets a column hold, where it says so.
    """

    name: str
    kind: Kind
    column: str | None = None
    nullable: bool = False
    many: bool = False
    from_request: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToOne:
    """The row that this one points at; a declared relation may point at none."""

    name: str
    target: str
    column: str | None = None

    @property
    def nullable(self) -> bool:
        return self.column is None


@dataclass(frozen=True)
class ToMany:
    """The rows of `target` whose field `back` points at this one."""

    name: str
    target: str
    back: str


Property = Scalar | ToOne | ToMany


@dataclass(frozen=True)
class Type:
    """A type: its name in requests (`standing_share`), in Polar (`StandingShare`), and its table."""

    name: str
    polar: str
    table: str
    declared: bool
    properties: Mapping[str, Property] = field(hash=False, compare=False)

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Schema:
    """Every type, by its name in Polar."""

    types: Mapping[str, Type]

    def named(self, name: str) -> Type | None:
        """The type with this name in requests."""
        return self.by_name.get(name)

    @property
    def by_name(self) -> dict[str, Type]:
        return {one.name: one for one in self.types.values()}

    @property
    def subjects(self) -> list[Type]:
        """The types that can be a subject: practitioners, and every declared type."""
        return [one for one in self.types.values() if one.declared or one.name == "practitioner"]

    @property
    def resources(self) -> list[Type]:
        """The types that can be a resource: those whose rows an app can name by an id of its own."""
        return [one for one in self.types.values() if one.declared or _kind_of_id(one) == "string"]


ENTITY_TABLE: str = Entity._meta.table_name
LINK_TABLE: str = EntityLink._meta.table_name


def read_schema(declarations: str = "", file: str = "types.toml") -> Schema:
    """The built-in types and those that the text of a `types.toml` declares.

    Raises `PolicyRefused` with every fault of the declarations.
    """
    properties = {model.__name__: _stored(model) for model in FACTS}
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


def declared_in(directory: Path) -> Schema:
    """The vocabulary of a policy directory."""
    path = directory / "types.toml"
    return read_schema(path.read_text("utf-8") if path.exists() else "", path.name)


def _kind_of_id(one: Type) -> str | None:
    key = one.properties.get("id")
    return key.kind if isinstance(key, Scalar) else None


def _foreign_keys(model: type[Model]) -> Iterable[ForeignKeyField]:
    return (one for one in model._meta.sorted_fields if isinstance(one, ForeignKeyField))


def _stored(model: type[Model]) -> dict[str, Property]:
    stored: dict[str, Property] = {}
    for one in model._meta.sorted_fields:
        if one.name in _NO_FACTS:
            continue
        if isinstance(one, ForeignKeyField):
            stored[one.name] = ToOne(one.name, one.rel_model.__name__, one.column_name)
        else:
            words = _WORDS.get((model.__name__, one.name), ())
            stored[one.name] = Scalar(one.name, _kind(one), one.column_name, one.null, words=words)
    return stored


def _kind(one: object) -> Kind:
    if isinstance(one, InstantField):
        return "datetime"
    if isinstance(one, BooleanField):
        return "boolean"
    return "integer" if isinstance(one, IntegerField) else "string"


def polar_name(name: str) -> str:
    """`rehab_plan` in requests is `RehabPlan` in Polar."""
    return "".join(part.capitalize() for part in name.split("_"))


def _declare(types: dict[str, Type], text: str, file: str, faults: list[Fault]) -> None:
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # a `TOMLDecodeError`, or a number of too many digits
        where = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(where[1]), int(where[2])) if where else (0, 0)
        faults.append(Fault(file, line, column, f"is not TOML: {error}"))
        return
    lines = text.splitlines()

    def fault(type_name: str, key: str, why: str) -> None:
        faults.append(Fault(file, *_place(lines, type_name, key), why))

    for name, body in tables.items():
        if not _NAME.fullmatch(name) or not isinstance(body, dict):
            fault(name, "", f"a type is a table with a name such as [rehab_plan], not {name!r}")
        elif polar_name(name) in types:
            fault(name, "", f"the type {name} exists already")
        else:
            types[polar_name(name)] = Type(name, polar_name(name), ENTITY_TABLE, True, {})
    reverses: list[tuple[str, str, str, ToMany]] = []
    for name, body in tables.items():
        if not isinstance(body, dict) or polar_name(name) not in types:
            continue
        own: dict[str, Property] = {"id": Scalar("id", "string", "id")}
        for key, said in body.items():
            made = _property(types, key, said, lambda why, name=name, key=key: fault(name, key, why))
            if made is not None:
                own[key] = made
                if isinstance(said, dict) and isinstance(made, ToOne) and "reverse" in said:
                    reverses.append((name, key, made.target, ToMany(str(said["reverse"]), polar_name(name), key)))
        types[polar_name(name)] = Type(name, polar_name(name), ENTITY_TABLE, True, own)
    for name, key, target, back in reverses:
        holder = dict(types[target].properties)
        if not _NAME.fullmatch(back.name) or back.name in holder or back.name in RESERVED:
            fault(name, key, f"{target} has a field {back.name!r} already, or cannot have one of that name")
        else:
            holder[back.name] = back
            old = types[target]
            types[target] = Type(old.name, old.polar, old.table, old.declared, holder)


def _property(types: Mapping[str, Type], key: str, said: Any, fault: Any) -> Property | None:
    options = said if isinstance(said, dict) else {"type": said}
    kind, unknown = options.get("type"), set(options) - {"type", "reverse", "from_request"}
    many = isinstance(kind, list)
    kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
    if not _NAME.fullmatch(key) or key in RESERVED:
        fault(f"a property has a name such as care_team, none of {', '.join(RESERVED)}; not {key!r}")
    elif unknown:
        fault(f"unknown option {sorted(unknown)[0]!r} of {key}; known are type, reverse and from_request")
    elif kind in KINDS and "reverse" in options:
        fault(f"{key} is no relation, so it has no reverse")
    elif kind in KINDS:
        from_request = options.get("from_request", False)
        if isinstance(from_request, bool):
            return Scalar(key, kind, None, True, many, from_request)
        fault(f"from_request of {key} is true or false")
    elif isinstance(kind, str) and kind in types and not many:
        if "from_request" not in options:
            return ToOne(key, kind)
        fault(f"a relation is never taken from the request: {key}")
    else:
        fault(f"the type of {key} is one of {', '.join(KINDS)}, a list of one of them, or a type; not {kind!r}")
    return None


def _place(lines: list[str], type_name: str, key: str) -> tuple[int, int]:
    """Where a key of a table stands in a TOML text, so that a fault can point at it."""
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
