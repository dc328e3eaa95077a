"""The SQL of one conjunctive query: every row and every to-one path a table alias, every condition a predicate.

    Query(rows=(g: Grant,), conditions=(g.patient = x, g.role = "owner"))
    →  FROM "grant" AS t0 WHERE t0.patient_id = :resource AND t0.role = 'owner'

Nothing that a caller sends is part of the text: what is known only when the question comes is a placeholder.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from authz.policy.compiler.closures import Ends, join_closure, plan_joins
from authz.policy.compiler.functions import FUNCTIONS, function_sql
from authz.policy.compiler.ir import (
    NIL,
    Absence,
    Condition,
    Const,
    Instant,
    LiteralList,
    Now,
    Path,
    Query,
    Reached,
    RequestAttribute,
    RowVariable,
    Subquery,
    Term,
    kind_of,
    subqueries,
)
from authz.policy.compiler.placeholders import NOW, PG_TYPES, TENANT, Dialect, Parameter, Placeholders
from authz.policy.compiler.schema import LINK_TABLE, TARGET_TABLE, Scalar, Schema, ToOne, ToTargets

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

WITNESSES = {"Grant": "practitioner", "StandingShare": "colleague"}
"""The types of row that a permit names as its witness, and the field that says who holds it."""


class SelectBuilder:
    """Builds FROM and WHERE of one query. `ends` is the SQL for the subject and the resource, if they are known.

    `tables` stand first in FROM, and `keys` is the SQL for ids that they hold, by the numbers of the rows. A query with
    an `outer` builder is a subquery: rows that are not its own are those of the query around. A query with a `whole`
    is a part of that query, for a table in its FROM.
    """

    def __init__(
        self,
        schema: Schema,
        query: Query,
        placeholders: Placeholders,
        ends: Ends,
        *,
        keys: Mapping[int, str] | None = None,
        tables: Sequence[str] = (),
        outer: "SelectBuilder | None" = None,
        whole: "SelectBuilder | None" = None,
    ) -> None:
        self.schema = schema
        self.query = query
        self.placeholders = placeholders
        self.dialect = placeholders.dialect
        self.ends = ends
        self.outer = outer
        self.own = set(query.rows) | (set() if outer else set(query.ends))
        self.keys = dict(keys or {})
        around = outer or whole
        self.known_ends: Ends = around.known_ends if around else ends
        self.known_tables: tuple[str, ...] = whole.known_tables if whole else tuple(tables)
        self.prefix = placeholders.fresh("s") if outer or whole else ""
        self.tables: list[str] = list(tables)
        self.where: list[str] = []
        self.aliases: dict[tuple[int, tuple[str, ...]], str] = {}
        self.links: dict[tuple[int, tuple[str, ...]], str] = {}
        self.targets = 0
        self.foreign_keys = dict(_foreign_keys(query))
        self.tenant = query.of_tenant
        joins = plan_joins(self, WITNESSES.keys())
        absorbed = [condition for join in joins for condition in join.absorbed or ()]
        absorbed_rows = {row for join in joins if join.absorbed is not None for row in join.side}
        for join in joins:
            join_closure(self, join)
        for row in query.rows:
            if row not in absorbed_rows:
                self._alias(row, ())
        for condition in query.conditions:
            if condition in absorbed:
                continue
            predicate = self._predicate(condition)
            if predicate and predicate not in self.where:
                self.where.append(predicate)
        if around is None:
            for row in query.ends:
                if row.number not in self.foreign_keys and schema.types[row.type].stored:
                    self._alias(row, ())

    def body(self) -> str:
        """Return ``FROM … WHERE …``."""
        tables = f"FROM {', '.join(self.tables)}" if self.tables else ""
        return f"{tables} WHERE {' AND '.join(self.where)}" if self.where else tables

    def witness(self) -> tuple[str, str, str]:
        """Return the SQL for the witness: the ids of the subject's grant and standing share, and its end."""
        null = "NULL" if self.dialect == "sqlite" else "NULL::bigint"
        ids, until = {"Grant": null, "StandingShare": null}, null
        for condition in self.query.conditions:
            sides = (condition.left, condition.right)
            for held, holder in (sides, sides[::-1]):
                if condition.op != "=" or holder != self.query.ends[0] or not isinstance(held, Path):
                    continue
                if held.fields == (WITNESSES.get(held.row.type),):
                    alias = self._alias(held.row, ())
                    ids[held.row.type], until = f"{alias}.id", f"{alias}.ended_at"
        return ids["Grant"], ids["StandingShare"], until

    # Subqueries, and the parts of closures.

    def _subquery(self, inner: Subquery) -> str:
        query = replace(self.query, rows=inner.rows, conditions=inner.conditions)
        with self.placeholders.inner_tables():
            body = SelectBuilder(self.schema, query, self.placeholders, self.ends, outer=self).body()
            return self.placeholders.with_tables(f"SELECT 1 {body}")

    def part(
        self,
        rows: Sequence[RowVariable],
        conditions: Sequence[Condition],
        ends: Ends,
        *,
        keys: Mapping[int, str],
        tables: Sequence[str],
    ) -> "SelectBuilder":
        """Return a builder of some rows and conditions of the query, or of a step, for a table that stands in FROM."""
        query = replace(self.query, rows=tuple(rows), conditions=tuple(conditions))
        arguments = (self.schema, query, self.placeholders, ends)
        return SelectBuilder(*arguments, keys=keys, tables=tables, outer=self.outer, whole=self)

    def is_known(self, row: RowVariable) -> bool:
        """Return whether the id of a row is known before the select is asked."""
        return row not in self.own or (row.number < 2 and self.known_ends[row.number] is not None)

    # Rows and paths.

    def key(self, term: RowVariable | Path, optional: bool = False) -> str:
        """Return the SQL for the id of a row. A path that leads nowhere meets nothing, or is NULL if `optional`."""
        if isinstance(term, RowVariable):
            if self.outer is not None and term not in self.own:
                return self.outer.key(term)
            if term.number in self.keys:
                return self.keys[term.number]
            if term.number < 2:
                end = self.ends[term.number]
                if end is not None:
                    return end
                foreign_key = self.foreign_keys.get(term.number)
                if foreign_key is not None:
                    return self.key(foreign_key)
            return f"{self._alias(term, ())}.id"
        assert isinstance(term.property, ToOne)
        if self._is_sent(term):
            return self._sent(term, "string")
        base = self._alias(term.row, term.fields[:-1])
        if term.property.column is not None:
            return f"{base}.{term.property.column}"
        name = quoted(term.property.name, self.dialect)
        if optional:
            return f"(SELECT target FROM {LINK_TABLE} WHERE entity_id = {base}.pk AND property = {name})"
        at = (term.row.number, term.fields)
        if at not in self.links:
            self.links[at] = f"{self.prefix}l{len(self.links)}"
            self.tables.append(f"{LINK_TABLE} AS {self.links[at]}")
            holder = self.schema.type_at(term.row.type, term.fields[:-1])
            self.where += [
                f"{self.links[at]}.entity_id = {base}.pk",
                f"{self.links[at]}.property = {name}",
                f"{self.links[at]}.type = {quoted(holder.name, self.dialect)}",
            ]
        return f"{self.links[at]}.target"

    def _alias(self, row: RowVariable, fields: tuple[str, ...]) -> str:
        """Return the alias of the table that holds a row; join the table when it is first needed."""
        if self.outer is not None and not fields and row not in self.own:
            return self.outer._alias(row, ())
        at = (row.number, fields)
        if at in self.aliases:
            return self.aliases[at]
        type_of_row = self.schema.type_at(row.type, fields)
        alias = self.aliases[at] = f"{self.prefix}t{len(self.aliases)}"
        key = None
        if fields:
            relation = self.schema.type_at(row.type, fields[:-1]).properties[fields[-1]]
            assert isinstance(relation, ToOne)
            key = self.key(Path(row, fields, relation))
        elif row.number in self.keys:
            key = self.keys[row.number]
        elif row.number < 2:
            foreign_key = self.foreign_keys.get(row.number)
            key = self.ends[row.number] or (self.key(foreign_key) if foreign_key is not None else None)
        self.tables.append(f'"{type_of_row.table}" AS {alias}')
        if key is not None:
            self.where.append(f"{alias}.id = {key}")
        if type_of_row.declared:
            now = self.placeholders(NOW)
            kind = f"{alias}.type = {quoted(type_of_row.name, self.dialect)}"
            if key is None and self.dialect == "sqlite":
                # Without statistics SQLite would take a type to be few rows, and begin with all of it.
                kind = f"likelihood({kind}, 0.9)"
            self.where += [kind, f"{alias}.started_at <= {now}", f"{alias}.ended_at > {now}"]
            if self.tenant:  # what belongs to another clinic is not there, whatever it leads to (decision 0064)
                self.where.append(f"{alias}.subscription IN ('', {self.placeholders(TENANT)})")
        return alias

    # Conditions.

    def _predicate(self, condition: Condition) -> str:
        op, left, right = condition.op, condition.left, condition.right
        if _compares_requested(condition):
            assert isinstance(left, RequestAttribute)
            assert isinstance(right, RequestAttribute)
            return self.placeholders(Parameter(left.path, "boolean", op, right.path))
        if condition.offset:
            moved = f"({self._scalar(right, 'datetime')} + {condition.offset})"
            return f"{self._scalar(left, 'datetime')} {op} {moved}"
        if op in FUNCTIONS:
            network = str(right.value) if isinstance(right, Const) else ""
            texts = (self._scalar(left, "string"), self._scalar(right, "string"))
            return function_sql(op, *texts, network, self.dialect)
        if isinstance(right, RequestAttribute) and op == "in":
            return self._in_requested(left, right)
        if op == "in":
            assert isinstance(right, LiteralList)
            kind = kind_of(left) or kind_of(right.items[0]) or "string"
            listed = ", ".join(self._scalar(item, kind) for item in right.items)
            return f"{self._scalar(left, kind)} IN ({listed})"
        if op == "exists":
            assert isinstance(left, Path)
            self._alias(left.row, left.fields)
            return ""
        if op == "holds":
            return self._holds(left, right)
        if isinstance(right, Absence):
            absent = [f"NOT EXISTS ({self._subquery(each)})" for each in right.subqueries]
            return " AND ".join([*absent, *self._presences(right)])
        if isinstance(right, Reached):
            return ""
        if op in ("=", "!="):
            return self._equality(op, left, right)
        kind = kind_of(left) or kind_of(right) or "string"
        collate = ' COLLATE "C"' if kind == "string" and self.dialect == "postgresql" else ""
        return f"{self._scalar(left, kind)}{collate} {op} {self._scalar(right, kind)}{collate}"

    def _equality(self, op: str, left: Term, right: Term) -> str:
        if right == NIL:
            return f"{self._side(left, 'present', True)} IS {'NOT ' if op == '!=' else ''}NULL"
        kind = kind_of(left) or kind_of(right) or "string"
        if self._is_sent(left) or self._is_sent(right):  # a property that the question lacks meets nothing
            return f"{self._side(left, kind, False)} {'<>' if op == '!=' else '='} {self._side(right, kind, False)}"
        loose = _nullable(left) and _nullable(right)
        if op == "=" and not loose:
            first, second = self._side(left, kind, False), self._side(right, kind, False)
            return "" if first == second else f"{first} = {second}"
        first, second = self._side(left, kind, True), self._side(right, kind, True)
        if self.dialect == "sqlite":
            return f"{first} IS {'NOT ' if op == '!=' else ''}{second}"
        return f"{first} IS {'NOT ' if op == '=' else ''}DISTINCT FROM {second}"

    def _side(self, term: Term, kind: str, optional: bool) -> str:
        if isinstance(term, RowVariable) or (isinstance(term, Path) and isinstance(term.property, ToOne)):
            return self.key(term, optional)
        return self._scalar(term, kind)

    def _scalar(self, term: Term, kind: str) -> str:
        match term:
            case Const():
                return quoted(term.value, self.dialect)
            case Now():
                return self.placeholders(NOW)
            case Instant():
                return str(term.micros)
            case RequestAttribute():
                return self.placeholders(Parameter(term.path, kind))
            case Path(property=Scalar() as prop):
                return self._stored(term, prop)
        raise AssertionError(f"{term} is not a scalar")

    def _stored(self, term: Path, prop: Scalar) -> str:
        row, before = term.row, term.fields[:-1]
        if prop.name == "id" and not (row.number > 1 and not before):
            if not before:
                return self.key(row)
            holder = self.schema.type_at(row.type, before[:-1]).properties[before[-1]]
            assert isinstance(holder, ToOne)
            if self.schema.types[holder.target].properties["id"] == prop and not holder.nullable:
                return self.key(Path(row, before, holder))
        if self._is_sent(term):
            return self._sent(term, prop.kind)
        alias = self._alias(row, before)
        if prop.column is not None:
            return f"{alias}.{prop.column}"
        stored = _json_value(alias, prop, self.dialect)
        if prop.from_request and row.number < 2 and not before and self.known_ends[row.number] is not None:
            name = ("subject", "resource")[row.number]
            return f"COALESCE({self.placeholders(Parameter((name, prop.name), prop.kind))}, {stored})"
        return stored

    def _is_sent(self, term: Term) -> bool:
        """Return whether a term is a property that comes with the question, because its row is not stored."""
        return isinstance(term, Path) and len(term.fields) == 1 and not self.schema.types[term.row.type].stored

    def _sent(self, term: Path, kind: str) -> str:
        """Return the SQL for a property of a row that is not stored, which is the subject or the resource."""
        return self.placeholders(Parameter((("subject", "resource")[term.row.number], term.fields[0]), kind))

    def _presences(self, absence: Absence) -> Iterable[str]:
        """Yield for each property that comes with the question, and that an absence reads: it is there.

        A relation that comes with the question leads to a row that exists. A comparison with nil itself asks for less.
        """
        inner = subqueries([Condition("absent", NIL, absence)])
        read = [
            term
            for each in inner
            for condition in each.conditions
            for term in (condition.left, condition.right)
            if isinstance(term, Path) and not self.schema.types[term.row.type].stored
            if not (condition.op in ("=", "!=") and condition.right == NIL and len(term.fields) == 1)
        ]
        for row, name in dict.fromkeys((term.row, term.fields[0]) for term in read):
            prop = self.schema.types[row.type].properties[name]
            if isinstance(prop, ToOne):
                self._alias(row, (name,))
            else:
                assert isinstance(prop, Scalar)
                yield f"{self._sent(Path(row, (name,), prop), prop.kind)} IS NOT NULL"

    def _leads_to(self, left: Path, right: Term) -> str:
        """Join the row that says that a relation leads to another row; return the condition on its id."""
        assert isinstance(right, RowVariable | Path)
        assert right.type is not None
        base = self._alias(left.row, left.fields[:-1])
        alias = f"{self.prefix}m{self.targets}"
        self.targets += 1
        self.tables.append(f"{TARGET_TABLE} AS {alias}")
        holder = self.schema.type_at(left.row.type, left.fields[:-1])
        self.where += [
            f"{alias}.entity_id = {base}.pk",
            f"{alias}.property = {quoted(left.property.name, self.dialect)}",
            f"{alias}.type = {quoted(holder.name, self.dialect)}",
            f"{alias}.target_type = {quoted(self.schema.types[right.type].name, self.dialect)}",
        ]
        return f"{alias}.target = {self.key(right)}"

    def _holds(self, left: Term, right: Term) -> str:
        assert isinstance(left, Path)
        if isinstance(left.property, ToTargets):
            return self._leads_to(left, right)
        assert isinstance(left.property, Scalar)
        alias = self._alias(left.row, left.fields[:-1])
        item = self._scalar(right, left.property.kind)
        if self.dialect == "sqlite":
            path = f"{alias}.properties, {_json_path(left.property.name)}"
            return f"EXISTS (SELECT 1 FROM json_each({path}) AS held WHERE held.value = {item})"
        cast = PG_TYPES[left.property.kind]
        return f"({alias}.properties -> {quoted(left.property.name, self.dialect)}) @> to_jsonb(({item})::{cast})"

    def _in_requested(self, item: Term, requested: RequestAttribute) -> str:
        """Return the condition that a value is in a list of the request, which is bound as a JSON text."""
        kind = kind_of(item) or "string"
        listed = self.placeholders(Parameter(requested.path, f"{kind} list"))
        if self.dialect == "sqlite":
            return f"{self._scalar(item, kind)} IN (SELECT value FROM json_each({listed}))"
        items = f"SELECT item::{PG_TYPES[kind]} FROM jsonb_array_elements_text({listed}) AS listed (item)"
        return f"{self._scalar(item, kind)} IN ({items})"


