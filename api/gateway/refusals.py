"""The gateway's own answers, to requests that never reach Flask: JSON for apps, a small page for browsers."""

from collections.abc import Sequence

from api.errors import PROBLEMS, Problem, problem_response
from api.request_context import HEADER, is_request_id, make_request_id

Headers = list[tuple[str, str]]

_HEADER = HEADER.lower().encode()
_COMMON = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} – Caregrant</title><link rel="stylesheet" href="/static/caregrant.css"><main><h1>{title}</h1>
<p>{detail} Nothing was done.</p></main></html>"""
_PAGE_HEADERS = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'"),
]


def common_headers(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of every response; the request's `headers` contain the request's id."""
    request_id = next((value for name, value in headers if name == _HEADER), b"").decode("latin-1")
    return [*_COMMON, (HEADER.lower(), request_id if is_request_id(request_id) else make_request_id())]


def make_refusal(problem: Problem, headers: Sequence[tuple[bytes, bytes]], *, page: bool) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a refusal; the request's `headers` contain the request's id."""
    common = common_headers(headers)
    status, title = PROBLEMS[problem.kind]
    if page:
        body = _PAGE.format(title=title, detail=problem.detail)
        return status, [*common, *_PAGE_HEADERS, *problem.headers], body.encode()
    response = problem_response(problem)
    return status, [*common, ("content-type", response.content_type), *problem.headers], response.get_data()
