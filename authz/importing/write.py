"""Write what the lines of a batch added and changed: the rows, and the events about them.

The database's own checks stand behind those of the lines.
"""

from collections.abc import Iterator

import orjson

from authz.database.statements import insert_rows, write_many
from authz.domain import from_micros
from authz.importing.batch import ImportBatch
from authz.importing.events import batch_events
from authz.importing.leavers import cut_grants, cut_standing_shares
from authz.importing.rows import LIFE_COLUMNS, LIFE_MODELS, SPAN, GrantLife, Key, Life, life_row
from authz.models import Entity, Grant, Patient, Practitioner, Subscription
from authz.record import Actor, append
from authz.record.links import link_rows, target_rows
from authz.texts import search_key


def write_batch(batch: ImportBatch) -> None:
    """Write a batch in the transaction under way. Raises Peewee's errors."""
    _write_people(batch)
    lives = list(_changed_lives(batch))
    _write_lives(batch, lives)
    _write_patients(batch)
    grants = _changed_grants(batch)
    _write_grants(batch, grants)
    _write_entities(batch)
    append(batch.database, Actor("", from_micros(batch.now)), batch_events(batch, lives, grants))


def _write_people(batch: ImportBatch) -> None:
    """Write subscriptions and practitioners."""
    write_many(
        batch.database,
        "UPDATE subscription SET name = {}, time_zone = {} WHERE id = {}",
        [(name, zone, subscription) for subscription, name, zone, _ in batch.changed_subscriptions],
    )
    write_many(
        batch.database,
        "UPDATE practitioner SET login = {}, name = {}, search_key = {} WHERE id = {}",
        [
            (login, name, search_key(name, login), practitioner)
            for practitioner, login, name, _ in batch.changed_practitioners
        ],
    )
    insert_rows(batch.database, Subscription, ("id", "name", "time_zone"), batch.new_subscriptions)
    rows = [
        (practitioner, login, name, search_key(name, login)) for practitioner, login, name in batch.new_practitioners
    ]
    insert_rows(batch.database, Practitioner, ("id", "login", "name", "search_key"), rows)


def _changed_lives(batch: ImportBatch) -> Iterator[tuple[str, Key, Life]]:
    """Yield the stored lives whose end was changed, also those of leavers that no line names."""
    stored = batch.stored
    by_noun = {"licence": stored.licences, "membership": stored.memberships, "standing_share": stored.standing_shares}
    for noun, lives_by_key in by_noun.items():
        for key, lives in lives_by_key.items():
            yield from ((noun, key, life) for life in lives if life.previous_end and life.id)
    yield from (("standing_share", key, life) for key, life in cut_standing_shares(batch))


def _changed_grants(batch: ImportBatch) -> list[tuple[str, GrantLife]]:
    """Return the stored grants whose end was changed, with their patients, also those that no line names."""
    read = [
        (patient, grant)
        for patient, state in batch.stored.patients.items()
        for grant in state.grants
        if grant.previous_end and grant.id
    ]
    return read + cut_grants(batch)


def _write_lives(batch: ImportBatch, lives: list[tuple[str, Key, Life]]) -> None:
    for noun, _, life in lives:
        values: dict[str, int | str] = {"ended_at": life.ended}
        if noun == "standing_share":
            values["end_cause"] = life.end_cause
        assignments = ", ".join(f"{name} = {{}}" for name in values)
        write_many(batch.database, f"UPDATE {noun} SET {assignments} WHERE id = {{}}", [(*values.values(), life.id)])
    for noun, model in LIFE_MODELS.items():
        rows = [tuple(life_row(noun, key, life).values()) for name, key, life in batch.new_lives if name == noun]
        insert_rows(batch.database, model, LIFE_COLUMNS[noun], rows)


def _write_patients(batch: ImportBatch) -> None:
    """Write patients as the last line about them in this batch says."""
    columns = ("id", "subscription", "name", "reference", "search_key", *SPAN)
    rows = [
        (
            patient,
            state.subscription,
            state.name,
            state.reference,
            search_key(state.name, state.reference),
            state.started,
            state.ended,
        )
        for patient, state in batch.new_patients.items()
    ]
    insert_rows(batch.database, Patient, columns, rows)
    write_many(
        batch.database,
        "UPDATE patient SET name = {}, reference = {}, search_key = {}, ended_at = {} WHERE id = {}",
        [
            (state.name, state.reference, search_key(state.name, state.reference), state.ended, patient)
            for patient, state in batch.changed_patients()
        ],
    )


def _write_grants(batch: ImportBatch, grants: list[tuple[str, GrantLife]]) -> None:
    write_many(
        batch.database,
        'UPDATE "grant" SET ended_at = {}, end_cause = {} WHERE id = {}',
        [(grant.ended, grant.end_cause, grant.id) for _, grant in grants],
    )
    rows = [grant.row(patient) for patient, grant in batch.new_grants]
    if rows:
        insert_rows(batch.database, Grant, tuple(rows[0]), [tuple(row.values()) for row in rows])


def _write_entities(batch: ImportBatch) -> None:
    """End the versions of entities that end, and insert those that begin with their relations."""
    ended = [(version.ended, version.id) for _, version in batch.ended_versions()]
    write_many(batch.database, "UPDATE entity SET ended_at = {} WHERE pk = {}", ended)
    rows = [
        (*key, orjson.dumps(version.properties).decode(), version.subscription, version.started, version.ended)
        for key, version in batch.new_versions
    ]
    insert_rows(batch.database, Entity, ("type", "id", "properties", "subscription", *SPAN), rows)
    of_version = "WHERE type = {} AND id = {} AND started_at = {} AND ended_at = {}"
    lives = [((*key, version.started, version.ended), version.links) for key, version in batch.new_versions]
    write_many(
        batch.database,
        "INSERT INTO entity_link (entity_id, property, type, target) SELECT pk, {}, type, {} "
        f"FROM entity {of_version}",
        [(*row, *life) for life, links in lives for row in link_rows(links)],
    )
    write_many(
        batch.database,
        "INSERT INTO entity_target (entity_id, property, type, target_type, target) SELECT pk, {}, type, {}, {} "
        f"FROM entity {of_version}",
        [(*row, *life) for life, links in lives for row in target_rows(links)],
    )
