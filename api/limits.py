"""Limits on what a caller sends, each with its number and the status of a request beyond it.

docs/reference/http.md lists them.
A list that is too long is refused before it is processed; any other list is charged to the caller's rate by its length.
"""

from dataclasses import dataclass

from authz.domain import LONGEST_LOGIN
from authz.operations.emergency import MOST_A_DAY
from authz.operations.inputs import LONGEST_REASON, MOST_AT_ONCE
from authz.policy.entity_properties import MOST_TARGETS
from authz.settings import Settings
from authz.strict_json import DEEPEST
from authz.texts import LONGEST_ID, LONGEST_REFERENCE, LONGEST_TEXT

LARGEST_HEAD = 32_768
LONGEST_TARGET = 16_384
MOST_ITEMS = 1000
MOST_EXPLAINED = 20
MOST_RESULTS = 1000
MOST_SELECTED = MOST_AT_ONCE
MOST_PARAMETERS = 200
MOST_FIELDS = 2200
MOST_ERRORS = 20
LONGEST_QUERY = 200
LONGEST_KEY = 255
LONGEST_REQUEST_ID = 256
EMERGENCY_TRIES = 20
ITEMS_A_REQUEST = 10
"""The number of items of a batch, or patients of a list, that are charged as one request."""


@dataclass(frozen=True)
class Limit:
    """A limit: what it bounds, its number, and the status beyond it. Status 200 means that the rest is left out."""

    bounds: str
    number: int
    status: int


LIMITS = (
    Limit("bytes of a body (`CAREGRANT_MAX_BODY`)", Settings.max_body, 413),
    Limit("seconds until a body has arrived (`CAREGRANT_RECEIVE_SECONDS`)", Settings.receive_seconds, 408),
    Limit("bytes of all headers", LARGEST_HEAD, 431),
    Limit("characters of path and query", LONGEST_TARGET, 414),
    Limit("query parameters", MOST_PARAMETERS, 400),
    Limit("fields of a form", MOST_FIELDS, 413),
    Limit("levels of nesting in JSON", DEEPEST, 400),
    Limit("items of `evaluations`", MOST_ITEMS, 400),
    Limit("items of `evaluations` that ask to be explained", MOST_EXPLAINED, 400),
    Limit("results of a page of a search", MOST_RESULTS, 200),
    Limit("patients in one request of `/v1`", MOST_AT_ONCE, 422),
    Limit("patients selected on the pages", MOST_SELECTED, 400),
    Limit("rows that one relation of an entity leads to", MOST_TARGETS, 422),
    Limit("tries of a practitioner to begin an emergency access, in a minute", EMERGENCY_TRIES, 429),
    Limit("emergency accesses of a practitioner that begin in 24 hours", MOST_A_DAY, 429),
    Limit("errors reported for one request", MOST_ERRORS, 200),
    Limit("characters of an id", LONGEST_ID, 422),
    Limit("characters of a name", LONGEST_TEXT, 422),
    Limit("characters of a reference", LONGEST_REFERENCE, 422),
    Limit("characters of a login", LONGEST_LOGIN, 422),
    Limit("characters of a reason", LONGEST_REASON, 422),
    Limit("characters of `q`", LONGEST_QUERY, 422),
    Limit("characters of an `Idempotency-Key`", LONGEST_KEY, 422),
    Limit("characters of an `X-Request-ID`", LONGEST_REQUEST_ID, 400),
)
"""Every limit, in the order in which the service applies them to a request."""


def extra_requests(items: int) -> int:
    """Return how many requests a list of this length is charged beyond the request that contains the list."""
    return max(0, items - 1) // ITEMS_A_REQUEST
