"""One change: its transaction, its locks, its questions to the PDP, and the record of it.

`perform` is the frame around every operation; a `Change` is what an operation works with inside it.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import peewee

from authz.database import check_clock, database_connection, pipelined
from authz.database.statements import (
    OPERATIONS_LOCK,
    RECORD_LOCK,
    execute_in,
    in_clause,
    insert_row,
    insert_rows,
    run,
    take_locks,
    update_row,
)
from authz.domain import FOREVER, FOREVER_MICROS, Row, from_micros, normalise_login, to_micros
from authz.errors import (
    BatchRefused,
    CaregrantError,
    Conflict,
    Denied,
    InvalidInput,
    NotEligible,
    NotFound,
    SelfTarget,
)
from authz.models import Grant, Notification
from authz.operations.idempotency import IdempotencyKey, ReplayedResponse
from authz.policy.decision import Decision as Decided
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.record import NOUNS, Actor, NewEvent, RecordedQuestion, append, fact_change, record_decisions
from authz.texts import is_stored_id

T = TypeVar("T")
R = TypeVar("R")

# Row locks of PostgreSQL. Neither keeps others from referring to the row.
EXCLUSIVE, SHARED = "FOR NO KEY UPDATE", "FOR SHARE"
MOST_AT_ONCE = 500
"""The most patients of one request."""
LONGEST_REASON = 500
"""Characters of a reason."""
_LONGEST_WAIT = timedelta(minutes=1)
_NOTIFIED = ("at", "practitioner", "kind", "patient", "colleague", "actor", "read_at", "subscription")
_PERSON = "SELECT id, login, name FROM practitioner WHERE login = {}"
_GRANT = {field.name: field.column_name for field in Grant._meta.sorted_fields}
_LIVE = (
    f'SELECT {", ".join(_GRANT.values())} FROM "grant" '
    "WHERE patient_id = {} AND started_at <= {} AND ended_at > {} ORDER BY role, id"
)

NOTICES = {
    "share:received": "a colleague shared a patient with you",
    "share:given": "you shared a patient with a colleague",
    "share:ended": "a share that you gave or had has ended",
    "transfer:received": "a patient was transferred to you",
    "transfer:given": "a patient of yours was transferred to a colleague",
    "standing_share:received": "a colleague shares everything with you",
    "standing_share:given": "you share everything with a colleague",
    "standing_share:ended": "a standing share that you gave or had has ended",
    "patient:ended": "a patient of yours left the clinic",
}
"""Of what practitioners are told."""


class Person(NamedTuple):
    """A practitioner as their colleagues know them."""

    id: str
    login: str
    name: str


class Change:
    """A change under way. `now` is the instant of it: not before any other change of the patients locked."""

    def __init__(self, pdp: PDP, actor: Actor) -> None:
        self.pdp, self.actor, self.now = pdp, actor, actor.now
        self.database = pdp.database
        self.permitted_before: frozenset[str] = frozenset()
        self.subscriptions: dict[str, str] = {}
        self.entered = ""
        self._permitted: list[tuple[RecordedQuestion, Decided]] = []
        self._refused: list[tuple[RecordedQuestion, Decided]] = []
        self._happened: list[NewEvent] = []
        self._notices: list[tuple[Any, ...]] = []
        self._answers: dict[tuple[str, str, Ref], Decided] = {}
        self._live: dict[str, list[Row]] = {}
        self._people: dict[str, Person] = {}

    # Locks and questions.

    def rows(self, query: Any, *, lock: str = "") -> list[Row]:
        """The rows of a query; `lock` (`EXCLUSIVE`, `SHARED`) holds them until the transaction ends.

        SQLite's transaction holds the whole file anyway.
        """
        if lock and self.database.dialect == "postgresql":
            query = query.for_update(lock)
        return list(query.dicts().execute(self.database))

    def row(self, query: Any, *, lock: str = "") -> Row | None:
        """The one row of a query, or None."""
        return next(iter(self.rows(query, lock=lock)), None)

    def _read(self, sql: str, *values: Any, lock: str = "") -> Any:
        """A cursor on what every operation reads; as text, for making a statement takes longer than running it."""
        held = f" {lock}" if lock and self.database.dialect == "postgresql" else ""
        return run(self.database, sql + held, *values)

    def lock(self, names: Sequence[str], colleague: str | None = None) -> None:
        """Lock these patients, in one order for everybody, and hold their subscriptions as they are. Who has the login
        `colleague` is asked with it.
        """
        wanted = sorted({name for name in names if is_stored_id(name)})
        if not wanted:
            return
        found = self._ask_patients(wanted)
        some, values = in_clause(self.database, wanted)
        held = self._ask_hold(f"IN (SELECT subscription_id FROM patient WHERE id {some})", values, SHARED)
        asked = {} if colleague is None else {colleague: self._ask_person(colleague)}
        self.subscriptions = dict(found.fetchall())
        self._people = {login: person() for login, person in asked.items()}
        held()  # last: on SQLite what is left unread by a refusal would keep an old state of the facts in sight
        self.entered = max(self.subscriptions.values(), default="")

    def lock_patients(self, names: Sequence[str]) -> None:
        """Lock these patients, in one order for everybody, for a change that then takes their subscription alone."""
        if names:
            self.subscriptions |= dict(self._ask_patients(sorted(names)).fetchall())

    def _ask_patients(self, names: list[str]) -> Any:
        sql = "SELECT id, subscription_id FROM patient WHERE id"
        return execute_in(self.database, sql, names, lock=EXCLUSIVE, close=" ORDER BY id")

    def enter(self, subscription: str, lock: str = SHARED) -> bool:
        """Hold a subscription: its memberships change before this change or after it, never meanwhile. Return whether
        it exists.

        This change is then no earlier than the last one there: its request may have waited for that.
        """
        self.entered = subscription
        some, values = in_clause(self.database, [subscription])
        return is_stored_id(subscription) and self._ask_hold(some, values, lock)()

    def _ask_hold(self, which: str, values: list[Any], lock: str) -> Callable[[], bool]:
        """Two statements, however many there are and whether or not they are there: the time tells nothing (T1)."""
        some = f"FROM subscription WHERE id {which}"
        last = "SELECT at FROM event WHERE subscription = subscription.id ORDER BY event.id DESC LIMIT 1"
        held = lock if self.database.dialect == "postgresql" else ""
        locked = self.database.execute_sql(f"SELECT id {some} ORDER BY id {held}", values)
        asked = self.database.execute_sql(f"SELECT max(({last})) {some}", values)

        def answer() -> bool:
            found, ((at,),) = locked.fetchall(), asked.fetchall()
            self._wait_for(at)
            return bool(found)

        return answer

    def _wait_for(self, at: int | None) -> None:
        """Set this change's instant after the last event, if a wait explains the difference. An event further ahead was
        written by a wrong clock, and does not move what is true now: above all, what ends now ends now.
        """
        if at is not None and from_micros(at) - self.actor.now <= _LONGEST_WAIT:
            self.now = max(self.now, from_micros(at))

    def ask(self, who: str, action: str, resource: Ref) -> Decided:
        """The PDP's decision inside this transaction, recorded with it if it permits, and else when that is undone.

        A patient of a subscription that the app's key does not serve is as unknown as one that does not exist, and the
        same is asked.
        """
        decision = self._answers.pop((who, action, resource), None) or self._decisions([(who, action, resource)])[0]
        asked = RecordedQuestion(("practitioner", who), action, resource)
        (self._permitted if decision.allowed else self._refused).append((asked, decision))
        return decision

    def foresee(self, patient: str, questions: Sequence[tuple[str, str]]) -> None:
        """Ask at once what the next `ask` about a patient will ask, each a practitioner and an action, and
        `live_grants`. What is not asked for then was no answer.
        """
        about = [(who, action, ("patient", patient)) for who, action in questions]
        live = self._ask_live(patient)
        self._answers.update(zip(about, self._decisions(about), strict=True))
        self._live[patient] = live()

    def _decisions(self, questions: Sequence[tuple[str, str, Ref]]) -> list[Decided]:
        asked = [
            (("practitioner", who), action, resource if self.serves(resource) else (resource[0], str(uuid.uuid4())))
            for who, action, resource in questions
        ]
        return self.pdp.evaluate_many(asked, now=self.now)

    def serves(self, resource: Ref) -> bool:
        """Whether a patient or subscription exists for the app's key."""
        name: str | None = resource[1]
        if resource[0] == "patient":
            name = self.subscriptions.get(resource[1])
        return self.actor.tenant in (None, name)

    def permit(self, action: str, resource: Ref) -> None:
        """Go on only if the practitioner who acts may do this.

        Raises `Conflict` where they might until a moment ago, `Denied` for what they may know of, else `NotFound`.
        """
        if self.ask(self.actor.practitioner, action, resource).allowed:
            return
        if resource[1] in self.permitted_before and self.serves(resource):
            raise Conflict("Somebody else has changed this in the meantime.")
        knows = ("view", "list_access") if resource[0] == "patient" else ("receive", "audit")
        answers = [self.ask(self.actor.practitioner, known, resource).allowed for known in knows]
        raise Denied(action) if any(answers) else NotFound

    def colleague(self, login: str) -> Person:
        """The practitioner with this login, whatever they may. Raises `SelfTarget`.

        Where there is none, somebody unknown: they are asked about as well, so that the refusal takes as long.
        """
        person = self._people.pop(login, None) or self._ask_person(login)()
        if person.id == self.actor.practitioner:
            raise SelfTarget
        return person

    def _ask_person(self, login: str) -> Callable[[], Person]:
        try:
            normal = normalise_login(login)
        except InvalidInput:
            normal = ""  # nobody's login, read all the same: what cannot be a login takes as long to refuse
        asked = self._read(_PERSON, normal)

        def answer() -> Person:
            found = asked.fetchone()
            return Person(*found) if found else Person(str(uuid.uuid4()), "", "")

        return answer

    def receive(self, colleague: Person, resource: Ref) -> None:
        """Go on only if a colleague may receive here. Raises `NotEligible`, the same for every cause."""
        if not self.ask(colleague.id, "receive", resource).allowed:
            raise NotEligible

    # Facts.

    def live_grants(self, patient: str) -> list[Row]:
        """The grants of a patient that are live now; the owner's first."""
        return self._live.pop(patient, None) or self._ask_live(patient)()

    def _ask_live(self, patient: str) -> Callable[[], list[Row]]:
        now = to_micros(self.now)
        asked = self._read(_LIVE, patient, now, now)

        def answer() -> list[Row]:
            found = [dict(zip(_GRANT, values, strict=True)) for values in asked.fetchall()]
            for row in found:
                row["started_at"], row["ended_at"] = from_micros(row["started_at"]), from_micros(row["ended_at"])
            return found

        return answer

    def has_ended(self, row: Row) -> bool:
        """Whether a fact has ended, or never begins: a clock stood ahead, and it was ended before its start."""
        return bool(row["ended_at"] <= max(self.now, row["started_at"]))

    def start(self, noun: str, subscription: str, /, **columns: Any) -> Row:
        """Begin a fact now."""
        row = {"started_at": self.now, "ended_at": FOREVER, **columns}
        if noun in ("grant", "standing_share"):
            row = {"given_by": self.actor.practitioner, "reason": "", "ended_by": "", "end_cause": "", **row}
        row["id"] = insert_row(self.database, NOUNS[noun], row)
        body = fact_change(noun, None, row, **{noun: str(row["id"])})
        self.happened(f"{noun}:started", subscription, body, str(columns.get("patient", "")), row.get("reason", ""))
        return row

    def end(self, noun: str, subscription: str, row: Row, cause: str = "") -> None:
        """End a fact now; the row stays."""
        after = {**row, "ended_at": max(self.now, row["started_at"])}
        if noun in ("grant", "standing_share"):
            after |= {"ended_by": self.actor.practitioner, "end_cause": cause}
        columns: Row = {name: after[name] for name in ("ended_at", "ended_by", "end_cause") if name in after}
        update_row(self.database, NOUNS[noun], row["id"], columns)
        body = fact_change(noun, row, after, **{noun: str(row["id"])})
        self.happened(f"{noun}:ended", subscription, body, str(row.get("patient", "")))

    # The record.

    def happened(
        self, kind: str, subscription: str, body: Mapping[str, Any], patient: str = "", reason: str = ""
    ) -> None:
        self._happened.append(NewEvent(kind, subscription, body, patient, reason))

    def notify(self, kind: str, practitioner: str, colleague: str, subscription: str, patient: str = "") -> None:
        """Tell a practitioner, together with the change: ids only, so that a notice tells nothing by itself."""
        assert kind in NOTICES, kind
        row = (
            to_micros(self.now),
            practitioner,
            kind,
            patient,
            colleague,
            self.actor.practitioner,
            FOREVER_MICROS,
            subscription,
        )
        self._notices.append(row)

    def close(self) -> None:
        """Write what was gathered, last of all: events take turns."""
        insert_rows(self.database, Notification, _NOTIFIED, self._notices)
        record_decisions(self.database, self.actor, self._permitted, record_locked=True)
        append(self.database, self.actor, self._happened, self.now)

    def record_refusals(self) -> None:
        """The denials of a change that was undone; they stay."""
        record_decisions(self.database, self.actor, self._refused)


