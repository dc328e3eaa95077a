"""Searches (AuthZEN 8): parse the question, let the PDP find one page of results, record the search, serialize."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from flask import Response, current_app, request

from api.auth import actor_of, pdp, require_client, require_scope
from api.authzen.blueprint import QUESTION, access
from api.authzen.page_tokens import PageTokens
from api.authzen.schemas import (
    MOST,
    PARTS,
    ActionSearchRequest,
    PagePart,
    Properties,
    ResourceSearchRequest,
    SearchRequest,
    SubjectSearchRequest,
    parse_body,
    parse_options,
    request_properties,
)
from api.errors import malformed_request
from api.ops.route_documentation import document_route
from api.request_context import json_response, now
from api.v1.responses import ActionSearchBody, EntitySearchBody
from authz.callers.clients import Caller
from authz.domain import Row
from authz.errors import InvalidInput
from authz.policy.pdp import PDP
from authz.record import RecordedQuestion, record_decisions, search_decision


class FindPage(Protocol):
    """A search of one page by a PDP: at most `limit` results after the result `after`."""

    def __call__(
        self,
        decider: PDP,
        *,
        now: datetime | None,
        limit: int,
        after: str,
        request: Mapping[str, Properties],
        tenant: str | None,
    ) -> list[str]: ...


@access.post("/search/subject")
@document_route(
    caller="decide",
    request_body=SubjectSearchRequest,
    response_body=EntitySearchBody,
    example={**QUESTION, "subject": {"type": "practitioner"}, "page": {"limit": 50}},
)
def subject_search() -> Response:
    """Search for the subjects of a type that may take an action on a resource (AuthZEN 8.4)."""
    client = require_client("decide")
    parsed, body = parse_body(SubjectSearchRequest)
    subject_type, action = parsed.subject.type, parsed.action.name
    resource = (parsed.resource.type, parsed.resource.id)

    def find(decider: PDP, **options: Any) -> list[str]:
        return decider.search_subjects(subject_type, action, resource, **options)

    recorded = RecordedQuestion((subject_type, ""), action, resource)
    return _search(client, parsed, body, recorded, find, lambda id_: {"type": subject_type, "id": id_})


@access.post("/search/resource")
@document_route(
    caller="decide",
    request_body=ResourceSearchRequest,
    response_body=EntitySearchBody,
    example={**QUESTION, "resource": {"type": "patient"}},
)
def resource_search() -> Response:
    """Search for the resources of a type on which a subject may take an action (AuthZEN 8.5)."""
    client = require_client("decide")
    parsed, body = parse_body(ResourceSearchRequest)
    subject = (parsed.subject.type, parsed.subject.id)
    action, resource_type = parsed.action.name, parsed.resource.type

    def find(decider: PDP, **options: Any) -> list[str]:
        return decider.search_resources(subject, action, resource_type, **options)

    recorded = RecordedQuestion(subject, action, (resource_type, ""))
    return _search(client, parsed, body, recorded, find, lambda id_: {"type": resource_type, "id": id_})


@access.post("/search/action")
@document_route(caller="decide", request_body=ActionSearchRequest, response_body=ActionSearchBody, example=QUESTION)
def action_search() -> Response:
    """Search for the actions that a subject may take on a resource (AuthZEN 8.6)."""
    client = require_client("decide")
    parsed, body = parse_body(ActionSearchRequest)
    subject, resource = (parsed.subject.type, parsed.subject.id), (parsed.resource.type, parsed.resource.id)

    def find(decider: PDP, *, limit: int, after: str, **options: Any) -> list[str]:
        actions = sorted(decider.search_actions(subject, resource, **options))
        return [action for action in actions if action > after][:limit]

    recorded = RecordedQuestion(subject, "", resource)
    return _search(client, parsed, {**body, "action": None}, recorded, find, lambda name: {"name": name})


def _search(
    client: Caller,
    parsed: SearchRequest,
    body: Properties,
    recorded: RecordedQuestion,
    find: FindPage,
    serialize: Callable[[str], Row],
) -> Response:
    """Find one page of results, record the search, and return the page with the token of the next page."""
    at, _ = parse_options(parsed.context, now())
    if at is not None:
        require_scope(client, "audit")
    question = [request.path, client.id, *(body.get(part) for part in PARTS)]
    limit, after = _parse_page(question, parsed.page or PagePart())
    decider = pdp() if at is None else pdp().in_force(at)
    properties = request_properties(body)
    results = find(decider, now=at, limit=limit + 1, after=after, request=properties, tenant=client.subscription)
    page, has_more = results[:limit], len(results) > limit
    token = _page_tokens().issue(question, limit, page[-1] if page else after) if has_more else ""
    recorded = replace(recorded, purpose=properties["context"].get("purpose"), size=len(page))
    actor = actor_of(client)
    record_decisions(pdp().database, actor, [(recorded, search_decision(actor, decider.version, at))])
    return json_response(
        {"page": {"next_token": token, "count": len(page)}, "results": [serialize(result) for result in page]}
    )


def _parse_page(question: object, page: PagePart) -> tuple[int, str]:
    """Return the page's limit and the last result of the previous page.

    Raises a `Problem` (400) for a token of another question.
    """
    if not page.token:
        return min(MOST if page.limit is None else page.limit, MOST), ""
    try:
        limit = None if page.limit is None else min(page.limit, MOST)
        return _page_tokens().read(question, page.token, limit)
    except InvalidInput as error:
        raise malformed_request(("/page/token", str(error))) from error


def _page_tokens() -> PageTokens:
    tokens: PageTokens = current_app.extensions["caregrant.pages"]
    return tokens
