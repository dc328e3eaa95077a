"""The compiler: reads Polar, resolves it to conjunctive queries, and writes those as SQL.

The passes, each with an example in its module: `lexer`, `parser`, `rule_numbers`, `blocks`, `checks`, `resolve` (with
`comparisons`, `recursion` and `clause_index`), `lives`, `simplify`, `lint`; for each question `tenancy` and `sql` (with
`select_builder`, `closures`, `functions` and, for the lists of the pages, `filtered`). `load` runs them. `explain`
describes a query for people. Oso is imported by `oso_reader` alone, where it is installed, and used at load time alone.
The compiler reads no database and decides nothing.
"""

from authz.policy.compiler.explain import Clause, clauses
from authz.policy.compiler.filtered import BY_NAME, SORT_KEY, ListQuery, row_exists
from authz.policy.compiler.ir import Query
from authz.policy.compiler.load import CompiledPolicy, compile_texts, load, version_of
from authz.policy.compiler.placeholders import LIST_KINDS, Dialect, Parameter, Statement
from authz.policy.compiler.schema import Schema, Type, read_schema
from authz.policy.compiler.sql import SqlWriter, page_sql
from authz.policy.compiler.tenancy import restrict_facts_to_tenant, restrict_to_tenant

__all__ = [
    "BY_NAME",
    "LIST_KINDS",
    "SORT_KEY",
    "Clause",
    "CompiledPolicy",
    "Dialect",
    "ListQuery",
    "Parameter",
    "Query",
    "Schema",
    "SqlWriter",
    "Statement",
    "Type",
    "clauses",
    "compile_texts",
    "load",
    "page_sql",
    "read_schema",
    "restrict_facts_to_tenant",
    "restrict_to_tenant",
    "row_exists",
    "version_of",
]