def _foreign_keys(query: Query) -> Iterable[tuple[int, Path]]:
    """Yield the number of an end with a stored foreign key that equals its id, so that its table need not be read."""
    for condition in query.conditions:
        for path, row in ((condition.left, condition.right), (condition.right, condition.left)):
            if (
                condition.op == "="
                and isinstance(row, RowVariable)
                and row.number < 2
                and isinstance(path, Path)
                and path.row.number > 1
                and len(path.fields) == 1
                and isinstance(path.property, ToOne)
                and not path.property.nullable
            ):
                yield row.number, path


def _compares_requested(condition: Condition) -> bool:
    """Return whether a condition compares two values of the request, which `plan` does before it sends a statement."""
    requested = isinstance(condition.left, RequestAttribute) and isinstance(condition.right, RequestAttribute)
    return requested and not condition.offset and condition.op not in FUNCTIONS


def _nullable(term: Term) -> bool:
    return isinstance(term, RequestAttribute) or (isinstance(term, Path) and term.property.nullable)


def _json_value(alias: str, prop: Scalar, dialect: Dialect) -> str:
    if dialect == "sqlite":
        return f"json_extract({alias}.properties, {_json_path(prop.name)})"
    return f"({alias}.properties ->> {quoted(prop.name, dialect)})::{PG_TYPES[prop.kind]}"


def _json_path(name: str) -> str:
    """Return the SQL of the path to a property in SQLite."""
    return quoted(f"$.{name}" if _PLAIN_NAME.fullmatch(name) else f'$."{name}"', "sqlite")


def quoted(value: str | float | bool | None, dialect: Dialect) -> str:
    """Return a literal of the policy as SQL; ``%`` is doubled for psycopg, which reads it as a placeholder."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper() if dialect == "postgresql" else str(int(value))
    if isinstance(value, str):
        text = "'" + value.replace("'", "''") + "'"
        return text.replace("%", "%%") if dialect == "postgresql" else text
    return repr(value)
