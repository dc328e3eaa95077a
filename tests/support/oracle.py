"""Plain Oso as the oracle: it evaluates the same policy text on objects read from the same database.

The oracle shares only the schema with the compiler. Oso raises an error if nil is compared by order or has a field; by
the project's rule such a derivation permits nothing. `Nothing` makes Oso answer so.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from authz.database import Database
from authz.domain import to_micros
from authz.models import FACTS, Entity, EntityLink, EntityTarget, Patient
from authz.policy.compiler.schema import Scalar, ToMany, ToOne, ToTargets, Type, read_schema
from authz.policy.decision import Ref


class Nothing:
    """Nil, or (`past`) a property of nil.

    Nil equals nil. Every comparison with a property of nil fails, also `!=`.
    """

    def __init__(self, past: bool = False) -> None:
        self._past = past

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(past=True)

    def __eq__(self, other: object) -> bool:
        return not self._past and (other is None or (isinstance(other, Nothing) and not other._past))

    def __ne__(self, other: object) -> bool:
        beyond = self._past or (isinstance(other, Nothing) and other._past)
        return not beyond and not self == other

    def __lt__(self, _other: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__

    def __iter__(self) -> Iterator[object]:
        return iter(())

    __hash__ = None  # type: ignore[assignment]


class Row:
    """A row of any type, whose fields are those of the schema."""

    def __init__(self, world: "World", kind: Type, key: Any, values: Mapping[str, Any]) -> None:
        self._world, self._kind, self._key, self._values = world, kind, key, values

    def __getattr__(self, name: str) -> Any:
        prop = self._kind.properties.get(name)
        if isinstance(prop, Scalar):
            value = self._values.get(name)
            return Nothing() if value is None else value
        if isinstance(prop, ToOne):
            key = self._values.get(name)
            return Nothing() if key is None else self._world.row(prop.target, key)
        if isinstance(prop, ToMany):
            rows = self._world.rows[prop.target].values()
            if isinstance(self._world.types.types[prop.target].properties[prop.back], ToTargets):
                return [row for row in rows if (self._kind.name, self._key) in row._values.get(prop.back, ())]
            return [row for row in rows if row._values.get(prop.back) == self._key]
        if isinstance(prop, ToTargets):
            named = self._world.existing(self._values.get(name, ()))
            return named if prop.many else next(iter(named), Nothing())
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and (self._kind.name, self._key) == (other._kind.name, other._key)

    def __hash__(self) -> int:
        return hash((self._kind.name, self._key))


class Gone(Row):
    """A row that is named but does not exist: it is not nil, it equals itself, and all its properties are nil's."""

    def __getattr__(self, name: str) -> Any:
        return Nothing(past=True)


class World:
    """Every row of a database at one instant, and a policy over them.

    Patients and entities exist only during their lives.
    """

    def __init__(self, database: Database, texts: Mapping[str, str], now: int) -> None:
        self.types = read_schema(texts.get("types.toml", ""))
        policy = "\n".join(text for name, text in texts.items() if name.endswith(".polar"))
        self._classes: dict[str, type[Row]] = {name: type(name, (Row,), {}) for name in self.types.types}
        self.rows: dict[str, dict[Any, Row]] = {name: {} for name in self.types.types}
        for model in FACTS:
            for values in model.select().dicts().execute(database):
                if model is Patient and not to_micros(values["started_at"]) <= now < to_micros(values["ended_at"]):
                    continue
                self._add(model.__name__, values["id"], values)
        self._entities(database, now)
        self._oso = pytest.importorskip("oso", reason="Oso has no wheel for this Python").Oso()
        for name, row_class in self._classes.items():
            self._oso.register_class(row_class, name=name)
        self._oso.register_constant(now, "now")
        with contextlib.redirect_stdout(io.StringIO()):
            self._oso.load_str(policy)

    def _entities(self, database: Database, now: int) -> None:
        for entity in Entity.select().where(Entity.started_at <= now, Entity.ended_at > now).execute(database):
            links = EntityLink.select().where(EntityLink.entity == entity.pk).execute(database)
            values = {"id": entity.id, **entity.properties, **{link.property: link.target for link in links}}
            for target in EntityTarget.select().where(EntityTarget.entity == entity.pk).execute(database):
                values.setdefault(target.property, []).append((target.target_type, target.target))
            declared = self.types.named(entity.type)
            assert declared is not None
            self._add(declared.polar, entity.id, values)

    def _add(self, name: str, key: Any, values: Mapping[str, Any]) -> None:
        plain = {field: to_micros(value) if hasattr(value, "tzinfo") else value for field, value in values.items()}
        self.rows[name][key] = self._classes[name](self, self.types.types[name], key, plain)

    def row(self, name: str, key: Any) -> Row:
        """Return the row of a type (by its name in Polar) with a key, or a `Gone` row if there is none."""
        return self.rows[name].get(key) or Gone(self, self.types.types[name], key, {})

    def existing(self, refs: Iterable[Ref]) -> list[Row]:
        """Return those of these rows that exist."""
        named = [(self.types.named(kind), key) for kind, key in refs]
        return [self.rows[kind.polar][key] for kind, key in named if kind is not None and key in self.rows[kind.polar]]

    def bring(self, ref: Ref, properties: Mapping[str, Any]) -> None:
        """Add a row of a type that is not stored, as a question brings it."""
        declared = self.types.named(ref[0])
        assert declared is not None
        self._add(declared.polar, ref[1], {"id": ref[1], **properties})

    def ids(self, kind: str) -> list[str]:
        """Return the ids of every row of a type, by its name in requests, in order."""
        declared = self.types.named(kind)
        assert declared is not None
        return sorted(self.rows[declared.polar])

    def allowed(self, subject: Ref, action: str, resource: Ref) -> bool:
        """Return what plain Oso answers; False if the subject or the resource does not exist at the instant."""
        ends = []
        for kind, name in (subject, resource):
            declared = self.types.named(kind)
            assert declared is not None
            if name not in self.rows[declared.polar]:
                return False
            ends.append(self.rows[declared.polar][name])
        answer: bool = self._oso.is_allowed(ends[0], action, ends[1])
        return answer
