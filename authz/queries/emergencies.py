"""The emergency accesses of a clinic, for those who review them, and whether the policy permits any."""

from collections.abc import Sequence

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import FOREVER, Row
from authz.models import Emergency, Grant
from authz.policy.pdp import PDP
from authz.queries import practitioner as practitioner_queries
from authz.queries.permission import require_permission
from authz.record import Actor


def is_switched_on(pdp: PDP) -> bool:
    """Return whether the policy has a rule by which somebody may open a patient in an emergency."""
    return "break_glass" in pdp.policy.actions("Patient")


def emergencies(
    pdp: PDP, actor: Actor, subscription: str, *, due: bool = False, limit: int, before: int | None = None
) -> tuple[list[Row], bool]:
    """Return a page of a clinic's emergency accesses, the newest first, and whether there are more.

    `due` leaves out those that have been reviewed. Each row has the columns of `Emergency`, and of its grant `patient`,
    `practitioner`, `reason`, `until`, `ended_by` and `end_cause`; whether it is `live` or `overdue`, and whether the
    reader `may_review` it. Raises `NotFound` and `Denied` unless the practitioner may audit the clinic.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "audit", ("subscription", subscription))
        columns = (Grant.patient, Grant.practitioner, Grant.reason, Grant.ended_at, Grant.ended_by, Grant.end_cause)
        query = Emergency.select(Emergency, *columns).join(Grant).where(Emergency.subscription == subscription)
        if due:
            query = query.where(Emergency.reviewed_at == FOREVER)
        if before is not None:
            query = query.where(Emergency.id < before)
        rows = list(query.order_by(Emergency.id.desc()).limit(limit + 1).dicts().execute(pdp.database))
        opened = _opened_by(pdp, actor.practitioner, [row["patient"] for row in rows])
    return [_describe(row, actor, row["patient"] in opened) for row in rows[:limit]], len(rows) > limit


def _describe(row: Row, actor: Actor, is_own: bool) -> Row:
    live, due = row["ended_at"] > actor.now, not row["verdict"]
    return {
        **row,
        "until": row["ended_at"],
        "live": live,
        "overdue": due and row["due_at"] <= actor.now,
        "may_review": due and not live and not is_own,
    }


def _opened_by(pdp: PDP, practitioner: str, patients: Sequence[str]) -> set[str]:
    """Return those of these patients whom a practitioner has opened in an emergency."""
    query = Emergency.select(Grant.patient).join(Grant)
    own = query.where(Grant.practitioner == practitioner, in_condition(pdp.database, Grant.patient, patients))
    return {patient for (patient,) in own.tuples().execute(pdp.database)}


def due_reviews(pdp: PDP, actor: Actor, subscription: str) -> tuple[int, int]:
    """Return how many emergency accesses of a clinic wait for a review, and how many of them are overdue.

    The caller has the permission to see the clinic's page.
    """
    with database_connection(pdp.database):
        due = Emergency.select().where(Emergency.subscription == subscription, Emergency.reviewed_at == FOREVER)
        return due.count(pdp.database), due.where(Emergency.due_at <= actor.now).count(pdp.database)


def audited(pdp: PDP, actor: Actor) -> list[Row]:
    """Return the memberships of the practitioner in the clinics that they may audit."""
    with database_connection(pdp.database):
        own: list[Row] = practitioner_queries.me(pdp, actor)["memberships"]
        subject = ("practitioner", actor.practitioner)
        questions = [(subject, "audit", ("subscription", membership["subscription"])) for membership in own]
        decisions = pdp.evaluate_many(questions, now=actor.now)
        return [membership for membership, decision in zip(own, decisions, strict=True) if decision.allowed]
