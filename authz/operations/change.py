"""A change: the locks, questions, facts and records of an operation inside its transaction."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import peewee

from authz.database.statements import insert_row, update_row
from authz.domain import EPOCH, FOREVER, Row, from_micros
from authz.errors import Conflict, NotEligible, SelfTarget
from authz.models import Fact
from authz.operations.colleague import Person, find_person
from authz.operations.grants import GrantRow, find_live_grants
from authz.operations.locks import (
    SHARED,
    LockedSubscriptions,
    lock_clause,
    lock_patient_rows,
    lock_subscription_row,
    lock_subscriptions_of_patients,
)
from authz.operations.notices import NOTICES, NewNotice, insert_notices
from authz.policy.decision import Decision, Ref
from authz.policy.pdp import PDP
from authz.policy.refusal import refusal_of
from authz.record import NOUNS, Actor, NewEvent, RecordedQuestion, append, fact_change, record_decisions
from authz.texts import is_stored_id

T = TypeVar("T")
_LONGEST_WAIT = timedelta(minutes=1)
CHANGED_MEANWHILE = "Somebody else has changed this in the meantime."


@dataclass(frozen=True)
class PatientFacts:
    """Facts that `Change.prefetch` read about one patient: decisions by practitioner and action, and the live grants.

    The owner's grant comes first. A decision is recorded when the operation uses it (`Change.evaluate`): a decision
    that no operation uses was no answer.
    """

    decisions: Mapping[tuple[str, str], Decision]
    grants: Sequence[GrantRow]


class Change:
    """The change that an operation makes. `now` is its instant: no earlier change of the locked patients is later.

    `subscriptions` holds the subscription of each locked patient, `subscription` the last one that was locked.
    `permitted_before` holds the resources on which the policy permitted the operation before the locks.
    """

    def __init__(self, pdp: PDP, actor: Actor) -> None:
        self.pdp, self.actor, self.now = pdp, actor, actor.now
        self.database = pdp.database
        self.permitted_before: frozenset[Ref] = frozenset()
        self.subscriptions: dict[str, str] = {}
        self.subscription = ""
        self.result: object = None
        self._permitted: list[tuple[RecordedQuestion, Decision]] = []
        self._refused: list[tuple[RecordedQuestion, Decision]] = []
        self._events: list[NewEvent] = []
        self._notices: list[NewNotice] = []

    # Locks.

    def lock_patients(self, patients: Iterable[str]) -> None:
        """Lock these patients, ordered by id, and then their subscriptions, as `lock_subscription` does."""
        self._lock(patients, login=None)

    def lock_with_colleague(self, patients: Iterable[str], login: str) -> Person:
        """Lock as `lock_patients` does, and return the colleague with this login. Raises `SelfTarget`."""
        person = self._lock(patients, login)
        return self._require_other(person) if person else self.find_colleague(login)

    def _lock(self, patients: Iterable[str], login: str | None) -> Person | None:
        named = sorted({patient for patient in patients if is_stored_id(patient)})
        if not named:
            return None
        locked_patients = lock_patient_rows(self.database, named)
        locked = lock_subscriptions_of_patients(self.database, named)
        person = None if login is None else find_person(self.database, login)
        self.subscriptions |= locked_patients.result()
        self.subscription = max(self.subscriptions.values(), default="")
        colleague = person.result() if person else None
        self._advance_instant(locked.result())
        return colleague

    def lock_patients_only(self, patients: Sequence[str]) -> None:
        """Lock these patients, but not their subscription, which the operation then locks exclusively."""
        if patients:
            self.subscriptions |= lock_patient_rows(self.database, patients).result()

    def lock_subscription(self, subscription: str, lock: str = SHARED) -> bool:
        """Lock a subscription so that its memberships cannot change; return whether the subscription exists.

        If another operation held the lock, its event is later than this request. `now` moves to the last event then.
        """
        self.subscription = subscription
        locked = lock_subscription_row(self.database, subscription, lock).result()
        self._advance_instant(locked)
        return locked.exist

    def _advance_instant(self, locked: LockedSubscriptions) -> None:
        """Move `now` to the last event of the subscriptions, unless the event is more than a minute ahead.

        A wait for a lock explains a difference of up to a minute. An event further ahead was written by a wrong clock:
        `now` does not follow it, so that access that is ended now ends now (T38).
        """
        if locked.last_event is None:
            return
        last = from_micros(locked.last_event)
        if last - self.actor.now <= _LONGEST_WAIT:
            self.now = max(self.now, last)

    # Questions.

    def find_colleague(self, login: str) -> Person:
        """Return the practitioner with this login, without a question to the policy. Raises `SelfTarget`."""
        return self._require_other(find_person(self.database, login).result())

    def _require_other(self, person: Person) -> Person:
        if person.id == self.actor.practitioner:
            raise SelfTarget
        return person

    def is_in_tenant(self, resource: Ref) -> bool:
        """Return whether a patient or a subscription belongs to the tenant of the app, if the app has one."""
        kind, name = resource
        return self.actor.tenant in (None, self.subscriptions.get(name) if kind == "patient" else name)

    def prefetch(self, patient: str, *questions: tuple[str, str]) -> PatientFacts:
        """Read decisions about a patient, for pairs of practitioner and action, and the live grants, all at once."""
        live = find_live_grants(self.database, patient, self.now)
        decisions = self._evaluate([(practitioner, action, ("patient", patient)) for practitioner, action in questions])
        return PatientFacts(dict(zip(questions, decisions, strict=True)), live.result())

    def evaluate(self, practitioner: str, action: str, resource: Ref, facts: PatientFacts | None = None) -> Decision:
        """Return the PDP's decision inside this transaction, from `facts` if given.

        A permit is recorded with the change, a denial if the change is undone.
        """
        if facts is not None:
            decision = facts.decisions[practitioner, action]
        else:
            (decision,) = self._evaluate([(practitioner, action, resource)])
        question = RecordedQuestion(("practitioner", practitioner), action, resource)
        (self._permitted if decision.allowed else self._refused).append((question, decision))
        return decision

    def _evaluate(self, questions: Sequence[tuple[str, str, Ref]]) -> list[Decision]:
        """Return decisions. A resource outside the tenant of the app is denied like one that does not exist."""
        return self.pdp.evaluate_many(
            [
                (("practitioner", practitioner), action, self._unknown_outside_tenant(resource))
                for practitioner, action, resource in questions
            ],
            now=self.now,
        )

    def _unknown_outside_tenant(self, resource: Ref) -> Ref:
        """Return the resource, or an unknown one in its place if the resource is outside the app's tenant."""
        return resource if self.is_in_tenant(resource) else (resource[0], str(uuid.uuid4()))

    def require_permission(self, action: str, resource: Ref, facts: PatientFacts | None = None) -> None:
        """Refuse the change unless the practitioner who acts may do this.

        Raises `Conflict` if the policy permitted it before the locks; otherwise `Denied` if the practitioner may know
        of the resource, and `NotFound` if not.
        """
        practitioner = self.actor.practitioner
        if self.evaluate(practitioner, action, resource, facts).allowed:
            return
        if resource in self.permitted_before and self.is_in_tenant(resource):
            raise Conflict(CHANGED_MEANWHILE)
        raise refusal_of(action, resource[0], lambda other: self.evaluate(practitioner, other, resource).allowed)

    def require_can_receive(self, colleague: Person, resource: Ref, facts: PatientFacts | None = None) -> None:
        """Refuse the change unless the colleague may receive. Raises `NotEligible`, which does not name the cause."""
        if not self.evaluate(colleague.id, "receive", resource, facts).allowed:
            raise NotEligible

    # Facts.

    def rows(self, query: Any, *, lock: str = "") -> list[Row]:
        """Return the rows of a query; `lock` (`EXCLUSIVE`, `SHARED`) holds them until the transaction ends."""
        if clause := lock_clause(self.database, lock):
            query = query.for_update(clause)
        return list(query.dicts().execute(self.database))

    def row(self, query: object, *, lock: str = "") -> Row | None:
        """Return the first row of a query, or None."""
        return next(iter(self.rows(query, lock=lock)), None)

    def grants(self, query: object) -> list[GrantRow]:
        """Return the grants of a query of `authz.models.Grant`."""
        return [GrantRow(**row) for row in self.rows(query)]

    def live_grants(self, patient: str) -> list[GrantRow]:
        """Return the grants of a patient that are live now; the owner's comes first."""
        return find_live_grants(self.database, patient, self.now).result()

    def is_unended(self, model: type[Fact]) -> peewee.Expression:
        """Return the condition that a row is live, or will begin later and is not ended already.

        A row that was ended before its start, which a clock that was ahead can have written, ends at its start.
        """
        return (model.ended_at > self.now) & (model.ended_at > model.started_at)

    def has_ended(self, row: Row) -> bool:
        """Return whether a row has ended, or will never begin."""
        return bool(row["ended_at"] <= max(self.now, row["started_at"]))

    def start_fact(self, noun: str, subscription: str, /, **columns: Any) -> Row:
        """Insert a fact that is live from now on; return its row."""
        row = {"started_at": self.now, "ended_at": FOREVER, **columns}
        if noun in ("grant", "standing_share"):
            row = {"given_by": self.actor.practitioner, "reason": "", "ended_by": "", "end_cause": "", **row}
        if noun == "grant":
            row = {"undo_until": EPOCH, **row}
        row["id"] = insert_row(self.database, NOUNS[noun], row)
        body = fact_change(noun, None, row, **{noun: str(row["id"])})
        self.record_event(f"{noun}:started", subscription, body, str(columns.get("patient", "")), row.get("reason", ""))
        return row

    def start_grant(self, patient: str, practitioner: str, role: str, **columns: object) -> Row:
        """Insert a grant on a locked patient, live from now on; return its row."""
        subscription = self.subscriptions[patient]
        return self.start_fact("grant", subscription, patient=patient, practitioner=practitioner, role=role, **columns)

    def end_fact(self, noun: str, subscription: str, row: Row, cause: str = "") -> None:
        """End a fact now; its row stays."""
        columns: Row = {"ended_at": max(self.now, row["started_at"])}
        if noun in ("grant", "standing_share"):
            columns |= {"ended_by": self.actor.practitioner, "end_cause": cause}
        self._update_fact(noun, "ended", subscription, row, columns)

    def end_grant(self, grant: GrantRow, cause: str) -> None:
        """End a grant of a locked patient now."""
        self.end_fact("grant", self.subscriptions[grant.patient], grant._asdict(), cause)

    def change_grant(self, grant: GrantRow, **columns: Any) -> Row:
        """Change the end, the reason or `undo_until` of a grant of a locked patient, in its row; return the row."""
        return self._update_fact("grant", "changed", self.subscriptions[grant.patient], grant._asdict(), columns)

    def end_undo(self, owner: GrantRow) -> None:
        """End the time in which a transfer may be undone, if the new owner is who acts on the patient now."""
        if owner.practitioner == self.actor.practitioner and owner.undo_until > self.now:
            self.change_grant(owner, undo_until=self.now)

    def _update_fact(self, noun: str, verb: str, subscription: str, row: Row, columns: Row) -> Row:
        after = {**row, **columns}
        update_row(self.database, NOUNS[noun], row["id"], columns)
        body = fact_change(noun, row, after, **{noun: str(row["id"])})
        if verb == "changed":
            body["changed"] = ["until" if name == "ended_at" else name for name in columns]
        self.record_event(
            f"{noun}:{verb}", subscription, body, str(row.get("patient", "")), str(columns.get("reason", ""))
        )
        return after

    # The record.

    def record_event(
        self, kind: str, subscription: str, body: Mapping[str, object], patient: str = "", reason: str = ""
    ) -> None:
        """Add an event to the record of this change."""
        self._events.append(NewEvent(kind, subscription, body, patient, reason))

    def notify(
        self, kind: str, practitioner: str, colleague: str, subscription: str, patient: str = "", **share: Any
    ) -> None:
        """Notify a practitioner of this change, of which `colleague` is the other side.

        `share` has the fields `grant`, `standing_share` and `until` of `NewNotice`, as far as the change has them.
        """
        assert kind in NOTICES, kind
        self._notices.append(NewNotice(kind, practitioner, colleague, subscription, patient, **share))

    def notify_both(
        self, kind: str, first: str, second: str, subscription: str, patient: str = "", **share: Any
    ) -> None:
        """Notify both sides of this change, with the same kind of notification."""
        self.notify(kind, first, second, subscription, patient, **share)
        self.notify(kind, second, first, subscription, patient, **share)

    def complete(self, result: T) -> T:
        """Return the result of the operation, after keeping it for the answer that its idempotency key stores."""
        self.result = result
        return result

    def write_record(self) -> None:
        """Write notifications, decisions, and events last: transactions append events one after the other."""
        insert_notices(self.database, self._notices, actor=self.actor.practitioner, at=self.now)
        record_decisions(self.database, self.actor, self._permitted, record_locked=True)
        append(self.database, self.actor, self._events, self.now)

    def record_refusals(self) -> None:
        """Record the denials of a change that was undone."""
        record_decisions(self.database, self.actor, self._refused)
