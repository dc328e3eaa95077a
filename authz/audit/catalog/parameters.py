"""The parameters of the questions: what each may be, checked before a question is asked.

A question cannot have a parameter that is not listed here: `AuditQuestion` refuses it when the question is defined.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from authz.audit.catalog.known_ids import require_known
from authz.audit.session import TODAY, Audit
from authz.audit.times import parse_time
from authz.errors import InvalidInput, PolicyRefused, PolicyUnknown
from authz.policy.compiler import load
from authz.texts import LONGEST_TEXT, quote_value

Check = Callable[[Audit, str, object], Any]
"""Returns the value of a parameter, given its name and what the caller passed. Raises `InvalidInput`."""

DENIED_BY = ("practitioner", "patient", "client", "reason")
"""The columns by which denied attempts can be grouped."""

DISCLOSURES = ("accountable", "to the patient", "operations", "cannot tell")
"""The kinds of disclosures: in the accounting of 45 CFR 164.528, left out of it (two kinds), or of unknown purpose."""

_SHORTEST_REASON = 10


def _known_id(audit: Audit, name: str, value: object) -> str:
    return require_known(audit.database, "campaign" if name.endswith("_review") else name, value)


def _instant(audit: Audit, name: str, value: object) -> datetime | None:
    return None if value in (None, "") else parse_time(name, value, audit.tz)


def _whole(lowest: int, highest: int) -> Check:
    def check(_: Audit, name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise InvalidInput(f"{name}: a whole number from {lowest:,} to {highest:,}, not {quote_value(value)}")
        return value

    return check


def _times(_: Audit, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 1000:
        raise InvalidInput(f"{name}: a number from 1 to 1,000, not {quote_value(value)}")
    return value


def _truth(_: Audit, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}: True or False, not {quote_value(value)}")
    return value


def _text(_: Audit, name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value:
        raise InvalidInput(f"{name}: a text of at most {LONGEST_TEXT} characters, not {quote_value(value)}")
    return value.strip()


def _one_of(choices: tuple[str, ...]) -> Check:
    def check(_: Audit, name: str, value: object) -> str:
        if value not in choices:
            raise InvalidInput(f"{name}: one of {', '.join(choices)}, not {quote_value(value)}")
        return str(value)

    return check


def _policy(audit: Audit, name: str, value: object) -> str:
    """Return an empty text (the policy of that time), `TODAY`, or a version that served here."""
    version = _text(audit, name, value)
    if version not in ("", TODAY):
        try:
            audit.pdp.of_version(version)
        except PolicyUnknown as error:
            why = f"not {quote_value(value)}: {error}"
            raise InvalidInput(f"{name}: today, or a version that served here, {why}") from error
    return version


def _candidate(audit: Audit, name: str, value: object) -> str:
    """Return the folder of a policy that compiles, `TODAY`, or a version that served here."""
    folder = _text(audit, name, value)
    if not Path(folder).is_dir():
        return _policy(audit, name, folder or TODAY)
    try:
        load(folder)
    except PolicyRefused as error:
        raise InvalidInput(f"{name}: {error}") from error
    return folder


_DAYS = _whole(0, 36_500)
_COUNT = _whole(1, 1_000_000)
PARAMETERS: Mapping[str, Check] = {
    **dict.fromkeys(("patient", "practitioner", "subscription", "since_review", "until_review"), _known_id),
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
    "candidate": _candidate,
}
"""The check of each parameter."""


def require_reason(reason: str) -> None:
    """Raise `InvalidInput` unless the text says why names are read."""
    if len(reason) < _SHORTEST_REASON:
        raise InvalidInput(
            f"reason: say in {_SHORTEST_REASON} to {LONGEST_TEXT} characters why the names are indispensable"
        )
