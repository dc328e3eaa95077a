"""Policies to plans: reads Polar, resolves it to conjunctive queries, and writes those as SQL.

The only importer of Oso, at load time alone. It reads no database and decides nothing.
"""

from authz.policy.compiler.explain import Clause, clauses
from authz.policy.compiler.ir import Query
from authz.policy.compiler.load import CompiledPolicy, compile_texts, load, version_of
from authz.policy.compiler.schema import Schema, Type, read_schema
from authz.policy.compiler.sql import SORT_KEY, Dialect, Parameter, SqlWriter, Statement, listed
from authz.policy.compiler.tenancy import restrict_facts_to_tenant, restrict_to_tenant

__all__ = [
    "SORT_KEY",
    "Clause",
    "CompiledPolicy",
    "Dialect",
    "Parameter",
    "Query",
    "Statement",
    "Type",
    "Schema",
    "SqlWriter",
    "clauses",
    "compile_texts",
    "listed",
    "load",
    "restrict_facts_to_tenant",
    "restrict_to_tenant",
    "version_of",
    "read_schema",
]
