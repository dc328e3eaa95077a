"""Answers of the AuthZEN endpoints: their JSON, and the ids that a search lists."""

from collections.abc import Callable
from typing import Any

from werkzeug.test import TestResponse

BASE = "/access/v1"
Answer = Callable[..., Any]


def answered(response: TestResponse) -> dict[str, Any]:
    """Return the JSON of an answer with status 200."""
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    body: dict[str, Any] = response.json or {}
    return body


def result_ids(response: TestResponse) -> list[str]:
    """Return the ids, or names, of the results of a search."""
    return [result.get("id") or result["name"] for result in answered(response)["results"]]
