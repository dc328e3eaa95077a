"""Strict JSON in: an object in I-JSON (RFC 7493), where a reader that forgives would lose or invent something.

Refused beyond what is no JSON at all: a member that stands twice (one of the two would be lost), NaN and infinity,
numbers beyond a double, unpaired surrogates, and nesting that no honest sender needs.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from authz.errors import InvalidInput
from authz.texts import quote_value

DEEPEST = 64


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object in UTF-8 bytes. Raises `InvalidInput` for anything else, saying what and where."""
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


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name in made if counts[name] > 1)
        raise InvalidInput(f"holds the member {quote_value(twice)} twice")
    return made


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidInput(f"the number {quote_value(text)} is too large")
    return number


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _constant(text: str) -> NoReturn:
    raise InvalidInput(f"is not JSON: {text}")


def _is_deep(value: Any) -> bool:
    """Whether a value is nested too deeply, a value in the innermost brackets counted: level by level, no recursion."""
    level = [value]
    for _ in range(DEEPEST - 1):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return any(level)


def _refuse_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("holds an unpaired surrogate") from error


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_float=_finite, parse_int=_whole, parse_constant=_constant)
