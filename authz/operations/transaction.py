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

    `action` on `resources` is what the block will require (`Change.require_permission`). The policy is asked here, too,
    before any lock is taken. If it permits before the locks and denies after them, somebody else has changed the facts
    in the meantime: the block then raises `Conflict`, not `Denied`. The result that the block gives to
    `Change.complete` is stored with the idempotency key.

    Raises `Conflict` if the database refuses the change, `ReplayedResponse` for an idempotency key that has an answer,
    `KeyReused` for a key that came with another request, and `Unavailable` if the database cannot answer or the clock
    of this process differs too much from the clock of the database.
    """
    change = Change(pdp, actor)
    with database_connection(pdp.database):
        change.permitted_before = _find_permitted(pdp, actor, action, resources)
        try:
            with pipelined(pdp.database):
                take_locks(pdp.database, OPERATIONS_LOCK, RECORD_LOCK)
                clock_check = check_clock(pdp.database)
                if idempotency_key is not None:
                    _claim(change, idempotency_key)
                yield change
                clock_check.result()
                change.write_record()
                if idempotency_key is not None:
                    idempotency_key.store(pdp.database, change.result, change.subscription)
        except peewee.IntegrityError as error:
            raise Conflict(CHANGED_MEANWHILE) from error
        except CaregrantError:
            change.record_refusals()
            raise


def _find_permitted(pdp: PDP, actor: Actor, action: str, resources: Sequence[Ref]) -> frozenset[Ref]:
    """Return those of the resources on which the practitioner may take the action now."""
    if not action or not actor.practitioner:
        return frozenset()
    subject = ("practitioner", actor.practitioner)
    decisions = pdp.evaluate_many([(subject, action, resource) for resource in resources], now=actor.now)
    return frozenset(resource for resource, decision in zip(resources, decisions, strict=True) if decision.allowed)


def _claim(change: Change, idempotency_key: IdempotencyKey) -> None:
    """Claim the key, or raise `ReplayedResponse` with the stored answer.

    The stored answer is given only if the practitioner may still receive patients in the subscription that the answer
    is about (T15); otherwise `NotFound` is raised.
    """
    try:
        idempotency_key.claim(change.database, change.actor.now)
    except ReplayedResponse as replayed:
        resource = ("subscription", replayed.subscription)
        if change.actor.practitioner and not change.evaluate(change.actor.practitioner, "receive", resource).allowed:
            raise NotFound from None
        raise
