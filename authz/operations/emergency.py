"""Emergency access: a member opens a patient of their clinic for some hours; somebody else reviews it (R13).

The policy permits it by the action `break_glass`, which the shipped policy does not have
(`policies/optional/break_glass.polar`). The grant is a viewer's, of the origin ``emergency``: it ends by itself, and
never gets a later end. The owner and the managers are notified at once.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from authz.database.statements import in_condition, insert_row, update_row
from authz.domain import EMERGENCY_PURPOSES, EMERGENCY_VERDICTS, FOREVER, Row
from authz.errors import Conflict, Denied, InvalidInput, NotFound, TooMany
from authz.models import Emergency, Grant, Membership, Patient, Practitioner, live_at
from authz.operations.change import Change
from authz.operations.clinics import clinics_worked_in
from authz.operations.idempotency import IdempotencyKey
from authz.operations.inputs import parse_reason
from authz.operations.locks import EXCLUSIVE
from authz.operations.transaction import run_operation
from authz.policy.pdp import PDP
from authz.record import Actor
from authz.texts import fold, parse_reference

EMERGENCY_TIME = timedelta(hours=3)
"""The time after which an emergency access ends by itself, unless the service has another setting."""
REVIEW_TIME = timedelta(days=3)
"""The time after the beginning in which somebody else reviews an emergency access."""
MOST_A_DAY = 10
"""The most emergency accesses of a practitioner that begin within 24 hours."""

_DAY = timedelta(days=1)
_SEEN_ALREADY = "You have access to this patient already."
_TAKEN_AWAY = (
    "Your emergency access to this patient was ended. You cannot begin another one until the time at which it would "
    "have ended by itself."
)
_STILL_OPEN = "This emergency access has not ended yet. End it first, or review it after its end."
_REVIEWED = "This emergency access has been reviewed already."


@dataclass(frozen=True)
class EmergencyAccess:
    """An emergency access to a patient: the row of `Emergency`, and the grant."""

    emergency: Row
    grant: Row


def break_glass(
    pdp: PDP,
    *,
    actor: Actor,
    purpose: str,
    reason: str,
    patient: str | None = None,
    reference: str | None = None,
    subscription: str | None = None,
    lasts: timedelta = EMERGENCY_TIME,
    idempotency_key: IdempotencyKey | None = None,
) -> EmergencyAccess:
    """Open a patient in an emergency, who is named by the id, or by the clinic's own number (`reference`).

    `subscription` is the clinic of the reference; by default the only one of the actor's with such a patient.
    Raises `InvalidInput` for a malformed purpose, reason, patient or reference, for a reason that the actor has given
    for this patient before, and if the clinic must be named; `NotFound` and `Denied` if the policy does not permit it;
    `Conflict` if the actor has access already, or if somebody else ended such an access and its time has not passed;
    `TooMany` after `MOST_A_DAY`.
    """
    purpose, reason = _parse_purpose(purpose), _parse_statement(reason)
    if (patient is None) == (reference is None):
        raise InvalidInput("patient, reference: give exactly one of them")
    number = "" if reference is None else parse_reference(reference)
    resources = [] if patient is None else [("patient", patient)]
    with run_operation(
        pdp, actor, action="break_glass", resources=resources, idempotency_key=idempotency_key
    ) as change:
        _lock_own_accesses(change)
        _require_few_accesses(change)
        opened = _find_patient(change, number, subscription) if patient is None else patient
        change.lock_patients([opened])
        open_it, view_it = (actor.practitioner, "break_glass"), (actor.practitioner, "view")
        facts = change.prefetch(opened, open_it, view_it)
        change.require_permission("break_glass", ("patient", opened), facts)
        holders = {grant.practitioner for grant in facts.grants}
        if facts.decisions[view_it].allowed or actor.practitioner in holders:
            raise Conflict(_SEEN_ALREADY)
        _require_new_emergency(change, opened, reason)
        owner, *_ = facts.grants
        return change.complete(_start(change, opened, owner.practitioner, purpose, reason, lasts))


def _parse_purpose(purpose: str) -> str:
    if purpose not in EMERGENCY_PURPOSES:
        raise InvalidInput(f"purpose: is not one of {', '.join(EMERGENCY_PURPOSES)}")
    return purpose


def _parse_statement(reason: str) -> str:
    reason = parse_reason(reason).strip()
    if not any(map(str.isalnum, reason)):
        raise InvalidInput("reason: say why you need this patient now")
    return reason


def _lock_own_accesses(change: Change) -> None:
    """Lock the practitioner's own row, so that their emergency accesses begin one after the other."""
    change.rows(Practitioner.select().where(Practitioner.id == change.actor.practitioner), lock=EXCLUSIVE)


