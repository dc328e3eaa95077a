"""The SQL of a filtered list: rows of one type that the policy permits, narrowed and ordered by its caller.

    ListQuery(among="listed.subscription_id = {clinic}", order="listed.id"), action view
    →  SELECT listed.id, … FROM "patient" AS listed WHERE listed.subscription_id = :clinic
       AND ((SELECT 1 …) IS NOT NULL OR …) AND … ORDER BY listed.id LIMIT :limit OFFSET :offset

The policy is asked row by row, so that a list in the order of an index ends with the page, however many rows there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from authz.policy.compiler.ir import Query
from authz.policy.compiler.placeholders import LIMIT, NOW, SUBJECT, TEXT, WORDS, Parameter, Placeholders, Statement
from authz.policy.compiler.schema import Schema
from authz.policy.compiler.select_builder import SelectBuilder
from authz.policy.compiler.unions import any_of, union
from authz.texts import LONGEST_SORT_KEY

SORT_KEY = f"substr(listed.search_key, 1, {LONGEST_SORT_KEY})"
BY_NAME = f"{SORT_KEY}, listed.id"

_NAMED = {
    "subject": SUBJECT,
    "now": NOW,
    "clinic": Parameter(("clinic",), "string"),
    "soon": Parameter(("soon",), "datetime"),
}


@dataclass(frozen=True)
class ListQuery:
    """A list of patients: SQL for the rows among which they are, for their order, and for more tables.

    The row is called ``listed``; ``{subject}``, ``{now}``, ``{clinic}`` and ``{soon}`` stand for values. With `role`
    only rows are listed on which the policy gives this role.
    """

    among: str = ""
    order: str = BY_NAME
    tables: str = ""
    role: str = ""


def filtered_statement(
    schema: Schema, placeholders: Placeholders, wanted: ListQuery, permitting: Sequence[Query], giving: Sequence[Query]
) -> Statement:
    """Return the statement of a filtered list, rows ``(id, sort key)``.

    `permitting` are the queries of the action, `giving` those of the role.
    """
    subject = placeholders(SUBJECT)
    permits = any_of(
        [
            row_exists(
                placeholders.with_tables(
                    f"SELECT 1 {SelectBuilder(schema, query, placeholders, (subject, 'listed.id')).body()}"
                )
            )
            for query in permitting
        ]
    )
    conditions = [wanted.among.format(**{name: placeholders(value) for name, value in _NAMED.items()})]
    if wanted.role:
        selects = []
        for query in giving:
            select = SelectBuilder(schema, query, placeholders, (subject, None))
            selects.append(f"SELECT {select.key(query.ends[1])} AS id {select.body()}")
        conditions.append(f"listed.id IN ({union(selects, 'UNION')})")
    conditions += [words_sql(placeholders, placeholders.dialect), f"({permits})"]
    table = schema.types[permitting[0].resource].table
    tables = wanted.tables.format(**{name: placeholders(value) for name, value in _NAMED.items()})
    return placeholders.statement(
        f'SELECT listed.id, {SORT_KEY} FROM {tables}"{table}" AS listed'
        f" WHERE {' AND '.join(condition for condition in conditions if condition)}"
        f" ORDER BY {wanted.order.format(**{name: placeholders(value) for name, value in _NAMED.items()})}"
        f" LIMIT {placeholders(LIMIT)} OFFSET {placeholders(Parameter(('offset',), 'integer'))}"
    )


def row_exists(select: str) -> str:
    """Return the condition that a query has a row, in the form that PostgreSQL asks row by row.

    It would answer ``EXISTS`` by reading all rows first, because it plans for any number of rows.
    """
    return f"({select} LIMIT 1) IS NOT NULL"


def words_sql(placeholders: Callable[[Parameter], str], dialect: str) -> str:
    """Return the condition that the search key of the row ``listed`` holds every word, or that its id is the text."""
    text, words = placeholders(TEXT), placeholders(WORDS)
    if dialect == "postgresql":
        word = f"jsonb_array_elements_text({words}::jsonb) AS word (value)"
        lacks = f'SELECT 1 FROM {word} WHERE strpos(listed.search_key, word.value COLLATE "C") = 0'
    else:
        lacks = f"SELECT 1 FROM json_each({words}) AS word WHERE instr(listed.search_key, word.value) = 0"
    return f"(listed.id = {text} OR NOT EXISTS ({lacks}))"
