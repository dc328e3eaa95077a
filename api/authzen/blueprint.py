"""The blueprint of the AuthZEN Authorization API 1.0, and what its evaluations and searches share."""

from flask import Blueprint

access = Blueprint("access", __name__, url_prefix="/access/v1")

QUESTION = {
    "subject": {"type": "practitioner", "id": "bob"},
    "action": {"name": "view"},
    "resource": {"type": "patient", "id": "p-1"},
}
"""The example of the OpenAPI document."""
