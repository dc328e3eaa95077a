"""The policy decision point: it decides, searches and explains, and it only reads.

A decision is one SQL statement over the stored facts at one instant; the PDP holds no copy of a fact.
To decide, the PDP

1. chooses the policy that answers, and the instant (`_resolve`);
2. takes the plan for this kind of question from `plans`. Without a plan no rule can permit: the decision is a denial;
3. fills the plan with the ids, the instant and the request, and runs the statement (`evaluation`, `execution`);
4. reads the rows: the first row names the derivation that permits, and the witness. No row is a denial.

An unknown type, action or id is denied. If the database cannot answer, `Unavailable` is raised, and there is no
decision. The caller records the answers (`authz.record`).

A question is about an instant, which the caller passes as `now` or as `at`. With `now` this PDP's own policy answers
about the facts at that instant; without either, `now` is the present. With `at`, an instant of the past, the policy
that was in force then answers, or `PolicyUnknown` is raised.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from time import time_ns
from types import TracebackType

import orjson

from authz.database import Database, Limits, close_all, connect, require_current
from authz.database.pending import Pending
from authz.domain import format_instant, to_micros
from authz.errors import InvalidInput, PolicyUnknown
from authz.policy.compiler import CompiledPolicy, ListQuery, load
from authz.policy.decision import Decision, Explanation, MatrixEntry, Ref
from authz.policy.evaluation import evaluate, evaluate_batch
from authz.policy.execution import Rows, fetch, send, stream
from authz.policy.explanations import explain_row
from authz.policy.history import PolicyHistory, compile_version, last_activation
from authz.policy.plan import Arguments, PagePosition, Plan, Request, WrongType
from authz.policy.plans import Planned, Plans, Question
from authz.settings import shipped_folder
from authz.texts import is_stored_id

_PAIRS_AT_ONCE = 1000


def open_pdp(
    database: str,
    policies: str | Path | None = None,
    clock: Callable[[], datetime] | None = None,
    limits: Limits | None = None,
) -> "PDP":
    """Return a PDP on a database URL and a policy directory, to be used with ``with``.

    By default it decides by the policy that was last activated in the database, or else by the shipped one. One PDP
    a process; each thread that uses the PDP gets its own connection. `limits` are the time limits of PostgreSQL's
    sessions; the default suits a command. Raises `PolicyRefused` for a policy that cannot be compiled, `PolicyUnknown`
    for an activated one whose text was changed, `InvalidInput` for a bad URL, and `Unavailable` for a database that is
    missing, cannot be reached or lacks a migration.
    """
    policy = None if policies is None else load(policies)
    connected = connect(database) if limits is None else connect(database, limits=limits)
    require_current(connected)
    activation = last_activation(connected) if policy is None else None
    if activation is not None:
        policy = compile_version(connected, activation.version)
    return PDP(connected, policy or load(shipped_folder("policies")), clock)


class PDP:
    """Answers questions about one `database` by one `policy`, whose `version` each decision names.

    If a question names a `tenant`, a subscription, nothing of another subscription exists for this question
    (`authz.policy.compiler.tenancy`). `request` holds the properties and the context that the app sent with a question.
    """

    def __init__(self, database: Database, policy: CompiledPolicy, clock: Callable[[], datetime] | None = None) -> None:
        self.database = database
        self.policy = policy
        self.version = policy.version
        self._clock = clock
        self._plans = Plans(policy, database)
        self._history = PolicyHistory(database, self.with_policy)

    def __enter__(self) -> "PDP":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection and, on PostgreSQL, those of the pool."""
        close_all(self.database)

    # The policy that answers.

    def in_force(self, at: datetime) -> "PDP":
        """Return a PDP with the policy that was in force in this database at an instant. Raises `PolicyUnknown`."""
        try:
            version = self.version_at(at)
            if version is None:
                raise PolicyUnknown("no service had begun here by then")
            return self.of_version(version)
        except PolicyUnknown as unknown:
            raise PolicyUnknown(f"the policy of {format_instant(at)} is not known: {unknown}") from unknown

    def version_at(self, at: datetime) -> str | None:
        """Return the policy version in force at an instant; None before the first service. Raises `PolicyUnknown`."""
        return self._history.version_at(at)

    def of_version(self, version: str) -> "PDP":
        """Return a PDP with the policy of this version: its own, or one that served here. Raises `PolicyUnknown`."""
        return self if version == self.version else self._history.of_version(version)

    def with_policy(self, policy: CompiledPolicy) -> "PDP":
        """Return a PDP of another policy on the same database."""
        return PDP(self.database, policy, self._clock)

    def prepare_as(self, other: "PDP") -> None:
        """Write the plans that another PDP has, so that the first questions do not wait for them."""
        for key in list(other._plans.cached):
            self._plans.plan(*key[:4], "any" if key[4] else None, key[5])

    def _resolve(self, at: datetime | None, now: datetime | None) -> tuple["PDP", int]:
        """Return the PDP that answers a question, and the instant of the question in microseconds."""
        if at is None:
            return self, self._instant(now)
        if now is not None:
            raise InvalidInput("a question is about `at` or `now`, not about both")
        return self.in_force(at), to_micros(at)

    # Decisions.

    def evaluate(
        self,
        subject: Ref,
        action: str,
        resource: Ref,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        request: Request | None = None,
        tenant: str | None = None,
    ) -> Decision:
        """Decide whether a subject may do something to a resource.

        Raises `Unavailable` if the database cannot answer, and `PolicyUnknown` if the policy at `at` is not known.
        """
        pdp, instant = self._resolve(at, now)
        return evaluate(pdp._plans, subject, action, resource, instant, request or {}, tenant).result()

    def evaluate_many(
        self,
        questions: Sequence[tuple[Ref, str, Ref]],
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        requests: Sequence[Request] | None = None,
        tenant: str | None = None,
    ) -> list[Decision]:
        """Decide questions, in their order, by one statement for each kind of question among them.

        `requests` has the request of each question, in the same order.
        """
        pdp, instant = self._resolve(at, now)
        groups: dict[tuple[str, str, str], list[int]] = {}
        for index, (subject, action, resource) in enumerate(questions):
            groups.setdefault((subject[0], action, resource[0]), []).append(index)
        batches: list[tuple[list[int], Pending[list[Decision]]]] = []
        for indexes in groups.values():
            for begin in range(0, len(indexes), _PAIRS_AT_ONCE):
                batch = indexes[begin : begin + _PAIRS_AT_ONCE]
                batch_questions = [questions[index] for index in batch]
                batch_requests = [requests[index] for index in batch] if requests else [{}] * len(batch)
                batches.append((batch, evaluate_batch(pdp._plans, batch_questions, instant, batch_requests, tenant)))
        decisions: dict[int, Decision] = {}
        for batch, pending_decisions in batches:
            decisions.update(zip(batch, pending_decisions.result(), strict=True))
        return [decisions[index] for index in range(len(questions))]

    # Searches.

    def search_resources(
        self,
        subject: Ref,
        action: str,
        resource_type: str,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        limit: int | None = None,
        after: str | None = None,
        request: Request | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """Return the ids of the resources that a subject may do something to, ordered, each once.

        A page of at most `limit` ids begins after the id `after`. Raises `InvalidInput` for a negative limit, and for a
        type that is not stored.
        """
        pdp, instant = self._resolve(at, now)
        pdp._require_stored(resource_type, "resources")
        planned = pdp._plans.plan("resources", subject[0], action, resource_type, tenant)
        known: Arguments = {"subject": subject[1], "now": instant, "tenant": tenant}
        return pdp._search(planned, subject[1], known, limit, after, request)

    def search_subjects(
        self,
        subject_type: str,
        action: str,
        resource: Ref,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        limit: int | None = None,
        after: str | None = None,
        request: Request | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """Return the ids of the subjects that may do something to a resource, a page as `search_resources` does."""
        pdp, instant = self._resolve(at, now)
        pdp._require_stored(subject_type, "subjects")
        planned = pdp._plans.plan("subjects", subject_type, action, resource[0], tenant)
        known: Arguments = {"resource": resource[1], "now": instant, "tenant": tenant}
        return pdp._search(planned, resource[1], known, limit, after, request)

    def search_subjects_of_all(
        self, subject_type: str, action: str, resources: Sequence[Ref], *, now: datetime
    ) -> list[str]:
        """Return the ids of the subjects that may do something to every one of these resources of one type, ordered.

        None are returned for no resource. Each resource is named once.
        """
        if not resources or not all(is_stored_id(name) for _, name in resources):
            return []
        planned = self._plans.plan("common subjects", subject_type, action, resources[0][0])
        if planned is None:
            return []
        pairs = [planned.plan.pair("", name, {}) for _, name in resources]
        return [
            row[0] for row in self._rows(planned.plan, {"now": to_micros(now), "pairs": orjson.dumps(pairs).decode()})
        ]

    def _require_stored(self, type_name: str, end: str) -> None:
        """Raise `InvalidInput` for a type that is not stored: its rows are known only when a question brings them."""
        declared = self.policy.types.named(type_name)
        if declared is not None and not declared.stored:
            raise InvalidInput(f"the type {type_name} is not stored, so its {end} cannot be searched for")

    def _search(
        self,
        planned: Planned | None,
        known_id: str,
        arguments: Arguments,
        limit: int | None,
        after: str | None,
        request: Request | None,
    ) -> list[str]:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidInput("a limit is a number from 0")
        if planned is None or limit == 0 or not is_stored_id(known_id):
            return []
        unlimited = None if self.database.dialect == "postgresql" else -1
        arguments["after"], arguments["limit"] = after or "", unlimited if limit is None else min(limit, 2**62)
        return [row[0] for row in self._rows_of_request(planned.plan, arguments, request)]

    def list_resources(
        self,
        subject: Ref,
        action: str,
        resource_type: str,
        position: PagePosition,
        *,
        now: datetime,
        tenant: str | None = None,
    ) -> list[tuple[str, str]]:
        """Return a page of the resources that a subject may do something to: ids with their sort keys, ordered.

        Only for a resource type that has a search key, such as a patient.
        """
        return self._list(subject, action, resource_type, position, to_micros(now), tenant)

    def list_resources_of_role(
        self,
        subject: Ref,
        role: str,
        resource_type: str,
        position: PagePosition,
        *,
        now: datetime,
        tenant: str | None = None,
    ) -> list[tuple[str, str]]:
        """Return a page like `list_resources`, of the resources on which the policy gives a subject a role."""
        return self._list(subject, role, resource_type, position, to_micros(now), tenant, of_role=True)

    def list_filtered(
        self,
        subject: Ref,
        action: str,
        resource_type: str,
        wanted: ListQuery,
        arguments: Arguments,
        *,
        now: datetime,
        tenant: str | None = None,
    ) -> list[tuple[str, str]]:
        """Return the resources of a filtered list that a subject may do something to: ids with sort keys, in order.

        `arguments` are the values that the list takes besides subject, instant and tenant.
        """
        planned = self._plans.filtered(wanted, subject[0], action, resource_type, tenant)
        if planned is None or not is_stored_id(subject[1]):
            return []
        known: Arguments = {**arguments, "subject": subject[1], "now": to_micros(now), "tenant": tenant}
        return [(row[0], row[1]) for row in self._rows(planned.plan, known)]

    def _list(
        self,
        subject: Ref,
        action: str,
        resource_type: str,
        position: PagePosition,
        now: int,
        tenant: str | None,
        of_role: bool = False,
    ) -> list[tuple[str, str]]:
        question: Question = "list by name" if position.by_name else "list by id"
        planned = self._plans.plan(question, subject[0], action, resource_type, tenant, of_role)
        if planned is None or not is_stored_id(subject[1]):
            return []
        arguments: Arguments = {"subject": subject[1], "now": now, "tenant": tenant, **position.values()}
        return [(row[0], row[1]) for row in self._rows(planned.plan, arguments)]

    def search_actions(
        self,
        subject: Ref,
        resource: Ref,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        request: Request | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """Return the actions that a subject may take on a resource, in the policy's order."""
        pdp, instant = self._resolve(at, now)
        planned = pdp._plans.plan("actions", subject[0], "", resource[0], tenant)
        if planned is None or not is_stored_id(subject[1]) or not is_stored_id(resource[1]):
            return []
        arguments: Arguments = {"subject": subject[1], "resource": resource[1], "now": instant, "tenant": tenant}
        return [row[0] for row in pdp._rows_of_request(planned.plan, arguments, request)]

    def matrix(
        self,
        subject_type: str,
        action: str,
        resource_type: str,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        request: Request | None = None,
    ) -> Iterator[MatrixEntry]:
        """Yield every permitted pair of subject and resource once, in order, with its rule and grant.

        There are none if the policy cannot compare a value of the request, for its type.
        """
        pdp, instant = self._resolve(at, now)
        pdp._require_stored(subject_type, "subjects")
        pdp._require_stored(resource_type, "resources")
        planned = pdp._plans.plan("matrix", subject_type, action, resource_type)
        if planned is None:
            return
        previous: Ref | None = None
        try:
            arguments = planned.plan.bind({"now": instant}, request or {})
        except WrongType:
            return
        for subject, resource, index, grant, _ in stream(self.database, planned.plan.sql, arguments):
            if (subject, resource) != previous:
                previous = (subject, resource)
                rules = planned.queries[index].rules
                yield MatrixEntry(subject, resource, rules[0] if rules else None, grant)

    def plan_of(self, question: Question, subject_type: str, action: str, resource_type: str) -> Plan | None:
        """Return the plan of a kind of question; None if no rule can permit."""
        planned = self._plans.plan(question, subject_type, action, resource_type)
        return None if planned is None else planned.plan

    def exists(self, ref: Ref, *, now: datetime | None = None, tenant: str | None = None) -> bool:
        """Return whether a row exists at an instant; with a tenant, whether the row belongs to the tenant, too."""
        plan = self._plans.existence(ref[0], tenant)
        if plan is None or not is_stored_id(ref[1]):
            return False
        known: Arguments = {"subject": ref[1], "resource": ref[1], "now": self._instant(now), "tenant": tenant}
        return any(self._rows(plan, known)[0])

    # Explanations.

    def explain(
        self,
        subject: Ref,
        action: str,
        resource: Ref,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        request: Request | None = None,
        tenant: str | None = None,
    ) -> Explanation:
        """Decide, and return for each derivation the conditions that this subject and this resource meet and fail.

        There are no derivations in an explanation if the subject or the resource does not belong to the tenant.
        """
        pdp, instant = self._resolve(at, now)
        decision = evaluate(pdp._plans, subject, action, resource, instant, request or {}, tenant).result()
        if (
            decision.reason not in ("permitted", "denied")
            or not is_stored_id(subject[1])
            or not is_stored_id(resource[1])
        ):
            return Explanation(decision, ())
        probes = pdp._plans.probes(subject[0], action, resource[0], tenant)
        arguments: Arguments = {"subject": subject[1], "resource": resource[1], "now": instant, "tenant": tenant}
        row = [met for plan in probes.plans for met in pdp._rows(plan, arguments, request)[0]]
        return Explanation(
            decision, explain_row(probes, row, subject, resource, pdp.policy.sentences, tenant is not None)
        )

    # Instants and rows.

    def _instant(self, now: datetime | None) -> int:
        if now is not None:
            return to_micros(now)
        return time_ns() // 1000 if self._clock is None else to_micros(self._clock())

    def _rows(self, plan: Plan, arguments: Arguments, request: Request | None = None) -> Rows:
        """Return the rows of a plan. Raises `WrongType` and `Unavailable`."""
        return fetch(self.database, send(self.database, plan.sql, plan.bind(arguments, request or {})))

    def _rows_of_request(self, plan: Plan, arguments: Arguments, request: Request | None) -> Rows:
        """Return the rows of a plan; none if the policy cannot compare a value of the request, for its type."""
        try:
            return self._rows(plan, arguments, request)
        except WrongType:
            return []
