"""The refusal of an action: `Denied`, or `NotFound` if the subject may not know that the resource exists."""

from collections.abc import Callable

from authz.errors import Denied, NotFound

_KNOWN_BY = {"patient": ("view", "list_access"), "subscription": ("receive", "audit")}
"""The actions by which somebody may know that a resource exists, for each type."""


def refusal_of(action: str, resource_type: str, is_permitted: Callable[[str], bool]) -> Denied | NotFound:
    """Return the refusal of an action: `Denied` if the subject may know of the resource, else `NotFound`.

    `is_permitted` says whether the subject may take another action on the same resource. It is called for every action,
    also after a permit, so that the time does not tell (T1).
    """
    known = [is_permitted(other) for other in _KNOWN_BY[resource_type]]
    return Denied(action) if any(known) else NotFound()
