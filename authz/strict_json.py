"""A strict parser of JSON objects, by I-JSON (RFC 7493): a tolerant parser would lose or invent data.

It refuses a member that occurs twice (one of the two would be lost), NaN and infinity, numbers beyond a double,
unpaired surrogates, and nesting that no honest sender needs.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from authz.errors import InvalidInput
from authz.texts import quote_value

DEEPEST = 64


def parse_object(text: bytes) -> dict[str, object]:
    """Parse a JSON object from UTF-8 bytes. Raises `InvalidInput` for anything else, with what is wrong and where."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8 at byte {error.start + 1}") from error
    try:
        value = _DECODER.decode(decoded)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise InvalidInput("is nested too deeply") from error
    except ValueError as error:
        raise InvalidInput(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"is not a JSON object but {quote_value(value)}")
    if decoded.count("{") + decoded.count("[") >= DEEPEST and _is_deep(value):
        raise InvalidInput("is nested too deeply")
    if "\\u" in decoded:
        _refuse_surrogates(value)
    return value


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = next(name for name in members if counts[name] > 1)
        raise InvalidInput(f"contains the member {quote_value(repeated)} twice")
    return members


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidInput(f"the number {quote_value(text)} is too large")
    return number


def _parse_int(text: str) -> int:
    _parse_float(text)
    return int(text)


def _refuse_constant(text: str) -> NoReturn:
    raise InvalidInput(f"is not JSON: {text}")


def _is_deep(value: Any) -> bool:
    """Return whether a value is nested too deeply; the innermost values count as a level. It does not recurse."""
    level = [value]
    for _ in range(DEEPEST - 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return any(level)


def _refuse_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("contains an unpaired surrogate") from error


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_float=_parse_float,
    parse_int=_parse_int,
    parse_constant=_refuse_constant,
)
