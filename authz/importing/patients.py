"""Lines about patients, and about the grants on them."""

from authz.domain import FOREVER_MICROS, format_micros
from authz.errors import InvalidInput
from authz.importing.batch import ImportBatch
from authz.importing.lives import Fields, Outcome, change_end, match_life, require_line_span, require_span
from authz.importing.rows import GrantLife, PatientState


def apply_patient(batch: ImportBatch, fields: Fields, started: int) -> Outcome:
    """Add a patient with their first owner, or change what may change of one."""
    patient, subscription, owner = fields["id"], fields["subscription"], fields["owner"]
    stored = batch.stored
    stored.require_subscription(subscription)
    stored.require_practitioner(owner)
    state = stored.patients.get(patient)
    if state is not None:
        return _change_patient(batch, patient, state, fields)
    until = fields["until"]
    require_line_span(fields, started)
    stored.require_membership(owner, subscription)
    state = PatientState(subscription, fields["name"], fields.get("reference", ""), started, until)
    stored.patients[patient] = batch.new_patients[patient] = state
    ended, cause = (until, "imported") if until <= batch.now else (FOREVER_MICROS, "")
    batch.begin_grant(patient, GrantLife(started, ended, end_cause=cause, practitioner=owner, role="owner"))
    return "new"


def _change_patient(batch: ImportBatch, patient: str, state: PatientState, fields: Fields) -> Outcome:
    """Change the name, the reference or the end of a patient, who keeps clinic, start and first owner.

    The owner that a line names is the first or the present one: a transfer is a line of its own.
    """
    if fields["subscription"] != state.subscription or fields.get("started_at", state.started) != state.started:
        raise InvalidInput(f"the patient {patient} exists with another subscription or start")
    owners = state.owners
    if fields["owner"] not in (owners[0].practitioner, owners[-1].practitioner):
        raise InvalidInput(
            f"the patient {patient} has another owner; a grant with the role owner transfers the patient"
        )
    until = fields["until"]
    if state.ended <= batch.now:
        return "ended" if until > batch.now else "unchanged"
    changes = []
    if fields["name"] != state.name:
        state.name = fields["name"]
        changes.append("name")
    if fields.get("reference", "") != state.reference:
        state.reference = fields.get("reference", "")
        changes.append("reference")
    if until != state.ended:
        state.ended = max(until, batch.now, state.started)
        changes.append("until")
        if state.ended <= batch.now:
            for grant in state.grants:
                grant.cut(batch.now)
    state.changes += changes
    return "changed" if changes else "unchanged"


def apply_grant(batch: ImportBatch, fields: Fields, started: int) -> Outcome:
    """Begin a share or change its end, or pass the patient to a new owner."""
    patient, practitioner = fields["patient"], fields["practitioner"]
    state = batch.stored.require_patient(patient)
    batch.stored.require_practitioner(practitioner)
    batch.stored.require_membership(practitioner, state.subscription)
    if started < state.started:
        raise InvalidInput(f"begins before the patient {patient}, {format_micros(state.started)}")
    grants = state.grants_of(practitioner)
    if fields["role"] == "owner":
        return _pass_to_owner(batch, fields, started, state, grants)
    match = match_life([grant for grant in grants if grant.role == "viewer"], fields, started, batch.now)
    if isinstance(match, GrantLife):
        if match.id and fields["until"] > match.ended and batch.stored.is_end_chosen(patient, match.id):
            return "ended"
        return change_end(match, fields["until"], grants, batch.now)
    if match == "ended":
        return "ended"
    until = min(fields["until"], state.ended) if state.ended <= batch.now else fields["until"]
    require_span(until, started)
    if any(grant.started < until and started < grant.ended for grant in grants):
        raise InvalidInput(f"{practitioner} is the owner of {patient} then")
    reason = fields.get("reason", "")
    batch.begin_grant(patient, GrantLife(started, until, practitioner=practitioner, role="viewer", reason=reason))
    return "new"


def _pass_to_owner(
    batch: ImportBatch, fields: Fields, started: int, state: PatientState, grants: list[GrantLife]
) -> Outcome:
    """Begin the grant of a new owner, which ends that of the owner before and the new owner's share.

    `grants` are those of the new owner.
    """
    patient, practitioner = fields["patient"], fields["practitioner"]
    if fields["until"] != FOREVER_MICROS:
        raise InvalidInput("an owner's grant has no until: the next owner's line ends it")
    owned = [grant for grant in grants if grant.role == "owner"]
    same = [grant for grant in owned if fields.get("started_at", grant.started) == grant.started]
    if same:
        return "unchanged" if "started_at" in fields or same[-1].ended == FOREVER_MICROS else "ended"
    if state.ended <= batch.now:
        raise InvalidInput(f"the patient {patient} has ended")
    last = max(state.owners, key=lambda grant: grant.started)
    if started <= last.started:
        raise InvalidInput(f"begins before or with the owner {last.practitioner}, {format_micros(last.started)}")
    if any(grant.started >= started and grant.is_lasting for grant in grants):
        raise InvalidInput(f"{practitioner} holds a later grant on {patient}")
    for grant in (last, *grants):
        if grant.ended > started:
            grant.move_end(started, "transfer")
    reason = fields.get("reason", "")
    owner = GrantLife(started, FOREVER_MICROS, practitioner=practitioner, role="owner", reason=reason)
    batch.begin_grant(patient, owner)
    return "new"
