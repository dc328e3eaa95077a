"""The blueprint of the AuthZEN Authorization API 1.0, and what its evaluations and searches share."""

import orjson
from flask import Blueprint, Response

from authz.domain import Row

access = Blueprint("access", __name__, url_prefix="/access/v1")

QUESTION = {
    "subject": {"type": "practitioner", "id": "bob"},
    "action": {"name": "view"},
    "resource": {"type": "patient", "id": "p-1"},
}
"""The example of the OpenAPI document."""


def json_response(value: Row) -> Response:
    """Return a response with a JSON body."""
    return Response(orjson.dumps(value), content_type="application/json")