def _find_patient(change: Change, reference: str, subscription: str | None) -> str:
    """Return the patient with a reference in a clinic of the actor; if there is none, an id that nobody has.

    The operation asks the same questions about that id, so that both refusals are the same (T1).
    """
    clinics = [name for name in clinics_worked_in(change) if subscription in (None, name)]
    query = Patient.select(Patient.id).where(
        in_condition(change.database, Patient.subscription, clinics),
        Patient.reference == reference,
        live_at(Patient, change.now),
    )
    patients = [row["id"] for row in change.rows(query.order_by(Patient.id))]
    subject = ("practitioner", change.actor.practitioner)
    questions = [(subject, "break_glass", ("patient", patient)) for patient in patients]
    decisions = change.pdp.evaluate_many(questions, now=change.now)
    permitted = [patient for patient, decision in zip(patients, decisions, strict=True) if decision.allowed]
    if len(permitted) > 1:
        raise InvalidInput("subscription: several of your clinics have this number; name one")
    return permitted[0] if permitted else str(uuid.uuid4())


def _require_new_emergency(change: Change, patient: str, reason: str) -> None:
    """Refuse an access that repeats an earlier one of the same practitioner, or one that somebody else ended early."""
    earlier = _accesses_of(change, change.actor.practitioner, (Grant.patient == patient))
    if earlier and change.now < earlier[-1]["ends_at"] and _was_taken_away(earlier[-1]):
        raise Conflict(_TAKEN_AWAY)
    if fold(reason) in {fold(row["reason"]) for row in earlier}:
        raise InvalidInput("reason: you have given this reason for this patient before; describe the new emergency")


def _was_taken_away(access: Row) -> bool:
    """Return whether somebody else ended an access, or brought its end forward."""
    if access["end_cause"] == "":
        return bool(access["ended_at"] < access["ends_at"])
    return bool(access["end_cause"] != "given_up")


def _require_few_accesses(change: Change) -> None:
    """Refuse more than `MOST_A_DAY`, before the patient is looked for: the refusal tells nothing of any patient."""
    recent = _accesses_of(change, change.actor.practitioner, (Grant.started_at > change.now - _DAY))
    if len(recent) >= MOST_A_DAY:
        free_at = recent[-MOST_A_DAY]["started_at"] + _DAY
        raise TooMany(max(1, int((free_at - change.now).total_seconds())))


def _accesses_of(change: Change, practitioner: str, condition: object) -> list[Row]:
    """Return the emergency accesses of a practitioner that meet a condition, the oldest first."""
    columns = (Grant.reason, Grant.end_cause, Grant.started_at, Grant.ended_at, Emergency.ends_at)
    query = Emergency.select(*columns).join(Grant)
    own = (Grant.practitioner == practitioner, Grant.role == "viewer", condition)
    return change.rows(query.where(*own).order_by(Grant.started_at, Grant.id))


