"""The AuthZEN Authorization API 1.0: evaluations, searches and the metadata of this PDP."""

from api.authzen import evaluation, metadata, search
from api.authzen.blueprint import access

__all__ = ["access", "evaluation", "metadata", "search"]
