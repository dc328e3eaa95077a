"""The query parameters of `/v1` and of the pages: numbers, truth values, what to search for, the place in a list.

Every function raises `InvalidInput`, with the name of the parameter, for a value that the parameter cannot have.
"""

import base64
import binascii

from flask import request

from api.limits import LONGEST_QUERY
from authz.errors import InvalidInput, NotFound
from authz.policy.plan import PagePosition
from authz.texts import LONGEST_SORT_KEY, is_stored_id, parse_number

MOST = 200
"""The most items of one page of a list."""

USUAL = 50
INVALID_CURSOR = "cursor: is not a cursor of this service"


def parse_limit(most: int = MOST) -> int:
    """Return the parameter `limit`, a number from 1 to `most`."""
    return parse_number_parameter("limit", USUAL, 1, most)


def parse_number_parameter(name: str, default: int, least: int, most: int) -> int:
    """Return a parameter that is a whole number from `least` to `most`."""
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not least <= int(text) <= most:
        raise InvalidInput(f"{name}: must be a whole number from {least} to {most}")
    return int(text)


def parse_search(name: str = "q") -> str:
    """Return the text to search for: this field of a form that was sent, else the parameter of this name."""
    text = (request.form if request.method == "POST" else request.args).get(name, "")
    if len(text) > LONGEST_QUERY:
        raise InvalidInput(f"{name}: must have at most {LONGEST_QUERY} characters")
    return text


def parse_boolean(name: str) -> bool:
    """Return a parameter that is ``true`` or ``false``; false if it is left out."""
    text = request.args.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"{name}: must be true or false")
    return text == "true"


def encode_cursor(last: str) -> str:
    """Return an opaque cursor of the page that follows the item `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def encode_next_cursor(place: PagePosition, following: tuple[str, str] | None) -> str | None:
    """Return the cursor of the page after the page that begins at `place`; None if there is no such page.

    `following` is the sort key and the id of the last item, if more items follow.
    """
    if following is None:
        return None
    return encode_cursor("\n".join(("name", *following)) if place.by_name else following[1])


def parse_place(limit: int) -> PagePosition:
    """Return the place at which a page of a list begins, by the parameters `sort` and `cursor`.

    A cursor that was made for another order is invalid.
    """
    sort = request.args.get("sort", "name")
    if sort not in ("name", "id"):
        raise InvalidInput("sort: must be name or id")
    by_name = sort == "name"
    if not by_name or not request.args.get("cursor"):
        return PagePosition(limit, parse_cursor(), by_name=by_name)
    kind, _, rest = _decode_cursor().partition("\n")
    key, _, last = rest.rpartition("\n")
    if kind != "name" or not is_stored_id(last) or len(key) > LONGEST_SORT_KEY or "\0" in key:
        raise InvalidInput(INVALID_CURSOR)
    return PagePosition(limit, last, key)


def parse_cursor() -> str:
    """Return the id in the parameter `cursor`, empty without a cursor."""
    last = _decode_cursor()
    if last and not is_stored_id(last):
        raise InvalidInput(INVALID_CURSOR)
    return last


def parse_number_cursor() -> int:
    """Return the number in the parameter `cursor`, 0 without a cursor."""
    text = parse_cursor()
    try:
        return parse_number(text) if text else 0
    except InvalidInput as error:
        raise InvalidInput(INVALID_CURSOR) from error


def parse_row_id(text: str) -> int:
    """Return the number of a row in a path or a form. Raises `NotFound` for a text that is no such number."""
    try:
        return parse_number(text)
    except InvalidInput as error:
        raise NotFound from error


def _decode_cursor() -> str:
    text = request.args.get("cursor", "")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(INVALID_CURSOR) from error
