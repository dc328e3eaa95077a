"""End the shares of a practitioner who leaves practice in a clinic (R11).

Practice is a membership as member or manager. A practitioner leaves it when that membership ends, or becomes an
auditor's. When a membership expires, no operation runs: the shares that remain permit nothing, and end when the
practitioner comes back. The practitioner stays the owner of their patients until a manager transfers these. A lapse of
the clinic ends no membership.
"""

from collections.abc import Iterator

from authz.database import Database
from authz.database.statements import in_condition, run
from authz.domain import Row, to_micros
from authz.errors import CaregrantError
from authz.models import Grant, StandingShare
from authz.operations.change import Change
from authz.operations.grants import GrantRow, kind_of_end
from authz.operations.locks import EXCLUSIVE
from authz.operations.standing_share import end_standing_share_row

PRACTISING = ("member", "manager")
"""The roles of those who practise; an auditor does not."""
_SHARES = """SELECT g.id, g.patient_id FROM "grant" g JOIN patient p ON p.id = g.patient_id
    WHERE g.practitioner_id = {} AND g.role = 'viewer' AND g.ended_at > {} AND g.ended_at > g.started_at
    AND p.subscription_id = {}
    ORDER BY g.id"""
_AT_ONCE = 500


class SharesAdded(CaregrantError):
    """The practitioner got a share after the patients were locked and before the clinic was locked: try again."""


def held_shares(database: Database, practitioner: str, subscription: str, now: int) -> list[tuple[int, str]]:
    """Return the viewer grants that a practitioner holds in a clinic: the number and the patient of each.

    Grants that have ended at `now` (microseconds) are left out.
    """
    return list(run(database, _SHARES, practitioner, now, subscription).fetchall())


def end_shares(change: Change, practitioner: str, subscription: str) -> None:
    """End the shares that a practitioner holds in a clinic, and the standing shares that they hold or give there.

    The caller has locked the clinic exclusively, and the patients of the shares. Raises `SharesAdded` if a patient of a
    share is not locked.
    """
    held = held_shares(change.database, practitioner, subscription, to_micros(change.now))
    if any(patient not in change.subscriptions for _, patient in held):
        raise SharesAdded
    for begin in range(0, len(held), _AT_ONCE):
        for grant, owner in _with_owners(change, held[begin : begin + _AT_ONCE]):
            change.end_grant(grant, "ended")
            change.notify_both(kind_of_end(grant), practitioner, owner, subscription, grant.patient, grant=grant.id)
    for row in _standing_shares(change, practitioner, subscription):
        end_standing_share_row(change, row, "ended")


def _with_owners(change: Change, held: list[tuple[int, str]]) -> Iterator[tuple[GrantRow, str]]:
    """Yield grants, each with the owner of its patient who is notified: the last one."""
    database = change.database
    grants = change.grants(Grant.select().where(in_condition(database, Grant.id, [number for number, _ in held])))
    owned = Grant.select(Grant.patient, Grant.practitioner).where(
        in_condition(database, Grant.patient, [patient for _, patient in held]),
        Grant.role == "owner",
        Grant.ended_at > change.now,
    )
    owners = {row["patient"]: row["practitioner"] for row in change.rows(owned.order_by(Grant.started_at))}
    for grant in sorted(grants, key=lambda grant: grant.id):
        yield grant, owners.get(grant.patient, grant.given_by)


def _standing_shares(change: Change, practitioner: str, subscription: str) -> list[Row]:
    either_side = (StandingShare.owner == practitioner) | (StandingShare.colleague == practitioner)
    here = StandingShare.subscription == subscription
    query = StandingShare.select().where(either_side, here, change.is_unended(StandingShare))
    return change.rows(query.order_by(StandingShare.id), lock=EXCLUSIVE)
