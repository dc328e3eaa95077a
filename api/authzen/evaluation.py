"""Evaluations (AuthZEN 6, 7): parse the questions, ask the PDP, record the decisions, serialize them."""

from collections.abc import Sequence
from typing import NamedTuple

from flask import Response

from api import request_group
from api.auth import actor_of, charge_client, pdp, require_client, require_scope
from api.authzen.blueprint import QUESTION, access
from api.authzen.schemas import (
    AuthzenQuestion,
    EvaluationRequest,
    EvaluationsRequest,
    MalformedItem,
    Properties,
    Semantic,
    parse_body,
    parse_items,
    parse_question,
)
from api.limits import extra_requests
from api.ops.meters import count_decisions
from api.ops.route_documentation import document_route
from api.request_context import deferred_json_response, json_body, json_response, now
from api.v1.responses import DecisionBody, DecisionOrDecisionsBody
from authz.callers.clients import Caller
from authz.domain import REASONS, Row, format_instant, format_micros, to_micros
from authz.policy.decision import Decision, Explanation
from authz.policy.pdp import PDP
from authz.record import Actor, RecordedQuestion, record_decisions

_QUESTIONS = {**QUESTION, "evaluations": [{}, {"action": {"name": "share"}}]}


class AnsweredQuestion(NamedTuple):
    """A question as it is recorded, and its decision, explained if the question asks for an explanation."""

    recorded: RecordedQuestion
    explanation: Explanation


@access.post("/evaluation")
@document_route(caller="decide", request_body=EvaluationRequest, response_body=DecisionBody, example=QUESTION)
def evaluation() -> Response:
    """Decide whether a subject may take an action on a resource; the status of a denial is 200 too (AuthZEN 6)."""
    return _evaluate_one(require_client("decide"), json_body())


@access.post("/evaluations")
@document_route(
    caller="decide", request_body=EvaluationsRequest, response_body=DecisionOrDecisionsBody, example=_QUESTIONS
)
def evaluations() -> Response:
    """Decide several questions in order (AuthZEN 7); without `evaluations` in the body, decide one question."""
    client = require_client("decide")
    parsed, body = parse_body(EvaluationsRequest)
    if not parsed.evaluations:
        return _evaluate_one(client, body)
    charge_client(client, extra_requests(len(parsed.evaluations)))
    items = parse_items(body, now())
    for item in items:
        if isinstance(item, AuthzenQuestion):
            _require_may_ask(client, item)
    semantic = (parsed.options and parsed.options.evaluations_semantic) or "execute_all"
    answers = _apply_semantic(semantic, _evaluate_items(client, items))
    _record(actor_of(client), answers)
    serialized = [_serialize_answer(answer, item) for answer, item in zip(answers, items, strict=False)]
    return json_response({"evaluations": serialized})


def _evaluate_one(client: Caller, body: Properties) -> Response:
    """Decide one question: together with those of its group of requests, unless it needs statements of its own."""
    question = parse_question(body, now())
    _require_may_ask(client, question)
    recorded, decider, actor = question.recorded, pdp(), actor_of(client)
    parts = (recorded.subject, recorded.action, recorded.resource)
    group = request_group.current()
    if group is None or question.at is not None or question.explain:
        decision = decider.evaluate(*parts, at=question.at, request=question.request, tenant=client.subscription)
        answer = AnsweredQuestion(recorded, _explain(client, question, decision))
        _record(actor, [answer])
        return json_response(_serialize_answer(answer, question))
    pending = group.evaluate(decider, parts, question.request, client.subscription)

    def complete() -> Row:
        answer = AnsweredQuestion(recorded, Explanation(pending.result(), ()))
        _record(actor, [answer], decider)
        return _serialize_answer(answer, question)

    return deferred_json_response(complete)


def _record(actor: Actor, answers: Sequence[AnsweredQuestion], decider: PDP | None = None) -> None:
    decisions = [(answer.recorded, answer.explanation.decision) for answer in answers]
    record_decisions((decider or pdp()).database, actor, decisions)
    count_decisions(decision for _, decision in decisions)


