"""The AuthZEN Authorization API 1.0 under `/access/v1`: parse a question, ask the PDP, record, render."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request

from api.auth import actor_of, caller, needs, pdp, spend
from api.authzen.page_tokens import PageTokens
from api.authzen.schemas import (
    MOST,
    PARTS,
    ActionSearch,
    Context,
    Evaluation,
    Evaluations,
    Faulty,
    Page,
    Question,
    ResourceSearch,
    Semantic,
    SubjectSearch,
    came_with,
    items,
    one,
    options,
    read,
)
from api.errors import malformed
from api.limits import charged
from api.ops.described import described
from api.ops.meters import decided
from api.request_context import body, now
from api.v1.responses import Decision as Decided
from api.v1.responses import EitherDecisions, FoundActions, FoundEntities
from authz.callers.clients import Caller
from authz.domain import REASONS, Row, format_instant, format_micros, to_micros
from authz.errors import InvalidInput
from authz.policy.decision import Decision, Explanation
from authz.policy.pdp import PDP
from authz.record import RecordedQuestion, record_decisions, search_decision

access = Blueprint("access", __name__, url_prefix="/access/v1")

_QUESTION = {
    "subject": {"type": "practitioner", "id": "bob"},
    "action": {"name": "view"},
    "resource": {"type": "patient", "id": "p-1"},
}
_QUESTIONS = {**_QUESTION, "evaluations": [{}, {"action": {"name": "share"}}]}

Given = tuple[RecordedQuestion, Explanation]


# Evaluations.


@access.post("/evaluation")
@described(caller="decide", takes=Evaluation, gives=Decided, example=_QUESTION)
def evaluation() -> Response:
    """May this subject do this to this resource? A denial is 200 too (AuthZEN 6)."""
    app = caller("decide")
    return _json(_single(app, body()))


@access.post("/evaluations")
@described(caller="decide", takes=Evaluations, gives=EitherDecisions, example=_QUESTIONS)
def evaluations() -> Response:
    """Many questions in one request, answered in order (AuthZEN 7); without `evaluations` one question."""
    app = caller("decide")
    form, said = read(Evaluations)
    if not form.evaluations:
        return _json(_single(app, said))
    spend(app, charged(len(form.evaluations)))
    asked = items(said, now())
    for question in asked:
        if isinstance(question, Question):
            _may_ask(app, question)
    semantic = (form.options and form.options.evaluations_semantic) or "execute_all"
    given = _until(semantic, _answers(app, asked))
    _record(app, given)
    return _json({"evaluations": [_told(*pair) for pair in zip(given, asked, strict=False)]})


def _single(app: Caller, said: Row) -> Row:
    question = one(said, now())
    _may_ask(app, question)
    asked, request, clinic = question.asked, question.request, app.subscription
    who, action, what = asked.subject, asked.action, asked.resource
    decision = pdp().evaluate(who, action, what, at=question.at, request=request, tenant=clinic)
    given = (asked, _explained(app, question, decision))
    _record(app, [given])
    return _told(given, question)


def _record(app: Caller, given: Sequence[Given]) -> None:
    record_decisions(pdp().database, actor_of(app), [(asked, told.decision) for asked, told in given])
    decided(told.decision for _, told in given)


def _may_ask(app: Caller, question: Question) -> None:
    if question.at is not None or question.explain:
        needs(app, "audit")


def _answers(app: Caller, asked: Sequence[Question | Faulty]) -> list[Given]:
    """The answers, by one statement for each kind of question and instant among them."""
    found: dict[int, Decision] = {}
    present = now()
    instants = {question.at for question in asked if isinstance(question, Question)}
    for at in sorted(instants, key=lambda at: at or present):  # so that the policies of then follow each other
        same = [(place, one) for place, one in enumerate(asked) if isinstance(one, Question) and one.at == at]
        questions = [(one.asked.subject, one.asked.action, one.asked.resource) for _, one in same]
        requests = [one.request for _, one in same]
        decisions = pdp().evaluate_many(questions, at=at, requests=requests, tenant=app.subscription)
        found |= {place: decision for (place, _), decision in zip(same, decisions, strict=True)}
    given = []
    for place, question in enumerate(asked):
        if isinstance(question, Faulty):
            decision = Decision(False, "malformed", pdp().version, to_micros(present), detail=question.why)
            given.append((question.asked, Explanation(decision, ())))
        else:
            given.append((question.asked, _explained(app, question, found[place])))
    return given


def _explained(app: Caller, question: Question, decision: Decision) -> Explanation:
    if not question.explain:
        return Explanation(decision, ())
    asked, request, clinic = question.asked, question.request, app.subscription
    decider, at = pdp().of_version(decision.policy_version), decision.evaluated_at
    who, action, what = asked.subject, asked.action, asked.resource
    told = decider.explain(who, action, what, now=at, request=request, tenant=clinic)
    return Explanation(decision, told.derivations)


def _until(semantic: Semantic, given: list[Given]) -> list[Given]:
    """The answers up to the one that ends the call (7.1.2.1); an item error counts as a denial."""
    ends = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(semantic)
    for place, (_, told) in enumerate(given):
        if told.decision.allowed is ends:
            return given[: place + 1]
    return given


def _told(given: Given, question: Question | Faulty) -> Row:
    decision, explained = given[1].decision, given[1]
    context: Row = {
        "reason": decision.reason,
        "policy_version": decision.policy_version,
        "evaluated_at": format_micros(decision.evaluated_micros),
    }
    if isinstance(question, Faulty):
        context["error"] = {"status": 400, "message": question.why}
    elif decision.allowed:
        context |= _witness(decision)
    elif decision.detail:
        context["reason_admin"] = {"400": decision.detail}
    elif question.explain:
        context |= _why_not(explained)
    if isinstance(question, Question) and question.explain:
        context["ways"] = explained.serialize()
    return {"decision": decision.allowed, "context": context}


def _why_not(explained: Explanation) -> Row:
    """What `caregrant check --explain` says, too; to the user no more than that it is not for them."""
    nearest = explained.nearest
    return {
        "reason_admin": {"403": "; ".join(nearest.unmet) if nearest else REASONS[explained.decision.reason]},
        "reason_user": {"403": "You do not have access to this."},
    }


def _witness(decision: Decision) -> Row:
    told: Row = {"rule": decision.rule, "grant": None if decision.grant is None else str(decision.grant)}
    if decision.standing_share is not None:
        told["standing_share"] = str(decision.standing_share)
    if decision.until is not None:
        told["until"] = format_instant(decision.until)
    return told


# Searches.


@access.post("/search/subject")
@described(
    caller="decide",
    takes=SubjectSearch,
    gives=FoundEntities,
    example={**_QUESTION, "subject": {"type": "practitioner"}, "page": {"limit": 50}},
)
def subject_search() -> Response:
    """Who of a type may do this to this resource? (AuthZEN 8.4)"""
    app = caller("decide")
    form, said = read(SubjectSearch)
    kind, resource = form.subject.type, (form.resource.type, form.resource.id)
    asked = RecordedQuestion((kind, ""), form.action.name, resource)

    def page(decider: PDP, **how: Any) -> list[str]:
        return decider.search_subjects(kind, form.action.name, resource, **how)

    return _searched(app, said, form.context, form.page, asked, page, lambda name: {"type": kind, "id": name})


@access.post("/search/resource")
@described(
    caller="decide", takes=ResourceSearch, gives=FoundEntities, example={**_QUESTION, "resource": {"type": "patient"}}
)
def resource_search() -> Response:
    """What of a type may this subject do this to? (AuthZEN 8.5)"""
    app = caller("decide")
    form, said = read(ResourceSearch)
    kind, subject = form.resource.type, (form.subject.type, form.subject.id)
    asked = RecordedQuestion(subject, form.action.name, (kind, ""))

    def page(decider: PDP, **how: Any) -> list[str]:
        return decider.search_resources(subject, form.action.name, kind, **how)

    return _searched(app, said, form.context, form.page, asked, page, lambda name: {"type": kind, "id": name})


@access.post("/search/action")
@described(caller="decide", takes=ActionSearch, gives=FoundActions, example=_QUESTION)
def action_search() -> Response:
    """What may this subject do to this resource? (AuthZEN 8.6)"""
    app = caller("decide")
    form, said = read(ActionSearch)
    said = {**said, "action": None}
    subject, resource = (form.subject.type, form.subject.id), (form.resource.type, form.resource.id)

    def page(decider: PDP, limit: int, after: str, **how: Any) -> list[str]:
        found = sorted(decider.search_actions(subject, resource, **how))
        return [name for name in found if name > after][:limit]

    asked = RecordedQuestion(subject, "", resource)
    return _searched(app, said, form.context, form.page, asked, page, lambda name: {"name": name})


def _searched(
    app: Caller,
    said: Row,
    context: Context | None,
    page: Page | None,
    asked: RecordedQuestion,
    find: Callable[..., list[str]],
    render: Callable[[str], Row],
) -> Response:
    """One page of what `find` finds, recorded."""
    at, _ = options(context, now())
    if at is not None:
        needs(app, "audit")
    question = [request.path, app.id, *(said.get(part) for part in PARTS)]
    limit, after = _place(question, page or Page())
    decider = pdp() if at is None else pdp().in_force(at)
    found = find(decider, now=at, limit=limit + 1, after=after, request=came_with(said), tenant=app.subscription)
    shown, more = found[:limit], len(found) > limit
    token = _tokens().issue(question, limit, shown[-1] if shown else after) if more else ""
    actor, answered = actor_of(app), replace(asked, purpose=came_with(said)["context"].get("purpose"), size=len(shown))
    record_decisions(pdp().database, actor, [(answered, search_decision(actor, decider.version, at))])
    return _json({"page": {"next_token": token, "count": len(shown)}, "results": [render(name) for name in shown]})


def _place(question: Any, page: Page) -> tuple[int, str]:
    """How many results, after which one. Raises a `Problem` (400) for a token of another question."""
    if not page.token:
        return min(MOST if page.limit is None else page.limit, MOST), ""
    try:
        limit = None if page.limit is None else min(page.limit, MOST)
        return _tokens().read(question, page.token, limit)
    except InvalidInput as error:
        raise malformed(("/page/token", str(error))) from error


def _tokens() -> PageTokens:
    found: PageTokens = current_app.extensions["caregrant.pages"]
    return found


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), content_type="application/json")
