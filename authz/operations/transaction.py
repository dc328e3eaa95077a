"""The transaction of an operation: open, check the clock and the idempotency key, change, record, commit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import peewee

from authz.database import check_clock, database_connection, pipelined
from authz.database.statements import OPERATIONS_LOCK, RECORD_LOCK, take_locks
from authz.errors import CaregrantError, Conflict, NotFound
from authz.operations.change import CHANGED_MEANWHILE, Change
from authz.operations.idempotency import IdempotencyKey, ReplayedResponse
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.record import Actor


@contextmanager
def run_operation(
    pdp: PDP,
    actor: Actor,
    *,
    action: str = "",
    resources: Sequence[Ref] = (),
    idempotency_key: IdempotencyKey | None = None,
) -> Iterator[Change]:
    """Run the block as one change in one transaction: all of it or nothing.

    `action` on `resources` is what the operation will require: if it was permitted when the request came and is not any
    more after the locks, somebody else was faster, and `Conflict` says so. What the block gives to `Change.complete` is
    stored with the idempotency key.

    Raises `Conflict` if the database refuses the change, `ReplayedResponse` for an idempotency key that has an answer,
    `KeyReused` for one that came with another request, and `Unavailable`, also if this clock is not the database's.
    """
    change = Change(pdp, actor)
    with database_connection(pdp.database):
        change.permitted_before = _permitted(pdp, actor, action, resources)
        try:
            with pipelined(pdp.database):
                take_locks(pdp.database, OPERATIONS_LOCK, RECORD_LOCK)
                clock = check_clock(pdp.database)
                if idempotency_key is not None:
                    _claim(change, idempotency_key)
                yield change
                clock.result()
                change.write_record()
                if idempotency_key is not None:
                    idempotency_key.store(pdp.database, change.result, change.subscription)
        except peewee.IntegrityError as error:
            raise Conflict(CHANGED_MEANWHILE) from error
        except CaregrantError:
            change.record_refusals()
            raise


def _permitted(pdp: PDP, actor: Actor, action: str, resources: Sequence[Ref]) -> frozenset[Ref]:
    """Return those of the resources on which the practitioner may take the action now."""
    if not action or not actor.practitioner:
        return frozenset()
    subject = ("practitioner", actor.practitioner)
    decisions = pdp.evaluate_many([(subject, action, resource) for resource in resources], now=actor.now)
    return frozenset(resource for resource, decision in zip(resources, decisions, strict=True) if decision.allowed)


def _claim(change: Change, idempotency_key: IdempotencyKey) -> None:
    """Claim the key. A stored answer is only for those who may still receive where it was given (T15)."""
    try:
        idempotency_key.claim(change.database, change.actor.now)
    except ReplayedResponse as replay_facts:
        resource = ("subscription", replay_facts.subscription)
        if change.actor.practitioner and not change.evaluate(change.actor.practitioner, "receive", resource).allowed:
            raise NotFound from None
        raise
