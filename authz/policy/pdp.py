"""The policy decision point: decide, search, explain. Pure reads through compiled plans.

Every answer is one SQL statement over the stored facts at one instant; the PDP holds no copy of a fact. Whatever it
does not know (a type, an action, an id) is denied. A database that cannot answer raises `Unavailable`: then there is
no decision, neither permit nor deny. Records are left to the caller.

A question is about an instant. `now` is the present, or an instant of the facts that a caller chooses: this PDP's own
policy answers. `at` is a past instant: the policy that was in force then answers, or `PolicyUnknown` is raised.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any

import orjson
import peewee

from authz.database import (
    FAULTS,
    Database,
    Limits,
    PostgresqlDatabase,
    close_all,
    connect,
    discard_connection,
    pending,
    unpooled_connection,
)
from authz.domain import format_instant, to_micros
from authz.errors import Fault, InvalidInput, PolicyRefused, PolicyUnknown, Unavailable
from authz.policy.compiler import (
    Clause,
    CompiledPolicy,
    Query,
    SqlWriter,
    Statement,
    clauses,
    load,
    restrict_facts_to_tenant,
    restrict_to_tenant,
)
from authz.policy.decision import Decision, Derivation, Explanation, MatrixEntry, Ref
from authz.policy.history import PolicyHistory
from authz.policy.plan import BASIC, PagePosition, Plan, Properties, WrongType
from authz.settings import shipped_folder
from authz.texts import is_stored_id

_PAIRS_AT_ONCE = 1000


def open_pdp(
    database: str,
    policies: str | Path | None = None,
    clock: Callable[[], datetime] | None = None,
    version: str = "",
    limits: Limits | None = None,
) -> "PDP":
    """A PDP on a database URL and a policy directory (default: the shipped policies), to be used with ``with``.

    One per process; each thread that uses it gets a connection of its own. Raises `PolicyRefused` for a policy that
    cannot be compiled or is not of the `version` that it shall have, `InvalidInput` for a bad URL, and `Unavailable`
    for a database that is missing, cannot be reached or lacks a migration. `limits` are those of PostgreSQL's sessions;
    by default those of a command.
    """
    directory = shipped_folder("policies") if policies is None else policies
    policy = load(directory)
    if version not in ("", policy.version):
        raise PolicyRefused([Fault(str(directory), 0, 0, f"is of version {policy.version}, not {version}")])
    connected = connect(database) if limits is None else connect(database, limits=limits)
    if isinstance(connected, peewee.SqliteDatabase) and not Path(connected.database).is_file():
        raise Unavailable(f"there is no database at {connected.database}; make one with: caregrant migrate")
    lacking = pending(connected)
    if lacking:
        close_all(connected)
        raise Unavailable(f"the database lacks {', '.join(lacking)}; bring it up to date with: caregrant migrate")
    return PDP(connected, policy, clock)


class PDP:
    """Answers questions about one database by one policy. `policy` and `version` say which.

    Every question may be asked within one subscription: then nothing else exists (`authz.policy.compiler.tenancy`).
    """

    def __init__(self, database: Database, policy: CompiledPolicy, clock: Callable[[], datetime] | None = None) -> None:
        self.database = database
        self.policy = policy
        self.version = policy.version
        self._clock = clock
        self._writer = SqlWriter(policy.types, database.dialect)  # type: ignore[arg-type]
        self._plans: dict[tuple[Any, ...], tuple[Plan, tuple[Query, ...]] | None] = {}
        self._explained: dict[tuple[Any, ...], tuple[int, Plan, list[tuple[Query, list[Clause]]]]] = {}
        self._history = PolicyHistory(database, self._by)

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
        """The PDP by the policy that was in force here at an instant. Raises `PolicyUnknown`."""
        try:
            version = self.version_at(at)
            if version is None:
                raise PolicyUnknown("no service had begun here by then")
            return self.of_version(version)
        except PolicyUnknown as unknown:
            raise PolicyUnknown(f"the policy of {format_instant(at)} is not known: {unknown}") from unknown

    def version_at(self, at: datetime) -> str | None:
        """The version that was in force here at an instant; None if no service had begun. Raises `PolicyUnknown`."""
        return self._history.version_at(at)

    def of_version(self, version: str) -> "PDP":
        """The PDP by a policy that served here, or this one. Raises `PolicyUnknown`."""
        return self if version == self.version else self._history.of_version(version)

    def _by(self, policy: CompiledPolicy) -> "PDP":
        return PDP(self.database, policy, self._clock)

    def _resolve(self, at: datetime | None, now: datetime | None) -> tuple["PDP", int]:
        """Who answers a question, and about which instant, in microseconds."""
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
        request: Mapping[str, Properties] | None = None,
        tenant: str | None = None,
    ) -> Decision:
        """May this subject do this to this resource, now or at a past instant?

        `request` is what came with the question: ``{"action": …, "context": …, "subject": …, "resource": …}``, each
        a mapping of properties. Raises `Unavailable` if the database cannot answer.
        """
        pdp, instant = self._resolve(at, now)
        return pdp._ask(subject, action, resource, instant, request or {}, tenant)()

    def _ask(
        self,
        subject: Ref,
        action: str,
        resource: Ref,
        now: int,
        request: Mapping[str, Properties],
        tenant: str | None,
    ) -> Callable[[], Decision]:
        """What waits for a decision: on a connection that is `pipelined`, the question is on its way."""
        found = self._plan("evaluation", subject[0], action, resource[0], tenant)
        if found is None or not is_stored_id(subject[1]) or not is_stored_id(resource[1]):
            unknown = self._unknown(subject[0], action, resource[0], now)
            return lambda: unknown
        plan, queries = found
        try:
            asked = self._sent(plan, (subject[1], resource[1], now, tenant), request)
        except WrongType as error:
            refused = Decision(False, "wrong_type", self.version, now, detail=str(error))
            return lambda: refused

        def answer() -> Decision:
            rows = self._fetched(asked)
            if not rows:
                return Decision(False, "denied", self.version, now)
            way, grant, share, until = rows[0]
            return Decision(True, "permitted", self.version, now, queries[way].rules, grant, share, until)

        return answer

    def evaluate_many(
        self,
        questions: Sequence[tuple[Ref, str, Ref]],
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        requests: Sequence[Mapping[str, Properties]] | None = None,
        tenant: str | None = None,
    ) -> list[Decision]:
        """Decisions in the order of the questions, by one statement for each kind of question among them.

        `requests` is what came with each question, as for `evaluate`; nothing where it is left out.
        """
        pdp, instant = self._resolve(at, now)
        groups: dict[tuple[str, str, str], list[int]] = {}
        for index, (subject, action, resource) in enumerate(questions):
            groups.setdefault((subject[0], action, resource[0]), []).append(index)
        sent: list[tuple[list[int], Callable[[], list[Decision]]]] = []
        for indexes in groups.values():
            for begin in range(0, len(indexes), _PAIRS_AT_ONCE):
                some = indexes[begin : begin + _PAIRS_AT_ONCE]
                asked = [questions[index] for index in some]
                came = [requests[index] for index in some] if requests else [{}] * len(some)
                sent.append((some, pdp._ask_several(asked, instant, came, tenant)))
        decisions: list[Any] = [None] * len(questions)
        for some, answer in sent:
            for index, decision in zip(some, answer(), strict=True):
                decisions[index] = decision
        return decisions

    def _ask_several(
        self,
        questions: Sequence[tuple[Ref, str, Ref]],
        now: int,
        requests: Sequence[Mapping[str, Properties]],
        tenant: str | None,
    ) -> Callable[[], list[Decision]]:
        """What waits for the decisions on questions of one kind, as `_ask`."""
        (subject, _), action, (resource, _) = questions[0]
        if len(questions) == 1:
            one = self._ask(*questions[0], now, requests[0], tenant)
            return lambda: [one()]
        decisions = [self._unknown(subject, action, resource, now)] * len(questions)
        found = self._plan("evaluations", subject, action, resource, tenant)
        if found is None:
            return lambda: decisions
        plan, queries = found
        pairs: list[Any] = []
        places: list[int] = []
        for place, ((_, who), _, (_, what)) in enumerate(questions):
            if not is_stored_id(who) or not is_stored_id(what):
                continue
            try:
                pairs.append(plan.beside(who, what, requests[place]))
                places.append(place)
            except WrongType as error:
                decisions[place] = Decision(False, "wrong_type", self.version, now, detail=str(error))
        asked = self._sent(plan, (None, None, now, tenant, None, None, orjson.dumps(pairs).decode()), {})

        def answer() -> list[Decision]:
            rules, version = [query.rules for query in queries], self.version
            for pair, met in self._fetched(asked):
                if met is not None:
                    way, grant, share, until = orjson.loads(met)
                    decisions[places[pair]] = Decision(True, "permitted", version, now, rules[way], grant, share, until)
            return decisions

        return answer

    def _unknown(self, subject_type: str, action: str, resource_type: str, now: int) -> Decision:
        subject, resource = (self.policy.types.named(name) for name in (subject_type, resource_type))
        if subject is None or resource is None:
            return Decision(False, "unknown_type", self.version, now)
        if not self._queries(subject_type, action, resource_type):
            return Decision(False, "unknown_action", self.version, now)
        return Decision(False, "denied", self.version, now)

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
        request: Mapping[str, Properties] | None = None,
        tenant: str | None = None,
        without: str = "",
    ) -> list[str]:
        """The ids of the resources that the subject may do this to, in order, each once.

        A page follows a page by ``after=`` the last id. `without` leaves out the ways on which this rule lies, and
        what is permitted by them alone. Raises `InvalidInput` for a negative limit.
        """
        pdp, instant = self._resolve(at, now)
        plan = pdp._plan("resources", subject[0], action, resource_type, tenant, without)
        return pdp._search(plan, (subject[1], None), instant, limit, after, request, tenant)

    def list_resources(
        self,
        subject: Ref,
        action: str,
        resource_type: str,
        place: PagePosition,
        *,
        now: datetime,
        tenant: str | None = None,
        without: str = "",
    ) -> list[tuple[str, str]]:
        """As `search_resources`, of a type that has a search key: the next ids from a place in a list, each with its
        sort key.
        """
        question = "listing by name" if place.by_name else "listing by id"
        found = self._plan(question, subject[0], action, resource_type, tenant, without)
        if found is None or not is_stored_id(subject[1]):
            return []
        known = {"subject": subject[1], "now": to_micros(now), "tenant": tenant, **place.values()}
        return [(row[0], row[1]) for row in self._rows(found[0], tuple(map(known.get, BASIC)), None)]

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
        request: Mapping[str, Properties] | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """The ids of the subjects that may do this to the resource, in order, each once; pages as above."""
        pdp, instant = self._resolve(at, now)
        plan = pdp._plan("subjects", subject_type, action, resource[0], tenant)
        return pdp._search(plan, (None, resource[1]), instant, limit, after, request, tenant)

    def _search(
        self,
        found: tuple[Plan, tuple[Query, ...]] | None,
        ends: tuple[str | None, str | None],
        now: int,
        limit: int | None,
        after: str | None,
        request: Mapping[str, Properties] | None,
        tenant: str | None,
    ) -> list[str]:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidInput("a limit is a number from 0")
        if found is None or limit == 0 or not all(end is None or is_stored_id(end) for end in ends):
            return []
        most = (None if self.database.dialect == "postgresql" else -1) if limit is None else min(limit, 2**62)
        try:
            rows = self._rows(found[0], (*ends, now, tenant, after or "", most), request)
        except WrongType:
            return []
        return [row[0] for row in rows]

    def search_actions(
        self,
        subject: Ref,
        resource: Ref,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        request: Mapping[str, Properties] | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """The actions that the subject may take on the resource, in the policy's order."""
        pdp, instant = self._resolve(at, now)
        found = pdp._plan("actions", subject[0], "", resource[0], tenant)
        if found is None or not is_stored_id(subject[1]) or not is_stored_id(resource[1]):
            return []
        try:
            rows = pdp._rows(found[0], (subject[1], resource[1], instant, tenant), request)
        except WrongType:
            return []
        return [row[0] for row in rows]

    def matrix(
        self,
        subject_type: str,
        action: str,
        resource_type: str,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
    ) -> Iterator[MatrixEntry]:
        """Every permitted pair with its rule and grant, ordered, each once, as a stream."""
        pdp, instant = self._resolve(at, now)
        found = pdp._plan("matrix", subject_type, action, resource_type)
        if found is None:
            return
        plan, queries = found
        previous: Ref | None = None
        for subject, resource, way, grant, _ in pdp._stream(plan, (None, None, instant)):
            if (subject, resource) != previous:
                previous = (subject, resource)
                yield MatrixEntry(subject, resource, queries[way].rules[0] if queries[way].rules else None, grant)

    def exists(self, one: Ref, *, now: datetime | None = None, tenant: str | None = None) -> bool:
        """Whether there is such a row at an instant; within a subscription, whether it belongs there."""
        found = self.policy.types.named(one[0])
        if found is None or not is_stored_id(one[1]):
            return False
        key = ("there", found.polar, tenant is not None)
        if key not in self._explained:
            there = Query(found.polar, found.polar, None, (), (), ())
            probes = [there] if tenant is None else list(restrict_to_tenant(there, self.policy.types))
            self._explained[key] = (len(probes), Plan(self._writer.probes(probes)), [])
        return any(self._rows(self._explained[key][1], (one[1], one[1], self._instant(now), tenant), None)[0])

    # Explanations.

    def explain(
        self,
        subject: Ref,
        action: str,
        resource: Ref,
        *,
        at: datetime | None = None,
        now: datetime | None = None,
        request: Mapping[str, Properties] | None = None,
        tenant: str | None = None,
    ) -> Explanation:
        """The decision, and for each way to a permit the conditions that this pair meets and those that it fails.

        Asked within a subscription, nothing is told of a pair of which one belongs elsewhere.
        """
        pdp, instant = self._resolve(at, now)
        return pdp._explain(subject, action, resource, instant, request or {}, tenant)

    def _explain(
        self,
        subject: Ref,
        action: str,
        resource: Ref,
        now: int,
        request: Mapping[str, Properties],
        tenant: str | None,
    ) -> Explanation:
        decision = self._ask(subject, action, resource, now, request, tenant)()
        if (
            decision.reason not in ("permitted", "denied")
            or not is_stored_id(subject[1])
            or not is_stored_id(resource[1])
        ):
            return Explanation(decision, ())
        first, plan, ways = self._probes(subject[0], action, resource[0], tenant is not None)
        row = self._rows(plan, (subject[1], resource[1], now, tenant), request)[0]
        known, answers = any(row[:first]), iter(row[first:])
        if tenant is not None and not known:
            return Explanation(decision, ())
        told = [_told(query, sentences, answers) for query, sentences in ways]
        if not known:
            absent = f"there is no such {subject[0]} or no such {resource[0]}"
            told = [replace(way, unmet=(*way.unmet, absent)) for way in told]
        return Explanation(decision, tuple(sorted(told, key=lambda way: (len(way.unmet), -way.once))))

    def _probes(self, *kinds: Any) -> tuple[int, Plan, list[tuple[Query, list[Clause]]]]:
        """How many probes ask whether the pair is known at all, the plan of all probes, and the ways they explain."""
        if kinds not in self._explained:
            queries = self._queries(*kinds[:3])
            ways = [(query, clauses(query, self.policy.types)) for query in queries]
            there = Query(queries[0].subject, queries[0].resource, None, (), (), ())
            probes = list(restrict_to_tenant(there, self.policy.types)) if kinds[3] else [there]
            known = len(probes)
            for _, sentences in ways:
                for one in sentences:
                    probes.append(one.probe)
                    probes.append(one.anytime or one.probe)
            if kinds[3]:
                probes = [
                    *probes[:known],
                    *(restrict_facts_to_tenant(probe, self.policy.types) for probe in probes[known:]),
                ]
            self._explained[kinds] = (known, Plan(self._writer.probes(probes)), ways)
        return self._explained[kinds]

    # Plans and rows.

    def _instant(self, now: datetime | None) -> int:
        if now is not None:
            return to_micros(now)
        return time_ns() // 1000 if self._clock is None else to_micros(self._clock())

    def _queries(self, subject_type: str, action: str, resource_type: str) -> tuple[Query, ...]:
        subject, resource = (self.policy.types.named(name) for name in (subject_type, resource_type))
        if subject is None or resource is None:
            return ()
        queries = self.policy.queries.get((subject.polar, resource.polar), ())
        return tuple(query for query in queries if action in ("", query.action) or query.action is None)

    def _plan(
        self,
        question: str,
        subject_type: str,
        action: str,
        resource_type: str,
        tenant: str | None = None,
        without: str = "",
    ) -> tuple[Plan, tuple[Query, ...]] | None:
        """The plan for a kind of question, made once; None when no rule can permit it."""
        key = (question, subject_type, action, resource_type, tenant is not None, without)
        try:
            return self._plans[key]
        except KeyError:
            pass
        queries = tuple(
            query for query in self._queries(subject_type, action, resource_type) if without not in query.rules
        )
        if tenant is not None:
            queries = tuple(narrow for query in queries for narrow in restrict_to_tenant(query, self.policy.types))
        if not queries:
            return None
        made = Plan(self._statement(question, queries)), queries
        if len(self._plans) < 10_000:
            self._plans[key] = made
        return made

    def _statement(self, question: str, queries: tuple[Query, ...]) -> Statement:
        if question == "resources":
            return self._writer.search(queries, "resource")
        if question == "subjects":
            return self._writer.search(queries, "subject")
        if question.startswith("listing"):
            return self._writer.listing(queries, by_name=question == "listing by name")
        if question == "actions":
            return self._writer.actions(queries, self.policy.actions(queries[0].resource))
        return {
            "evaluation": self._writer.evaluation,
            "evaluations": self._writer.evaluations,
            "matrix": self._writer.matrix,
        }[question](queries)

    def _rows(self, plan: Plan, values: tuple[Any, ...], request: Mapping[str, Properties] | None) -> list[Any]:
        return self._fetched(self._sent(plan, values, request))

    def _sent(self, plan: Plan, values: tuple[Any, ...], request: Mapping[str, Properties] | None) -> Any:
        """A cursor on the rows of a plan."""
        arguments = plan.arguments(values, request or {})
        try:
            return self.database.connection().execute(plan.sql, arguments)
        except FAULTS as error:
            raise self._failed(error) from error

    def _fetched(self, cursor: Any) -> list[Any]:
        try:
            rows: list[Any] = cursor.fetchall()
        except FAULTS as error:
            raise self._failed(error) from error
        return rows

    def _failed(self, error: Exception) -> Unavailable:
        discard_connection(self.database, error)
        return Unavailable(str(error).strip())

    def _stream(self, plan: Plan, values: tuple[Any, ...]) -> Iterable[Any]:
        arguments = plan.arguments(values, {})
        try:
            if isinstance(self.database, PostgresqlDatabase):
                with unpooled_connection(self.database) as connection, connection.cursor() as cursor:
                    yield from cursor.stream(plan.sql, arguments)
            else:
                yield from self.database.connection().execute(plan.sql, arguments)
        except FAULTS as error:
            discard_connection(self.database, error)
            raise Unavailable(str(error).strip()) from error


def _told(query: Query, sentences: list[Clause], answers: Iterator[Any]) -> Derivation:
    met, unmet, first, once = [], [], None, 0
    for one in sentences:
        holds, held_once = bool(next(answers)), bool(next(answers))
        prefix = f"{one.rule}: " if one.rule else ""
        if holds:
            met.append(prefix + one.met)
            continue
        first = first or one.rule
        other_time = bool(held_once and one.anytime)
        once += other_time
        unmet.append(prefix + one.unmet + (" (there is one that has ended or has not begun)" if other_time else ""))
    return Derivation(query.rules[0] if query.rules else None, query.rules, tuple(met), tuple(unmet), first, once)
