"""Evaluations: send the statement that decides a question, and read the decision from its rows.

Each function returns a `Pending`, whose `result` waits for the decision. Inside a pipeline several may be pending.
"""

from collections.abc import Sequence

import orjson

from authz.database.pending import Pending
from authz.policy.decision import Decision, Ref
from authz.policy.execution import fetch, send
from authz.policy.plan import Arguments, Request, WrongType
from authz.policy.plans import Plans
from authz.texts import is_stored_id


def evaluate(
    plans: Plans, subject: Ref, action: str, resource: Ref, now: int, request: Request, tenant: str | None
) -> Pending[Decision]:
    """Decide one question."""
    planned = plans.plan("evaluation", subject[0], action, resource[0], tenant)
    if planned is None or not is_stored_id(subject[1]) or not is_stored_id(resource[1]):
        unknown = _unknown(plans, subject[0], action, resource[0], now)
        return Pending(lambda: unknown)
    plan, queries = planned
    arguments: Arguments = {"subject": subject[1], "resource": resource[1], "now": now, "tenant": tenant}
    try:
        cursor = send(plans.database, plan.sql, plan.bind(arguments, request))
    except WrongType as error:
        wrong_type = Decision(False, "wrong_type", plans.version, now, detail=str(error))
        return Pending(lambda: wrong_type)

    def read() -> Decision:
        rows = fetch(plans.database, cursor)
        if not rows:
            return Decision(False, "denied", plans.version, now)
        index, grant, share, until = rows[0]
        return Decision(True, "permitted", plans.version, now, queries[index].rules, grant, share, until)

    return Pending(read)


def evaluate_batch(
    plans: Plans,
    questions: Sequence[tuple[Ref, str, Ref]],
    now: int,
    requests: Sequence[Request],
    tenant: str | None,
) -> Pending[list[Decision]]:
    """Decide questions of one kind: of the same subject type, action and resource type."""
    (subject_type, _), action, (resource_type, _) = questions[0]
    if len(questions) == 1:
        single = evaluate(plans, *questions[0], now, requests[0], tenant)
        return Pending(lambda: [single.result()])
    decisions = [_unknown(plans, subject_type, action, resource_type, now)] * len(questions)
    planned = plans.plan("evaluations", subject_type, action, resource_type, tenant)
    if planned is None:
        return Pending(lambda: decisions)
    database, version = plans.database, plans.version
    plan, queries = planned
    pairs: list[list[object]] = []
    positions: list[int] = []
    for position, ((_, subject), _, (_, resource)) in enumerate(questions):
        if not is_stored_id(subject) or not is_stored_id(resource):
            continue
        try:
            pairs.append(plan.pair(subject, resource, requests[position]))
            positions.append(position)
        except WrongType as error:
            decisions[position] = Decision(False, "wrong_type", version, now, detail=str(error))
    arguments: Arguments = {"now": now, "tenant": tenant, "pairs": orjson.dumps(pairs).decode()}
    cursor = send(database, plan.sql, plan.bind(arguments, {}))

    def read() -> list[Decision]:
        rules = [query.rules for query in queries]
        for pair, met in fetch(database, cursor):
            if met is not None:
                index, grant, share, until = orjson.loads(met)
                permitted = Decision(True, "permitted", version, now, rules[index], grant, share, until)
                decisions[positions[pair]] = permitted
        return decisions

    return Pending(read)


def _unknown(plans: Plans, subject_type: str, action: str, resource_type: str, now: int) -> Decision:
    """Return the denial of a question that no rule can permit, with its reason."""
    types, reason = plans.policy.types, "denied"
    if types.named(subject_type) is None or types.named(resource_type) is None:
        reason = "unknown_type"
    elif not plans.queries(subject_type, action, resource_type):
        reason = "unknown_action"
    return Decision(False, reason, plans.version, now)