def _start(change: Change, patient: str, owner: str, purpose: str, reason: str, lasts: timedelta) -> EmergencyAccess:
    """Begin the grant and its review, record both, and notify the owner and the managers."""
    who, subscription, end = change.actor.practitioner, change.subscriptions[patient], change.now + lasts
    grant = change.start_grant(patient, who, "viewer", origin="emergency", reason=reason, ended_at=end)
    row: Row = {
        "grant": grant["id"],
        "subscription": subscription,
        "purpose": purpose,
        "started_at": change.now,
        "ends_at": end,
        "due_at": change.now + REVIEW_TIME,
        "reviewer": None,
        "reviewed_at": FOREVER,
        "verdict": "",
    }
    row["id"] = insert_row(change.database, Emergency, row)
    change.record_event("emergency:started", subscription, {"emergency": str(row["id"])}, patient)
    for reader in _find_overseers(change, subscription, owner):
        change.notify("emergency:opened", reader, who, subscription, patient, grant=grant["id"], until=end)
    return EmergencyAccess(row, grant)


def _find_overseers(change: Change, subscription: str, owner: str) -> Sequence[str]:
    """Return the owner and the managers of the clinic, without the practitioner who acts."""
    managers = Membership.select(Membership.practitioner).where(
        Membership.subscription == subscription, Membership.role == "manager", live_at(Membership, change.now)
    )
    return sorted({owner, *(row["practitioner"] for row in change.rows(managers))} - {change.actor.practitioner})


def review_emergency(
    pdp: PDP,
    *,
    actor: Actor,
    emergency: int,
    verdict: str,
    note: str = "",
    idempotency_key: IdempotencyKey | None = None,
) -> EmergencyAccess:
    """Review an emergency access that has ended: justified or unjustified, with a note for the record.

    Whoever may audit the clinic may review, unless they have opened the same patient in an emergency themselves.
    Raises `InvalidInput` for a malformed verdict or note; `NotFound` if there is no such access or the actor may not
    audit its clinic; `Denied` for an own access; `Conflict` if it has not ended, or has been reviewed.
    """
    if verdict not in EMERGENCY_VERDICTS:
        raise InvalidInput(f"verdict: is not one of {', '.join(EMERGENCY_VERDICTS)}")
    note = parse_reason(note).strip()
    with run_operation(pdp, actor, idempotency_key=idempotency_key) as change:
        named = change.row(Grant.select(Grant.patient).join(Emergency).where(Emergency.id == emergency))
        patient = str(uuid.uuid4()) if named is None else named["patient"]
        change.lock_patients([patient])
        row = change.row(Emergency.select().where(Emergency.id == emergency))
        subscription = str(uuid.uuid4()) if row is None else row["subscription"]
        may_audit = change.evaluate(actor.practitioner, "audit", ("subscription", subscription)).allowed
        if row is None or not may_audit:
            raise NotFound
        (grant,) = change.rows(Grant.select().where(Grant.id == row["grant"]))
        _require_reviewer(change, patient)
        if grant["ended_at"] > change.now:
            raise Conflict(_STILL_OPEN)
        if row["verdict"]:
            raise Conflict(_REVIEWED)
        columns: Row = {"verdict": verdict, "reviewer": actor.practitioner, "reviewed_at": change.now}
        update_row(change.database, Emergency, row["id"], columns)
        change.record_event("emergency:reviewed", subscription, {"emergency": str(row["id"])}, patient, note)
        _notify_of_review(change, grant)
        return change.complete(EmergencyAccess({**row, **columns}, grant))


def _require_reviewer(change: Change, patient: str) -> None:
    """Refuse whoever has opened the same patient in an emergency. Raises `Denied`."""
    if _accesses_of(change, change.actor.practitioner, (Grant.patient == patient)):
        raise Denied("review_emergency")


def _notify_of_review(change: Change, grant: Row) -> None:
    patient, holder, reviewer = grant["patient"], grant["practitioner"], change.actor.practitioner
    subscription = change.subscriptions[patient]
    change.notify("emergency:reviewed", holder, reviewer, subscription, patient, grant=grant["id"])
    for owner in [each.practitioner for each in change.live_grants(patient)[:1] if each.role == "owner"]:
        if owner != holder:
            change.notify("emergency:reviewed", owner, holder, subscription, patient, grant=grant["id"])
