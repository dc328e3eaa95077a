"""The AuthZEN Authorization API 1.0 under `/access/v1`: parse a question, ask the PDP, record, render."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from flask import Blueprint, Response, current_app

from api.credentials import act_of, caller, needs
from api.problems import malformed
from api.requests import body, now
from authz.clients import Caller, serves
from authz.errors import InvalidInput
from authz.pdp import PDP, Decision, Explanation
from authz.record import Asked, record_decisions
from authz.terms import format_instant, parse_instant

access = Blueprint("access", __name__, url_prefix="/access/v1")


@dataclass(frozen=True)
class Question:
    """An evaluation request (AuthZEN 6.1): who, what, which, and what else came with it."""

    asked: Asked
    request: Mapping[str, Mapping[str, Any]]
    at: datetime | None
    explain: bool


@access.post("/evaluation")
def evaluation() -> Response:
    """Access Evaluation (AuthZEN 6): one question, one decision; a denial is 200 too."""
    app = caller("decide")
    question = _question(body(), now())
    if question.at is not None:
        needs(app, "audit")
    return _json(_answer(app, question))


def _answer(app: Caller, question: Question) -> dict[str, Any]:
    pdp: PDP = current_app.extensions["caregrant"]
    asked = question.asked
    # For a key of one subscription, another's resources are as unknown as what does not exist.
    known = serves(pdp.database, pdp.policy.types, app, asked.resource)
    resource = asked.resource if known else (asked.resource[0], "")
    explained = Explanation(pdp.evaluate(asked.subject, asked.action, resource, question.at, question.request), ())
    if question.explain and known and not explained.decision.allowed:
        explained = pdp.explain(
            asked.subject, asked.action, resource, explained.decision.evaluated_at, question.request
        )
    record_decisions(pdp.database, act_of(app), [(asked, explained.decision)])
    return _told(explained, question.explain)


def _told(explained: Explanation, explain: bool) -> dict[str, Any]:
    decision = explained.decision
    context: dict[str, Any] = {
        "reason": decision.reason,
        "policy_version": decision.policy_version,
        "evaluated_at": format_instant(decision.evaluated_at),
    }
    if decision.allowed:
        context |= _witness(decision)
    elif explain:
        nearest = explained.nearest
        context["reason_admin"] = {"403": "; ".join(nearest.unmet) if nearest else "nothing is known of this"}
        context["ways"] = [{"rule": way.rule, "met": way.met, "unmet": way.unmet} for way in explained.ways]
    return {"decision": decision.allowed, "context": context}


def _witness(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {"rule": decision.rule, "grant": None if decision.grant is None else str(decision.grant)}
    if decision.standing_share is not None:
        told["standing_share"] = str(decision.standing_share)
    if decision.until is not None:
        told["until"] = format_instant(decision.until)
    return told


def _question(said: dict[str, Any], present: datetime) -> Question:
    errors: list[tuple[str, str]] = []
    subject = _entity(said, "subject", ("type", "id"), errors)
    action = _entity(said, "action", ("name",), errors)
    resource = _entity(said, "resource", ("type", "id"), errors)
    context = _object(said.get("context"), "/context", errors)
    at, explain = _options(context, present, errors)
    if errors:
        raise malformed(*errors)
    request = {
        "subject": subject["properties"],
        "action": action["properties"],
        "resource": resource["properties"],
        "context": context,
    }
    ends = (subject["type"], subject["id"]), action["name"], (resource["type"], resource["id"])
    asked = Asked(*ends, purpose=context.get("purpose"))
    return Question(asked, request, at, explain)


def _entity(
    said: Mapping[str, Any], member: str, needed: tuple[str, ...], errors: list[tuple[str, str]]
) -> dict[str, Any]:
    """The subject, action or resource of a request (AuthZEN 5.1–5.3); what is wrong with it goes to `errors`."""
    held = said.get(member)
    if not isinstance(held, dict):
        errors.append((f"/{member}", "is required" if held is None else "is not an object"))
        return {}
    for key in needed:
        if not isinstance(held.get(key), str):
            errors.append((f"/{member}/{key}", "is required" if held.get(key) is None else "is not a string"))
    return {**held, "properties": _object(held.get("properties"), f"/{member}/properties", errors)}


def _object(value: Any, at: str, errors: list[tuple[str, str]]) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    errors.append((at, "is not an object"))
    return {}


def _options(
    context: Mapping[str, Any], present: datetime, errors: list[tuple[str, str]]
) -> tuple[datetime | None, bool]:
    """`context.at` and `context.explain`."""
    at, explain = None, context.get("explain") or False
    if not isinstance(explain, bool):
        errors.append(("/context/explain", "is neither true nor false"))
    if context.get("at") is not None:
        try:
            at = parse_instant(context["at"])
        except InvalidInput as error:
            errors.append(("/context/at", str(error)))
        if at is not None and at > present:
            errors.append(("/context/at", "lies in the future"))
    return at, explain


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), content_type="application/json")
