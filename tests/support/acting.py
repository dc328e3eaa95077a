"""Actors of the cast, at the cast's instant or some seconds later, and a clinic to look into."""

from datetime import datetime, timedelta
from typing import Any

from authz.database import Database
from authz.models import Event, Grant, Notification, RecordedDecision
from authz.policy.compiler import CompiledPolicy, load
from authz.policy.pdp import PDP
from authz.record import Actor, record_policy_loaded, replay_facts
from authz.settings import shipped_folder
from tests.support.people import NOW

POLICY = load(shipped_folder("policies"))


def by(who: str, later: float = 0, **more: Any) -> Actor:
    """Return an actor at the cast's instant or some seconds later."""
    return Actor(who, NOW + timedelta(seconds=later), **more)


def login(who: str) -> str:
    return f"{who}@clinic.example"


def pdp_of(database: Database, later: float = 0) -> PDP:
    """Return a PDP whose clock stands at the cast's instant or some seconds later."""
    return PDP(database, POLICY, clock=lambda: NOW + timedelta(seconds=later))


def served_since(database: Database, at: datetime, policy: CompiledPolicy = POLICY) -> None:
    """Record that a service began to decide by a policy at an instant."""
    record_policy_loaded(database, Actor("", at), policy, "policies")


class Clinic:
    """A database with the cast in it: its grants, and the events and decisions since."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.pdp = pdp_of(database)
        self._before = Event.select().count(database)

    def viewers(self, patient: str = "p-1", later: float = 0) -> list[str]:
        return self.pdp.search_subjects(
            "practitioner", "view", ("patient", patient), now=NOW + timedelta(seconds=later)
        )

    def holders(self, patient: str = "p-1", later: float = 0) -> list[tuple[str, str]]:
        """Return the live grants of a patient as (practitioner, role), the owner first."""
        at = NOW + timedelta(seconds=later)
        grants = Grant.select().where(Grant.patient == patient, Grant.started_at <= at, Grant.ended_at > at)
        rows = grants.order_by(Grant.role, Grant.practitioner).dicts().execute(self.database)
        return [(row["practitioner"], row["role"]) for row in rows]

    def events(self) -> list[str]:
        """Return the kinds of the events appended since, each with its cause where it has one."""
        rows = Event.select().order_by(Event.id).offset(self._before).execute(self.database)
        return [":".join(filter(None, (row.kind, (row.body.get("after") or {}).get("end_cause")))) for row in rows]

    def last_event(self) -> Any:
        return Event.select().order_by(Event.id.desc()).limit(1).execute(self.database)[0]

    def notifications(self, who: str) -> list[tuple[str, str]]:
        """Return somebody's notifications as (kind, patient)."""
        rows = Notification.select().where(Notification.practitioner == who).order_by(Notification.id)
        return [(row.kind, row.patient) for row in rows.execute(self.database)]

    def decisions(self) -> list[tuple[str, str, bool]]:
        rows = RecordedDecision.select().order_by(RecordedDecision.id).execute(self.database)
        return [(row.subject, row.action, row.allowed) for row in rows]

    def grant(self, who: str, patient: str = "p-1") -> int:
        """Return the number of somebody's last grant."""
        grants = Grant.select().where(Grant.patient == patient, Grant.practitioner == who).order_by(Grant.id.desc())
        number: int = grants.limit(1).execute(self.database)[0].id
        return number

    def unaccounted(self) -> list[str]:
        """Return the rows without an event, but for the cast's rows, which never had one."""
        return [str(difference) for difference in replay_facts(self.database)[1] if difference.side == "told"]
