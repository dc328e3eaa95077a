"""Conjunctive queries to SQL: every row and every to-one path a table alias, every condition a predicate.

One statement answers one question, whatever the policy. What is known only when the question comes (the ends, the
instant, the request's values) is a named parameter; nothing that a caller sends is ever part of the text.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from authz.policy.compiler.ir import (
    NIL,
    Asked,
    Condition,
    Const,
    Listed,
    Now,
    Path,
    Query,
    RowVariable,
    Term,
    kind_of,
)
from authz.policy.compiler.schema import LINK_TABLE, Scalar, Schema, ToOne, Type
from authz.policy.compiler.tenancy import TENANT_ID
from authz.texts import LONGEST_SORT_KEY

Dialect = Literal["sqlite", "postgresql"]
Ends = tuple[str | None, str | None]
"""The SQL that stands for the subject and for the resource; None where the statement looks for it."""

WITNESSES = {"Grant": "practitioner", "StandingShare": "colleague"}
"""The types of row that a permit names as its witness, and the field that says who holds them."""

_PG_TYPES = {
    "string": "text",
    "integer": "bigint",
    "boolean": "boolean",
    "datetime": "bigint",
    "number": "float8",
    "present": "text",
}


@dataclass(frozen=True)
class Parameter:
    """A value bound when the question comes: its name (`("now",)`, `("context", "ip")`, …) and kind."""

    name: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Statement:
    """SQL text and the parameters that it takes, in order; `listed` are those that stand beside each pair."""

    sql: str
    parameters: tuple[Parameter, ...]
    listed: tuple[Parameter, ...] = ()


SUBJECT = Parameter(("subject",), "string")
RESOURCE = Parameter(("resource",), "string")
NOW = Parameter(("now",), "datetime")
AFTER = Parameter(("after",), "string")
LIMIT = Parameter(("limit",), "integer")
PAIRS = Parameter(("pairs",), "json")
AFTER_KEY = Parameter(("after_key",), "string")
WORDS = Parameter(("words",), "json")
TEXT = Parameter(("text",), "string")
TENANT = Parameter(TENANT_ID.path, "string")


class SqlWriter:
    """Writes statements for one vocabulary in one dialect."""

    def __init__(self, types: Schema, dialect: Dialect) -> None:
        self.types = types
        self.dialect = dialect

    def evaluation(self, queries: Sequence[Query]) -> Statement:
        """Subject and resource known: one row ``(way, grant, standing share, until)`` if any query is met.

        `way` is the index in `queries`.
        """
        holes = _Holes(self.dialect)
        ends = (holes(SUBJECT), holes(RESOURCE))
        arms = [self._witnessed(query, way, holes, ends) for way, query in enumerate(queries)]
        return holes.statement("\nUNION ALL\n".join(arms) + "\nLIMIT 1")

    def evaluations(self, queries: Sequence[Query]) -> Statement:
        """Many pairs at once: rows ``(pair, found)``, `found` being NULL or JSON of what an evaluation's row holds.

        What came with each question stands beside its pair, in the order of the statement's `listed`.
        """
        holes = _Beside(self.dialect)
        ends = ("asked.subject", "asked.resource")
        met = "\nUNION ALL\n".join(self._witnessed(query, way, holes, ends) for way, query in enumerate(queries))
        pairs, packed = holes(PAIRS), "json_array(way, held, share, until)"
        columns = "".join([", value ->> 0 AS subject, value ->> 1 AS resource", *holes.columns()])
        asked = f"SELECT key AS pair{columns} FROM json_each({pairs})"
        if self.dialect == "postgresql":
            packed = "json_build_array(way, held, share, until)::text"
            asked = (
                f"SELECT n - 1 AS pair{columns} "
                f"FROM jsonb_array_elements({pairs}::jsonb) WITH ORDINALITY AS listed (value, n)"
            )
        # One pair at a time, so that each is looked up by its keys whatever the planner thinks of the list.
        return holes.statement(f"SELECT pair, (SELECT {packed} FROM ({met}\nLIMIT 1) AS met) FROM ({asked}) AS asked")

    def search(self, queries: Sequence[Query], end: Literal["subject", "resource"]) -> Statement:
        """One end known: the ids at the other `end`, ordered, each once, after one id and up to a number."""
        holes = _Holes(self.dialect)
        number = 0 if end == "subject" else 1
        ends = (None, holes(RESOURCE)) if number == 0 else (holes(SUBJECT), None)
        arms = []
        for query in queries:
            arm = _Arm(self.types, query, holes, ends)
            key = arm.key(query.ends[number])
            arm.where.append(f"{key} > {holes(AFTER)}")
            arms.append(
                f"SELECT * FROM (SELECT DISTINCT {key} AS id {arm.body()} ORDER BY id LIMIT {holes(LIMIT)}) AS arm"
            )
        return holes.statement("\nUNION\n".join(arms) + f"\nORDER BY id LIMIT {holes(LIMIT)}")

    def listing(self, queries: Sequence[Query], *, by_name: bool) -> Statement:
        """Subject known: rows ``(id, sort key)`` of the resources whose search key holds every word, or whose id is the
        text; ordered by sort key and id, or by id alone, after one of these places and up to a number.
        """
        holes = _Holes(self.dialect)
        arms = []
        for query in queries:
            arm = _Arm(self.types, query, holes, (holes(SUBJECT), None))
            arms.append(f"SELECT {arm.key(query.ends[1])} AS id {arm.body()}")
        table = self.types.types[queries[0].resource].table
        return holes.statement(
            f'SELECT listed.id, {SORT_KEY} FROM "{table}" AS listed WHERE listed.id IN ({" UNION ".join(arms)})'
            f" AND {listed(holes, by_name=by_name, dialect=self.dialect)}"
        )

    def actions(self, queries: Sequence[Query], named: Sequence[str]) -> Statement:
        """Both ends known: one row for each action of `named` that is allowed."""
        holes = _Holes(self.dialect)
        ends = (holes(SUBJECT), holes(RESOURCE))
        arms = []
        for action in named:
            ways = [query for query in queries if query.action in (action, None)]
            met = " OR ".join(f"EXISTS (SELECT 1 {_Arm(self.types, one, holes, ends).body()})" for one in ways)
            arms.append(f"SELECT {quoted(action, self.dialect)} WHERE {met}")
        return holes.statement("\nUNION ALL\n".join(arms))

    def matrix(self, queries: Sequence[Query]) -> Statement:
        """Both ends looked for: rows ``(subject, resource, way, grant, standing share)`` in order of the pair."""
        holes = _Holes(self.dialect)
        arms = []
        for way, query in enumerate(queries):
            arm = _Arm(self.types, query, holes, (None, None))
            ends = ", ".join(arm.key(row) for row in query.ends)
            grant, share, _ = arm.witness()
            arms.append(f"SELECT {ends}, {way}, {grant}, {share} {arm.body()}")
        return holes.statement("\nUNION ALL\n".join(arms) + "\nORDER BY 1, 2, 3")

    def probes(self, queries: Sequence[Query]) -> Statement:
        """Both ends known: one row, a truth for each query, in order. Explanations are made of these."""
        holes = _Holes(self.dialect)
        ends = (holes(SUBJECT), holes(RESOURCE))
        met = [f"EXISTS (SELECT 1 {_Arm(self.types, query, holes, ends).body()})" for query in queries]
        return holes.statement("SELECT " + ",\n".join(met))

    def _witnessed(self, query: Query, way: int, holes: "_Holes", ends: Ends) -> str:
        arm = _Arm(self.types, query, holes, ends)
        grant, share, until = arm.witness()
        return f"SELECT {way} AS way, {grant} AS held, {share} AS share, {until} AS until {arm.body()}"


SORT_KEY = f"substr(listed.search_key, 1, {LONGEST_SORT_KEY})"


def listed(holes: Callable[[Parameter], str], *, by_name: bool, dialect: str) -> str:
    """The conditions and the order of a page of a searched list, of the table ``listed``."""
    order = f"{SORT_KEY}, listed.id" if by_name else "listed.id"
    place = f"({order}) > ({holes(AFTER_KEY)}, {holes(AFTER)})" if by_name else f"listed.id > {holes(AFTER)}"
    text, words = holes(TEXT), holes(WORDS)
    if dialect == "postgresql":
        word = f"jsonb_array_elements_text({words}::jsonb) AS word (value)"
        lacks = f'SELECT 1 FROM {word} WHERE strpos(listed.search_key, word.value COLLATE "C") = 0'
    else:
        lacks = f"SELECT 1 FROM json_each({words}) AS word WHERE instr(listed.search_key, word.value) = 0"
    return f"{place} AND (listed.id = {text} OR NOT EXISTS ({lacks})) ORDER BY {order} LIMIT {holes(LIMIT)}"


class _Holes:
    """The parameters of one statement, each with one hole however often it is used."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.parameters: list[Parameter] = []

    def __call__(self, parameter: Parameter) -> str:
        if parameter not in self.parameters:
            self.parameters.append(parameter)
        number = self.parameters.index(parameter)
        if self.dialect == "sqlite":
            return f":p{number}"
        cast = _PG_TYPES.get(parameter.kind)
        return f"%(p{number})s::{cast}" if cast else f"%(p{number})s"

    def statement(self, sql: str) -> Statement:
        return Statement(sql, tuple(self.parameters))


