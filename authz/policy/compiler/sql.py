"""SQL writing: the conjunctive queries of one question as one statement, whatever the policy.

    (Query 0, Query 1), subject and resource known
    →  SELECT 0 AS way, … FROM … UNION ALL SELECT 1 AS way, … FROM … LIMIT 1

Each method answers one kind of question; `select_builder` writes each query of it.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from authz.policy.compiler.closures import Ends
from authz.policy.compiler.filtered import BY_NAME, SORT_KEY, ListQuery, filtered_statement, words_sql
from authz.policy.compiler.ir import Query
from authz.policy.compiler.placeholders import (
    AFTER,
    AFTER_KEY,
    LIMIT,
    PAIRS,
    RESOURCE,
    SUBJECT,
    BatchPlaceholders,
    Dialect,
    Parameter,
    Placeholders,
    Statement,
)
from authz.policy.compiler.schema import Schema
from authz.policy.compiler.select_builder import SelectBuilder, quoted
from authz.policy.compiler.unions import any_of, union


class SqlWriter:
    """Writes statements for one schema in one dialect."""

    def __init__(self, schema: Schema, dialect: Dialect) -> None:
        self.schema = schema
        self.dialect = dialect

    def evaluation(self, queries: Sequence[Query]) -> Statement:
        """Write the statement for a known subject and resource.

        It gives one row ``(index, grant, standing share, until)`` if any query is met; `index` is that of the query.
        """
        placeholders = Placeholders(self.dialect)
        ends = (placeholders(SUBJECT), placeholders(RESOURCE))
        selects = [self._witnessed(query, index, placeholders, ends) for index, query in enumerate(queries)]
        return placeholders.statement(f"{union(selects)}\nLIMIT 1")

    def evaluations(self, queries: Sequence[Query]) -> Statement:
        """Write the statement for many pairs of subject and resource at once.

        It gives rows ``(pair, met)``; `met` is NULL or, as JSON, the row of an evaluation. The values of the request
        stand beside each pair, in the order of the statement's `per_pair`.
        """
        placeholders = BatchPlaceholders(self.dialect)
        ends = ("asked.subject", "asked.resource")
        selects = [self._witnessed(query, index, placeholders, ends) for index, query in enumerate(queries)]
        met = placeholders.with_tables(f"{union(selects)}\nLIMIT 1")
        packed = "json_array(way, held, share, until)"
        if self.dialect == "postgresql":
            packed = "json_build_array(way, held, share, until)::text"
        questions = self._pairs(placeholders)
        # One pair at a time, so that each is looked up by its keys whatever the planner thinks of the list.
        return placeholders.statement(f"SELECT pair, (SELECT {packed} FROM ({met}) AS met) FROM ({questions}) AS asked")

    def search(self, queries: Sequence[Query], end: Literal["subject", "resource"]) -> Statement:
        """Write the statement for one known end: the ids at the other `end`, ordered, each once, from a place on."""
        placeholders = Placeholders(self.dialect)
        number = 0 if end == "subject" else 1
        ends = (None, placeholders(RESOURCE)) if number == 0 else (placeholders(SUBJECT), None)
        selects = []
        for query in queries:
            select = SelectBuilder(self.schema, query, placeholders, ends)
            key = select.key(query.ends[number])
            select.where.append(f"{key} > {placeholders(AFTER)}")
            page = f"SELECT DISTINCT {key} AS id {select.body()} ORDER BY id LIMIT {placeholders(LIMIT)}"
            selects.append(f"SELECT * FROM ({page}) AS arm")
        return placeholders.statement(f"{union(selects, 'UNION')}\nORDER BY id LIMIT {placeholders(LIMIT)}")

    def common_subjects(self, queries: Sequence[Query]) -> Statement:
        """Write the statement for many resources at once: the subjects that fit every one of them, ordered.

        The resources are the pairs of `evaluations`, without a subject.
        """
        placeholders = BatchPlaceholders(self.dialect)
        bodies = []
        for query in queries:
            select = SelectBuilder(self.schema, query, placeholders, (None, "asked.resource"), tables=("asked",))
            key = select.key(query.ends[0])
            bodies.append(f"SELECT asked.pair AS pair, {key} AS id {select.body()}")
        fitting = placeholders.with_tables(union(bodies, "UNION"))
        return placeholders.statement(
            f"WITH asked AS ({self._pairs(placeholders)}) SELECT id FROM ({fitting}) AS fitting"
            " GROUP BY id HAVING COUNT(DISTINCT pair) = (SELECT COUNT(*) FROM asked) ORDER BY id"
        )

    def _pairs(self, placeholders: BatchPlaceholders) -> str:
        """Return the query of the pairs of a batch, with the values of their requests."""
        pairs = placeholders(PAIRS)
        columns = "".join([", value ->> 0 AS subject, value ->> 1 AS resource", *placeholders.columns()])
        if self.dialect == "sqlite":
            return f"SELECT key AS pair{columns} FROM json_each({pairs})"
        listed = f"jsonb_array_elements({pairs}::jsonb) WITH ORDINALITY AS listed (value, n)"
        return f"SELECT n - 1 AS pair{columns} FROM {listed}"

    def listing(self, queries: Sequence[Query], *, by_name: bool) -> Statement:
        """Write the statement for a page of the resources of a known subject: rows ``(id, sort key)``.

        A resource is listed if its search key holds every word, or if its id is the text. The order is by sort key and
        id, or by id alone.
        """
        placeholders = Placeholders(self.dialect)
        selects = []
        for query in queries:
            select = SelectBuilder(self.schema, query, placeholders, (placeholders(SUBJECT), None))
            selects.append(f"SELECT {select.key(query.ends[1])} AS id {select.body()}")
        table = self.schema.types[queries[0].resource].table
        return placeholders.statement(
            f'SELECT listed.id, {SORT_KEY} FROM "{table}" AS listed WHERE listed.id IN ({union(selects, "UNION")})'
            f" AND {page_sql(placeholders, by_name=by_name, dialect=self.dialect)}"
        )

    def filtered(self, wanted: ListQuery, permitting: Sequence[Query], giving: Sequence[Query]) -> Statement:
        """Write the statement of a filtered list of the resources of a known subject: rows ``(id, sort key)``."""
        return filtered_statement(self.schema, Placeholders(self.dialect), wanted, permitting, giving)

    def actions(self, queries: Sequence[Query], actions: Sequence[str]) -> Statement:
        """Write the statement for a known subject and resource that gives one row for each permitted action."""
        placeholders = Placeholders(self.dialect)
        ends = (placeholders(SUBJECT), placeholders(RESOURCE))
        selects = []
        for action in actions:
            granting = [query for query in queries if query.action in (action, None)]
            if granting:  # another type of subject may have actions of its own
                met = any_of([self._exists(query, placeholders, ends) for query in granting])
                selects.append(f"SELECT {quoted(action, self.dialect)} WHERE {met}")
        return placeholders.statement(union(selects))

    def matrix(self, queries: Sequence[Query]) -> Statement:
        """Write the statement for all pairs: rows ``(subject, resource, index, grant, standing share)``, in order."""
        placeholders = Placeholders(self.dialect)
        selects = []
        for index, query in enumerate(queries):
            select = SelectBuilder(self.schema, query, placeholders, (None, None))
            ends = ", ".join(select.key(row) for row in query.ends)
            grant, share, _ = select.witness()
            selects.append(f"SELECT {ends}, {index}, {grant}, {share} {select.body()}")
        return placeholders.statement(f"{union(selects)}\nORDER BY 1, 2, 3")

    def probes(self, queries: Sequence[Query]) -> Statement:
        """Write the statement for a known subject and resource that gives one row: whether each query is met."""
        placeholders = Placeholders(self.dialect)
        ends = (placeholders(SUBJECT), placeholders(RESOURCE))
        met = [self._exists(query, placeholders, ends) for query in queries]
        return placeholders.statement("SELECT " + ",\n".join(met))

    def _exists(self, query: Query, placeholders: Placeholders, ends: Ends) -> str:
        return f"EXISTS (SELECT 1 {SelectBuilder(self.schema, query, placeholders, ends).body()})"

    def _witnessed(self, query: Query, index: int, placeholders: Placeholders, ends: Ends) -> str:
        select = SelectBuilder(self.schema, query, placeholders, ends)
        grant, share, until = select.witness()
        return f"SELECT {index} AS way, {grant} AS held, {share} AS share, {until} AS until {select.body()}"


def page_sql(placeholders: Callable[[Parameter], str], *, by_name: bool, dialect: str) -> str:
    """Return the conditions and the order of a page of a searched list, for the table ``listed``."""
    order = BY_NAME if by_name else "listed.id"
    if by_name:
        place = f"({order}) > ({placeholders(AFTER_KEY)}, {placeholders(AFTER)})"
    else:
        place = f"listed.id > {placeholders(AFTER)}"
    return f"{place} AND {words_sql(placeholders, dialect)} ORDER BY {order} LIMIT {placeholders(LIMIT)}"