def _require_may_ask(client: Caller, question: AuthzenQuestion) -> None:
    if question.at is not None or question.explain:
        require_scope(client, "audit")


def _evaluate_items(client: Caller, items: Sequence[AuthzenQuestion | MalformedItem]) -> list[AnsweredQuestion]:
    """Answer the items of a batch in order, by one statement for each kind of question and instant among them."""
    decisions: dict[int, Decision] = {}
    present = now()
    questions = [(index, item) for index, item in enumerate(items) if isinstance(item, AuthzenQuestion)]
    instants = {question.at for _, question in questions}
    for at in sorted(instants, key=lambda at: at or present):  # in order, because each policy was in force for a while
        at_instant = [(index, question) for index, question in questions if question.at == at]
        evaluated = pdp().evaluate_many(
            [(q.recorded.subject, q.recorded.action, q.recorded.resource) for _, q in at_instant],
            at=at,
            requests=[question.request for _, question in at_instant],
            tenant=client.subscription,
        )
        decisions |= {index: decision for (index, _), decision in zip(at_instant, evaluated, strict=True)}
    answers = []
    for index, item in enumerate(items):
        if isinstance(item, MalformedItem):
            decision = Decision(False, "malformed", pdp().version, to_micros(present), detail=item.fault)
            answers.append(AnsweredQuestion(item.recorded, Explanation(decision, ())))
        else:
            answers.append(AnsweredQuestion(item.recorded, _explain(client, item, decisions[index])))
    return answers


def _explain(client: Caller, question: AuthzenQuestion, decision: Decision) -> Explanation:
    """Explain a decision by the policy and the facts by which it was made, if the question asks for an explanation."""
    if not question.explain:
        return Explanation(decision, ())
    recorded = question.recorded
    explanation = (
        pdp()
        .of_version(decision.policy_version)
        .explain(
            recorded.subject,
            recorded.action,
            recorded.resource,
            now=decision.evaluated_at,
            request=question.request,
            tenant=client.subscription,
        )
    )
    return Explanation(decision, explanation.derivations)


def _apply_semantic(semantic: Semantic, answers: list[AnsweredQuestion]) -> list[AnsweredQuestion]:
    """Return the answers up to the first that ends the batch (7.1.2.1); a malformed item counts as a denial."""
    last = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(semantic)
    for index, answer in enumerate(answers):
        if answer.explanation.decision.allowed is last:
            return answers[: index + 1]
    return answers


def _serialize_answer(answer: AnsweredQuestion, item: AuthzenQuestion | MalformedItem) -> Row:
    explanation = answer.explanation
    decision = explanation.decision
    context: Row = {
        "reason": decision.reason,
        "policy_version": decision.policy_version,
        "evaluated_at": format_micros(decision.evaluated_micros),
    }
    if isinstance(item, MalformedItem):
        context["error"] = {"status": 400, "message": item.fault}
    elif decision.allowed:
        context |= _serialize_witness(decision)
    elif decision.detail:
        context["reason_admin"] = {"400": decision.detail}
    elif item.explain:
        context |= _serialize_denial(explanation)
    if isinstance(item, AuthzenQuestion) and item.explain:
        context["ways"] = explanation.serialize()
    return {"decision": decision.allowed, "context": context}


def _serialize_denial(explanation: Explanation) -> Row:
    """Return the unmet conditions for administrators, as `caregrant check --explain`, and a sentence for the user."""
    nearest = explanation.nearest
    return {
        "reason_admin": {"403": "; ".join(nearest.unmet) if nearest else REASONS[explanation.decision.reason]},
        "reason_user": {"403": "You do not have access to this."},
    }


def _serialize_witness(decision: Decision) -> Row:
    witness: Row = {"rule": decision.rule, "grant": None if decision.grant is None else str(decision.grant)}
    if decision.standing_share is not None:
        witness["standing_share"] = str(decision.standing_share)
    if decision.until is not None:
        witness["until"] = format_instant(decision.until)
    return witness
