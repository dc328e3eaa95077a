"""The parameters of the questions, each by its name: what it may be, checked before anything is asked.

A parameter that has no entry here cannot be used by a question (`Question` refuses it when it is made).
"""

from collections.abc import Callable, Mapping
from typing import Any

from authz.audit.catalog.known_ids import require_known
from authz.audit.session import TODAY, Audit, instant
from authz.errors import InvalidInput, PolicyUnknown
from authz.texts import LONGEST_TEXT, quote_value

Check = Callable[[Audit, str, Any], Any]

DENIED_BY = ("practitioner", "patient", "client", "reason")
"""What denied attempts may be grouped by."""

DISCLOSURES = ("accountable", "to the patient", "operations", "cannot tell")
"""The kinds of disclosures: in the accounting of 45 CFR 164.528, or left out of it, or of an unknown purpose."""

_LEAST_REASON = 10


def _known(audit: Audit, name: str, value: Any) -> str:
    return require_known(audit.database, "campaign" if name.endswith("_review") else name, value)


def _instant(audit: Audit, name: str, value: Any) -> Any:
    return None if value in (None, "") else instant(name, value, audit.tz)


def _whole(least: int, most: int) -> Check:
    def check(_: Audit, name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidInput(f"{name}: a whole number from {least:,} to {most:,}, not {quote_value(value)}")
        return value

    return check


def _times(_: Audit, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 1000:
        raise InvalidInput(f"{name}: a number from 1 to 1,000, not {quote_value(value)}")
    return value


def _truth(_: Audit, name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}: True or False, not {quote_value(value)}")
    return value


def _text(_: Audit, name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value:
        raise InvalidInput(f"{name}: a text of at most {LONGEST_TEXT} characters, not {quote_value(value)}")
    return value.strip()


def _one_of(words: tuple[str, ...]) -> Check:
    def check(_: Audit, name: str, value: Any) -> str:
        if value not in words:
            raise InvalidInput(f"{name}: one of {', '.join(words)}, not {quote_value(value)}")
        return str(value)

    return check


def _policy(audit: Audit, name: str, value: Any) -> str:
    """Nothing for the policy of the time, `TODAY`, or a version that served here."""
    version = _text(audit, name, value)
    if version not in ("", TODAY):
        try:
            audit.pdp.of_version(version)
        except PolicyUnknown as error:
            raise InvalidInput(
                f"{name}: today, or a version that served here, not {quote_value(value)}: {error}"
            ) from error
    return version


_DAYS = _whole(0, 36_500)
_COUNT = _whole(1, 1_000_000)
PARAMETERS: Mapping[str, Check] = {
    **dict.fromkeys(("patient", "practitioner", "subscription", "since_review", "until_review"), _known),
    **dict.fromkeys(("since", "until"), _instant),
    **dict.fromkeys(("open_days", "unused_days", "every_days"), _DAYS),
    **dict.fromkeys(("least", "many", "hub", "hops", "most"), _COUNT),
    "tolerance": _whole(0, 86_400),
    "times": _times,
    "names": _truth,
    "reason": _text,
    "by": _one_of(DENIED_BY),
    "kind": _one_of(DISCLOSURES),
    "policy": _policy,
}
"""How each parameter is checked."""


def require_reason(reason: str) -> None:
    """Raise `InvalidInput` unless it is said why names are read."""
    if len(reason) < _LEAST_REASON:
        raise InvalidInput(
            f"reason: say in {_LEAST_REASON} to {LONGEST_TEXT} characters why the names are indispensable"
        )
