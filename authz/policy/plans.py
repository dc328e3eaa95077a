"""The plans of one policy on one database, each compiled to SQL when it is first needed and kept."""

from typing import Literal, NamedTuple

from authz.database import Database
from authz.policy.compiler import (
    Clause,
    CompiledPolicy,
    ListQuery,
    Query,
    SqlWriter,
    Statement,
    clauses,
    restrict_facts_to_tenant,
    restrict_to_tenant,
)
from authz.policy.plan import Plan

_MOST_PLANS = 10_000
_MOST_PROBES = 1000
"""The most columns of a statement that explains; PostgreSQL takes 1,664."""

Question = Literal[
    "evaluation",
    "evaluations",
    "resources",
    "subjects",
    "common subjects",
    "list by name",
    "list by id",
    "actions",
    "matrix",
]
PlanKey = tuple[Question, str, str, str, bool, bool]
"""A kind of question, subject type, action or role, resource type; then whether it has a tenant, and is of a role."""


class Planned(NamedTuple):
    """A plan, and the queries that it asks; a row of the plan names its query by the index in `queries`."""

    plan: Plan
    queries: tuple[Query, ...]


class Probes(NamedTuple):
    """The plans of an explanation: their rows together begin with `existence` probes, then two for each clause."""

    plans: list[Plan]
    existence: int
    sentences: list[tuple[Query, list[Clause]]]


class Plans:
    """Makes and keeps the plans of one policy on one database."""

    def __init__(self, policy: CompiledPolicy, database: Database) -> None:
        self.policy = policy
        self.version = policy.version
        self.database = database
        self.cached: dict[PlanKey, Planned] = {}
        self._filtered: dict[tuple[ListQuery, str, str, str, bool], Planned] = {}
        self._probes: dict[tuple[str, str, str, bool], Probes] = {}
        self._existences: dict[tuple[str, bool], Plan] = {}
        self._writer = SqlWriter(policy.types, database.dialect)

    def plan(
        self,
        question: Question,
        subject_type: str,
        action: str,
        resource_type: str,
        tenant: str | None = None,
        of_role: bool = False,
    ) -> Planned | None:
        """Return the plan for a kind of question about an action, or about a role; None if no rule can permit."""
        key = (question, subject_type, action, resource_type, tenant is not None, of_role)
        try:
            return self.cached[key]
        except KeyError:
            return self._make(key, question, tenant)

    def filtered(
        self, wanted: ListQuery, subject_type: str, action: str, resource_type: str, tenant: str | None
    ) -> Planned | None:
        """Return the plan of a filtered list; None if no rule can permit the action, or give the role."""
        key = (wanted, subject_type, action, resource_type, tenant is not None)
        if key not in self._filtered:
            queries = self._restricted(self.queries(subject_type, action, resource_type), tenant)
            giving = self.queries(subject_type, wanted.role, resource_type, of_role=True) if wanted.role else ()
            giving = self._restricted(giving, tenant)
            if not queries or (wanted.role and not giving):
                return None
            self._filtered[key] = Planned(Plan(self._writer.filtered(wanted, queries, giving)), queries)
        return self._filtered[key]

    def queries(self, subject_type: str, action: str, resource_type: str, of_role: bool = False) -> tuple[Query, ...]:
        """Return the queries by which the policy permits an action or gives a role; "" stands for every action."""
        subject, resource = (self.policy.types.named(name) for name in (subject_type, resource_type))
        if subject is None or resource is None:
            return ()
        source = self.policy.role_queries if of_role else self.policy.queries
        queries = source.get((subject.polar, resource.polar), ())
        return tuple(query for query in queries if action in ("", query.action) or query.action is None)

    def probes(self, subject_type: str, action: str, resource_type: str, tenant: str | None) -> Probes:
        """Return the plan that explains a question; some rule must be able to permit it."""
        key = (subject_type, action, resource_type, tenant is not None)
        return self._probes.get(key) or self._make_probes(key, tenant)

    def existence(self, type_name: str, tenant: str | None) -> Plan | None:
        """Return the plan that asks whether a row exists, its id as subject and resource; None for an unknown type."""
        declared = self.policy.types.named(type_name)
        if declared is None or not declared.stored:
            return None
        key = (type_name, tenant is not None)
        if key not in self._existences:
            self._existences[key] = Plan(self._writer.probes(self._existence(declared.polar, declared.polar, tenant)))
        return self._existences[key]

    def _existence(self, subject: str, resource: str, tenant: str | None) -> list[Query]:
        """Return the queries that are met if subject and resource exist; with a tenant, if both belong to it."""
        both = Query(subject, resource, None, (), (), ())
        return [both] if tenant is None else list(restrict_to_tenant(both, self.policy.types))

    def _make(self, key: PlanKey, question: Question, tenant: str | None) -> Planned | None:
        _, subject_type, action, resource_type, _, of_role = key
        queries = self._restricted(self.queries(subject_type, action, resource_type, of_role), tenant)
        if not queries:
            return None
        planned = Planned(Plan(self._write(question, queries)), queries)
        if len(self.cached) < _MOST_PLANS:
            self.cached[key] = planned
        return planned

    def _restricted(self, queries: tuple[Query, ...], tenant: str | None) -> tuple[Query, ...]:
        """Return the queries, with a tenant restricted to it."""
        if tenant is None:
            return queries
        return tuple(narrow for query in queries for narrow in restrict_to_tenant(query, self.policy.types))

    def _make_probes(self, key: tuple[str, str, str, bool], tenant: str | None) -> Probes:
        schema = self.policy.types
        queries = self.queries(*key[:3])
        sentences = [(query, clauses(query, schema)) for query in queries]
        probes = [
            probe
            for _, clauses_of in sentences
            for clause in clauses_of
            for probe in (clause.probe, clause.anytime or clause.probe)
        ]
        if tenant is not None:
            probes = [restrict_facts_to_tenant(probe, schema) for probe in probes]
        existence = self._existence(queries[0].subject, queries[0].resource, tenant)
        every = [*existence, *probes]
        parts = (every[begin : begin + _MOST_PROBES] for begin in range(0, len(every), _MOST_PROBES))
        probes_of_key = Probes([Plan(self._writer.probes(part)) for part in parts], len(existence), sentences)
        if len(self._probes) < _MOST_PLANS:
            self._probes[key] = probes_of_key
        return probes_of_key

    def _write(self, question: Question, queries: tuple[Query, ...]) -> Statement:
        writer = self._writer
        match question:
            case "evaluation":
                return writer.evaluation(queries)
            case "evaluations":
                return writer.evaluations(queries)
            case "resources":
                return writer.search(queries, "resource")
            case "subjects":
                return writer.search(queries, "subject")
            case "common subjects":
                return writer.common_subjects(queries)
            case "list by name" | "list by id":
                return writer.listing(queries, by_name=question == "list by name")
            case "actions":
                return writer.actions(queries, self.policy.actions(queries[0].resource))
            case "matrix":
                return writer.matrix(queries)