def perform(
    pdp: PDP,
    actor: Actor,
    work: Callable[[Change], T],
    *,
    idempotency_key: IdempotencyKey | None = None,
    action: str = "",
    patients: Sequence[str] = (),
    colleague: str | None = None,
    manages: str = "",
) -> T:
    """Do `work` in one transaction, under a lock on `patients`; all of it or nothing. It will ask for `colleague`.

    Raises `Conflict` if somebody was faster, `ReplayedResponse` for an idempotency key that was answered, `KeyReused`
    for one that came with another request, and `Unavailable`, also for a clock that is not the database's.

    `manages` names a subscription that the practitioner may manage when the request comes: if they may not any more
    when the lock is theirs, somebody was faster.
    """
    change = Change(pdp, actor)
    with database_connection(pdp.database):
        who = ("practitioner", actor.practitioner)
        asked = [(who, action, ("patient", name)) for name in patients if action]
        if manages and actor.practitioner:
            asked.append((who, "manage", ("subscription", manages)))
        answers = pdp.evaluate_many(asked, now=actor.now) if asked else []
        change.permitted_before = frozenset(
            name for (_, _, (_, name)), decision in zip(asked, answers, strict=True) if decision.allowed
        )
        try:
            with pipelined(pdp.database):
                take_locks(pdp.database, OPERATIONS_LOCK, RECORD_LOCK)
                same_clock = check_clock(pdp.database)
                if idempotency_key is not None:
                    _claim(change, idempotency_key)
                change.lock(patients, colleague)
                result = work(change)
                same_clock()
                change.close()
                if idempotency_key is not None:
                    idempotency_key.store(pdp.database, result, change.entered)
                return result
        except peewee.IntegrityError as error:
            raise Conflict("Somebody else has changed this in the meantime.") from error
        except CaregrantError:
            change.record_refusals()
            raise


