"""Policies to plans: reads Polar, resolves it to conjunctive queries, and writes those as SQL.

The only importer of Oso, at load time alone. It reads no database and decides nothing.
"""

from authz.compiler.load import CompiledPolicy, compile_texts, load, version_of
from authz.compiler.sql import SORT_KEY, Dialect, Parameter, Statement, Writer, listed
from authz.compiler.tenancy import facts_within, within
from authz.compiler.terms import Query
from authz.compiler.vocabulary import Type, Vocabulary, vocabulary
from authz.compiler.words import Clause, clauses

__all__ = [
    "SORT_KEY",
    "Clause",
    "CompiledPolicy",
    "Dialect",
    "Parameter",
    "Query",
    "Statement",
    "Type",
    "Vocabulary",
    "Writer",
    "clauses",
    "compile_texts",
    "facts_within",
    "listed",
    "load",
    "version_of",
    "vocabulary",
    "within",
]
