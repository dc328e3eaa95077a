"""The events of an import batch: what its lines changed, kind by kind; what ended comes before what began."""

from collections.abc import Iterator

from authz.domain import FOREVER_MICROS
from authz.importing.batch import ImportBatch
from authz.importing.rows import LIFE_MODELS, GrantLife, Key, Life, life_row, row_before
from authz.record import NewEvent, fact_change


def batch_events(
    batch: ImportBatch, changed_lives: list[tuple[str, Key, Life]], changed_grants: list[tuple[str, GrantLife]]
) -> Iterator[NewEvent]:
    """Yield the events of a batch, after its rows were written."""
    yield from _people_events(batch)
    yield from _patient_events(batch)
    yield from _life_events(batch, changed_lives)
    yield from _grant_events(batch, changed_grants)
    yield from _entity_events(batch)


def _people_events(batch: ImportBatch) -> Iterator[NewEvent]:
    for subscription, *_ in batch.new_subscriptions:
        yield NewEvent("subscription:imported", subscription, {"subscription": subscription})
    for subscription, _, _, verbs in batch.changed_subscriptions:
        yield from (NewEvent(f"subscription:{verb}", subscription, {"subscription": subscription}) for verb in verbs)
    for practitioner, *_ in batch.new_practitioners:
        yield NewEvent("practitioner:imported", "", {"practitioner": practitioner})
    for practitioner, _, _, differing in batch.changed_practitioners:
        yield NewEvent("practitioner:changed", "", {"practitioner": practitioner, "changed": differing})


def _patient_events(batch: ImportBatch) -> Iterator[NewEvent]:
    for patient, state in batch.new_patients.items():
        yield NewEvent("patient:imported", state.subscription, {"patient": patient}, patient)
    for patient, state in batch.changed_patients():
        has_ended = "until" in state.changes and state.ended <= batch.now
        if state.changes != ["until"] or not has_ended:
            body = {"changed": sorted(set(state.changes))}
            yield NewEvent("patient:changed", state.subscription, body, patient)
        if has_ended:
            yield NewEvent("patient:ended", state.subscription, {}, patient)


def _life_events(batch: ImportBatch, changed_lives: list[tuple[str, Key, Life]]) -> Iterator[NewEvent]:
    for noun, key, life in changed_lives:
        after = life_row(noun, key, life)
        body = fact_change(noun, row_before(after, life), after, **{noun: str(life.id)})
        yield NewEvent(f"{noun}:{_verb(batch, life)}", after["subscription"], body)
    for noun in LIFE_MODELS:
        for row in (life_row(noun, key, life) for name, key, life in batch.new_lives if name == noun):
            body = fact_change(noun, None, row)
            yield NewEvent(f"{noun}:imported", row["subscription"], body, reason=row.get("reason", ""))


def _grant_events(batch: ImportBatch, changed_grants: list[tuple[str, GrantLife]]) -> Iterator[NewEvent]:
    for patient, grant in changed_grants:
        after = grant.row(patient)
        body, verb = fact_change("grant", row_before(after, grant), after, grant=str(grant.id)), _verb(batch, grant)
        if verb == "changed":
            body["changed"] = ["until"]
        yield NewEvent(f"grant:{verb}", _subscription_of(batch, patient), body, patient)
    for patient, grant in batch.new_grants:
        body = fact_change("grant", None, grant.row(patient))
        yield NewEvent("grant:imported", _subscription_of(batch, patient), body, patient, grant.reason)


def _verb(batch: ImportBatch, life: Life) -> str:
    return "ended" if life.ended <= batch.now else "changed"


def _subscription_of(batch: ImportBatch, patient: str) -> str:
    state = batch.stored.patients.get(patient)
    if state is not None:
        return state.subscription
    ((subscription,),) = batch.stored.select("SELECT subscription_id FROM patient WHERE id", {patient})
    return str(subscription)


def _entity_events(batch: ImportBatch) -> Iterator[NewEvent]:
    """Yield the events of the versions of entities that ended, and of those that began."""
    for key, version in batch.ended_versions():
        bodies = {"before": version.serialize(key, FOREVER_MICROS), "after": version.serialize(key)}
        yield NewEvent("entity:ended", version.subscription, {"type": key[0], "id": key[1], **bodies})
    for key, version in batch.new_versions:
        names = {"type": key[0], "id": key[1]}
        body = {**names, "before": None, "after": version.serialize(key)}
        yield NewEvent("entity:imported", version.subscription, body)