def _claim(change: Change, idempotency_key: IdempotencyKey) -> None:
    """Make the key ours. A stored answer is for who may still receive where it was given (T15)."""
    try:
        idempotency_key.claim(change.database, change.actor.now)
    except ReplayedResponse as answered:
        where = ("subscription", answered.subscription)
        if change.actor.practitioner and not change.ask(change.actor.practitioner, "receive", where).allowed:
            raise NotFound from None
        raise


def check_several(patients: Sequence[str]) -> None:
    """Raise `InvalidInput` for no patient, for too many, or for one that stands there twice."""
    if not patients:
        raise InvalidInput("patients: name at least one")
    if len(patients) > MOST_AT_ONCE:
        raise InvalidInput(f"patients: name at most {MOST_AT_ONCE}")
    if len(set(patients)) < len(patients):
        raise InvalidInput("patients: one stands there twice")


def each(patients: Sequence[str], work: Callable[[str], R]) -> list[R]:
    """`work` for each patient; a single refusal as it is, several patients' refusals together."""
    done: list[R] = []
    refusals: list[tuple[int, CaregrantError]] = []
    for at, name in enumerate(patients):
        try:
            done.append(work(name))
        except (Conflict, Denied, NotEligible, NotFound) as error:
            refusals.append((at, error))
    if refusals and len(patients) == 1:
        raise refusals[0][1]
    if refusals:
        raise BatchRefused(refusals)
    return done


def bounded(reason: str) -> str:
    """A reason as it is stored. Raises `InvalidInput` for one that is too long or holds control characters."""
    if len(reason) > LONGEST_REASON or not all(character.isprintable() for character in reason):
        raise InvalidInput(f"reason: up to {LONGEST_REASON} characters, none of them a control character")
    return reason


def in_future(until: datetime | None, now: datetime) -> datetime:
    """The end of a share. Raises `InvalidInput` for one that is not in the future."""
    if until is not None and until <= now:
        raise InvalidInput("until: lies in the past")
    return FOREVER if until is None else until