class _Beside(_Holes):
    """The parameters of a statement about many pairs: what came with a question is a column beside its pair."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.listed: list[Parameter] = []

    def __call__(self, parameter: Parameter) -> str:
        if len(parameter.name) == 1:
            return super().__call__(parameter)
        if parameter not in self.listed:
            self.listed.append(parameter)
        return f"asked.v{self.listed.index(parameter)}"

    def columns(self) -> Iterator[str]:
        for at, parameter in enumerate(self.listed):
            cast = f"::{_PG_TYPES[parameter.kind]}" if self.dialect == "postgresql" else ""
            yield f", (value ->> {at + 2}){cast} AS v{at}"

    def statement(self, sql: str) -> Statement:
        return Statement(sql, tuple(self.parameters), tuple(self.listed))


class _Arm:
    """FROM and WHERE of one query."""

    def __init__(self, types: Schema, query: Query, holes: _Holes, ends: Ends) -> None:
        self.types = types
        self.query = query
        self.holes = holes
        self.dialect = holes.dialect
        self.ends = ends
        self.tables: list[str] = []
        self.where: list[str] = []
        self.aliases: dict[tuple[int, tuple[str, ...]], str] = {}
        self.links: dict[tuple[int, tuple[str, ...]], str] = {}
        self.stand_in = dict(_stand_ins(query))
        self.tenant = any(TENANT_ID in (one.left, one.right) for one in query.conditions)
        for row in query.rows:
            self._alias(row, ())
        for condition in query.conditions:
            predicate = self._predicate(condition)
            if predicate and predicate not in self.where:
                self.where.append(predicate)
        for row in query.ends:
            if row.number not in self.stand_in:
                self._alias(row, ())

    def body(self) -> str:
        """``FROM … WHERE …``."""
        condition = f" WHERE {' AND '.join(self.where)}" if self.where else ""
        return f"FROM {', '.join(self.tables)}{condition}"

    def witness(self) -> tuple[str, str, str]:
        """The SQL for the grant, the standing share and the end of the row through which the subject holds this."""
        found = {"Grant": "NULL", "StandingShare": "NULL"}
        until = "NULL"
        for condition in self.query.conditions:
            sides = (condition.left, condition.right)
            for held, holder in (sides, sides[::-1]):
                if condition.op != "=" or holder != self.query.ends[0] or not isinstance(held, Path):
                    continue
                if held.fields == (WITNESSES.get(held.row.type),):
                    found[held.row.type] = f"{self._alias(held.row, ())}.id"
                    until = f"{self._alias(held.row, ())}.ended_at"
        grant, share = (one if one != "NULL" else self._null() for one in found.values())
        return grant, share, until if until != "NULL" else self._null()

    def _null(self) -> str:
        return "NULL" if self.dialect == "sqlite" else "NULL::bigint"

    # Rows and paths.

    def key(self, term: RowVariable | Path, optional: bool = False) -> str:
        """The id of a row. A path that may lead nowhere drops the query then, or is NULL where `optional`."""
        if isinstance(term, RowVariable):
            if term.number < 2:
                end = self.ends[term.number]
                if end is not None:
                    return end
                stand_in = self.stand_in.get(term.number)
                if stand_in is not None:
                    return self.key(stand_in)
            return f"{self._alias(term, ())}.id"
        assert isinstance(term.property, ToOne)
        base = self._alias(term.row, term.fields[:-1])
        if term.property.column is not None:
            return f"{base}.{term.property.column}"
        name = quoted(term.property.name, self.dialect)
        if optional:
            return f"(SELECT target FROM {LINK_TABLE} WHERE entity_id = {base}.pk AND property = {name})"
        at = (term.row.number, term.fields)
        if at not in self.links:
            self.links[at] = f"l{len(self.links)}"
            self.tables.append(f"{LINK_TABLE} AS {self.links[at]}")
            holder = self._row_type(term.row, term.fields[:-1])
            self.where += [
                f"{self.links[at]}.entity_id = {base}.pk",
                f"{self.links[at]}.property = {name}",
                f"{self.links[at]}.type = {quoted(holder.name, self.dialect)}",
            ]
        return f"{self.links[at]}.target"

    def _row_type(self, row: RowVariable, fields: tuple[str, ...]) -> Type:
        found = self.types.types[row.type]
        for name in fields:
            prop = found.properties[name]
            assert isinstance(prop, ToOne)
            found = self.types.types[prop.target]
        return found

    def _alias(self, row: RowVariable, fields: tuple[str, ...]) -> str:
        """The alias of the table that holds a row, joined when it is first needed."""
        at = (row.number, fields)
        if at in self.aliases:
            return self.aliases[at]
        found = self._row_type(row, fields)
        alias = self.aliases[at] = f"t{len(self.aliases)}"
        reached = None
        if fields:
            holder = self._row_type(row, fields[:-1])
            prop = holder.properties[fields[-1]]
            assert isinstance(prop, ToOne)
            reached = self.key(Path(row, fields, prop))
        elif row.number < 2:
            stand_in = self.stand_in.get(row.number)
            reached = self.ends[row.number] or (self.key(stand_in) if stand_in is not None else None)
        self.tables.append(f'"{found.table}" AS {alias}')
        if reached is not None:
            self.where.append(f"{alias}.id = {reached}")
        if found.declared:
            now = self.holes(NOW)
            kind = f"{alias}.type = {quoted(found.name, self.dialect)}"
            if reached is None and self.dialect == "sqlite":
                # Without statistics SQLite would take a type to be few rows, and begin with all of it.
                kind = f"likelihood({kind}, 0.9)"
            self.where += [
                kind,
                f"{alias}.started_at <= {now}",
                f"{alias}.ended_at > {now}",
            ]
            if self.tenant:  # what belongs to another clinic is not there, whatever it leads to (decision 0064)
                self.where.append(f"{alias}.subscription IN ('', {self.holes(TENANT)})")
        return alias

    # Conditions.

    def _predicate(self, condition: Condition) -> str:
        op, left, right = condition.op, condition.left, condition.right
        if op == "in":
            assert isinstance(right, Listed)
            kind = kind_of(left) or kind_of(right.items[0]) or "string"
            listed = ", ".join(self._scalar(item, kind) for item in right.items)
            return f"{self._scalar(left, kind)} IN ({listed})"
        if op == "exists":
            assert isinstance(left, Path)
            self._alias(left.row, left.fields)
            return ""
        if op == "holds":
            return self._holds(left, right)
        if op in ("=", "!="):
            return self._equality(op, left, right)
        kind = kind_of(left) or kind_of(right) or "string"
        collate = ' COLLATE "C"' if kind == "string" and self.dialect == "postgresql" else ""
        return f"{self._scalar(left, kind)}{collate} {op} {self._scalar(right, kind)}{collate}"

    def _equality(self, op: str, left: Term, right: Term) -> str:
        if right == NIL:
            return f"{self._side(left, 'present', True)} IS {'NOT ' if op == '!=' else ''}NULL"
        kind = kind_of(left) or kind_of(right) or "string"
        loose = _nullable(left) and _nullable(right)
        if op == "=" and not loose:
            one, other = self._side(left, kind, False), self._side(right, kind, False)
            return "" if one == other else f"{one} = {other}"
        one, other = self._side(left, kind, True), self._side(right, kind, True)
        if self.dialect == "sqlite":
            return f"{one} IS {'NOT ' if op == '!=' else ''}{other}"
        return f"{one} IS {'NOT ' if op == '=' else ''}DISTINCT FROM {other}"

    def _side(self, term: Term, kind: str, optional: bool) -> str:
        if isinstance(term, RowVariable) or (isinstance(term, Path) and isinstance(term.property, ToOne)):
            return self.key(term, optional)
        return self._scalar(term, kind)

    def _scalar(self, term: Term, kind: str) -> str:
        if isinstance(term, Const):
            return quoted(term.value, self.dialect)
        if isinstance(term, Now):
            return self.holes(NOW)
        if isinstance(term, Asked):
            return self.holes(Parameter(term.path, kind))
        assert isinstance(term, Path)
        assert isinstance(term.property, Scalar)
        return self._stored(term, term.property)

    def _stored(self, term: Path, prop: Scalar) -> str:
        row, before = term.row, term.fields[:-1]
        if prop.name == "id" and not (row.number > 1 and not before):
            if not before:
                return self.key(row)
            holder = self._row_type(row, before[:-1]).properties[before[-1]]
            assert isinstance(holder, ToOne)
            if self.types.types[holder.target].properties["id"] == prop and not holder.nullable:
                return self.key(Path(row, before, holder))
        alias = self._alias(row, before)
        if prop.column is not None:
            return f"{alias}.{prop.column}"
        stored = _json_value(alias, prop, self.dialect)
        if prop.from_request and row.number < 2 and not before and self.ends[row.number] is not None:
            name = ("subject", "resource")[row.number]
            return f"COALESCE({self.holes(Parameter((name, prop.name), prop.kind))}, {stored})"
        return stored

    def _holds(self, left: Term, right: Term) -> str:
        assert isinstance(left, Path)
        assert isinstance(left.property, Scalar)
        alias = self._alias(left.row, left.fields[:-1])
        item = self._scalar(right, left.property.kind)
        if self.dialect == "sqlite":
            path = f"{alias}.properties, '$.{left.property.name}'"
            return f"EXISTS (SELECT 1 FROM json_each({path}) AS held WHERE held.value = {item})"
        cast = _PG_TYPES[left.property.kind]
        return f"({alias}.properties -> '{left.property.name}') @> to_jsonb(({item})::{cast})"


def _stand_ins(query: Query) -> Iterable[tuple[int, Path]]:
    """For an end: a stored foreign key that equals its id, so that its own table need not be read."""
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


def _nullable(term: Term) -> bool:
    return isinstance(term, Asked) or (isinstance(term, Path) and term.property.nullable)


def _json_value(alias: str, prop: Scalar, dialect: Dialect) -> str:
    if dialect == "sqlite":
        return f"json_extract({alias}.properties, '$.{prop.name}')"
    return f"({alias}.properties ->> '{prop.name}')::{_PG_TYPES[prop.kind]}"


def quoted(value: str | float | bool | None, dialect: Dialect) -> str:
    """A literal of the policy as SQL. (``%`` is doubled for psycopg, which reads it as a placeholder.)"""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper() if dialect == "postgresql" else str(int(value))
    if isinstance(value, str):
        text = "'" + value.replace("'", "''") + "'"
        return text.replace("%", "%%") if dialect == "postgresql" else text
    return repr(value)
