"""Rows in memory, from the database or from a line of the import, and the columns in which they are stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authz.domain import Row
from authz.models import Fact, Licence, Membership, StandingShare
from authz.record import serialize_entity
from authz.record.links import Links

Key = tuple[str, ...]
"""The values that lives have in common: of a licence its subscription, of a membership three ids, and so on."""

LIFE_MODELS: Mapping[str, type[Fact]] = {
    "licence": Licence,
    "membership": Membership,
    "standing_share": StandingShare,
}
SPAN = ("started_at", "ended_at")
KEY_COLUMNS: Mapping[str, Key] = {
    "licence": ("subscription",),
    "membership": ("practitioner", "subscription", "role"),
    "standing_share": ("owner", "colleague", "subscription"),
}
OTHER_COLUMNS: Mapping[str, Key] = {
    "licence": (),
    "membership": (),
    "standing_share": ("content", "given_by", "reason", "ended_by", "end_cause"),
}
LIFE_COLUMNS = {noun: (*KEY_COLUMNS[noun], *OTHER_COLUMNS[noun], *SPAN) for noun in LIFE_MODELS}
_GRANT_FIELDS = ("id", "role", "origin", "given_by", "ended_by", "end_cause", "undo_until")
GRANT_COLUMNS = f"patient_id, started_at, ended_at, practitioner_id, {', '.join(_GRANT_FIELDS)}"


@dataclass(slots=True)
class Life:
    """A life that is stored or that a line begins; instants are microseconds.

    `other` holds the values of `OTHER_COLUMNS`. `previous_end` holds the end and its cause before a line changed them.
    """

    started: int
    ended: int
    id: int | None = None
    other: dict[str, object] = field(default_factory=dict)
    end_cause: str = ""
    previous_end: tuple[int, str] | None = None

    def move_end(self, at: int, cause: str) -> None:
        """Give the life another end."""
        self.previous_end = self.previous_end or (self.ended, self.end_cause)
        self.ended, self.end_cause = at, cause

    def cut(self, now: int) -> None:
        """End the life now, or at its start if it has not begun; if it has ended, it stays as it is."""
        end = max(now, self.started)
        if self.ended > end:
            self.move_end(end, "imported")

    @property
    def is_lasting(self) -> bool:
        """Whether the life has any length: one that was ended before its start has none."""
        return self.started < self.ended


@dataclass(slots=True, kw_only=True)
class GrantLife(Life):
    """A grant on a patient."""

    practitioner: str
    role: str
    origin: str = "imported"
    given_by: str = ""
    ended_by: str = ""
    reason: str = ""
    undo_until: int = 0

    def row(self, patient: str) -> Row:
        """Return the grant's row by its columns."""
        return {
            "patient": patient,
            "practitioner": self.practitioner,
            "role": self.role,
            "origin": self.origin,
            "given_by": self.given_by,
            "reason": self.reason,
            "ended_by": self.ended_by,
            "end_cause": self.end_cause,
            "undo_until": self.undo_until,
            "started_at": self.started,
            "ended_at": self.ended,
        }


def stored_grant(columns: list[Any]) -> GrantLife:
    """Return a grant from the values of `GRANT_COLUMNS`, without the patient."""
    return GrantLife(**dict(zip(("started", "ended", "practitioner", *_GRANT_FIELDS), columns, strict=True)))


@dataclass(slots=True)
class PatientState:
    """A patient with the grants on them, and the names of what lines changed."""

    subscription: str
    name: str
    reference: str
    started: int
    ended: int
    grants: list[GrantLife] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    @property
    def owners(self) -> list[GrantLife]:
        """The owners' grants, in the order of their starts."""
        return sorted((grant for grant in self.grants if grant.role == "owner"), key=lambda grant: grant.started)

    def grants_of(self, practitioner: str) -> list[GrantLife]:
        """Return the grants that a practitioner holds or held."""
        return [grant for grant in self.grants if grant.practitioner == practitioner]


@dataclass(slots=True, kw_only=True)
class EntityVersion(Life):
    """A version of an entity; of one that has ended here, `properties` and `links` are read only if a line needs them.

    `subscription` is the clinic that it belongs to.
    """

    properties: object = None
    links: Links = field(default_factory=dict)
    subscription: str = ""

    def serialize(self, key: tuple[str, str], ended: int | None = None) -> dict[str, object]:
        """Return this version as events hold it, with its end or another."""
        kind, entity = key
        life = {"started_at": self.started, "ended_at": self.ended if ended is None else ended}
        row = {"type": kind, "id": entity, "properties": self.properties, "subscription": self.subscription, **life}
        return serialize_entity(row, self.links)


def life_row(noun: str, key: Key, life: Life) -> Row:
    """Return the row of a life by its columns, in the order of `LIFE_COLUMNS`."""
    other = {name: life.end_cause if name == "end_cause" else life.other[name] for name in OTHER_COLUMNS[noun]}
    keys = dict(zip(KEY_COLUMNS[noun], key, strict=True))
    return {**keys, **other, "started_at": life.started, "ended_at": life.ended}


def row_before(after: Row, life: Life) -> Row:
    """Return the row as it was before its end was changed."""
    ended, cause = life.previous_end or (life.ended, life.end_cause)
    return {**after, "ended_at": ended, **({"end_cause": cause} if "end_cause" in after else {})}
