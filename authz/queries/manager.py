"""The lists for owners and managers.

Who has access to a patient and through what, who works in a clinic, and what is shared there. Each read is permitted by
the PDP and recorded.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import peewee

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import FOREVER, Row
from authz.errors import NotFound
from authz.models import Grant, Membership, Patient, Practitioner, StandingShare, live_at
from authz.policy.decision import Decision
from authz.policy.pdp import PDP
from authz.policy.plan import PagePosition
from authz.queries import practitioner as practitioner_queries
from authz.queries.patient_rows import owners_of
from authz.queries.permission import record_search, require_permission
from authz.record import Actor
from authz.texts import LONGEST_SORT_KEY, sort_key


def who_has_access(pdp: PDP, actor: Actor, name: str) -> list[Row]:
    """Return everybody who holds a grant on a patient or views them by a rule, the owner first.

    Each with `role`, `since`, `until`, `origin` (or ``standing_share``, or ``rule``), the numbers of the `grant` and
    the `standing_share`, the `rule`, and whether they may `view` now: the grant of somebody who left does not end.
    Raises as `practitioner_queries.access`.
    """
    with database_connection(pdp.database):
        grants = practitioner_queries.access(pdp, actor, name)
        viewers = pdp.search_subjects("practitioner", "view", ("patient", name), now=actor.now)
        holders = [grant["practitioner"] for grant in grants]
        others = [viewer for viewer in viewers if viewer not in holders]
        rows = [_access_by_grant(grant, grant["practitioner"] in viewers) for grant in grants]
        return _with_people(pdp, rows + _access_by_rule(pdp, name, others, actor.now))


def own_access(pdp: PDP, actor: Actor, name: str) -> Row:
    """Return through what the practitioner views a patient, a row of `who_has_access`.

    Raises `NotFound` unless they view the patient.
    """
    with database_connection(pdp.database):
        practitioner_queries.patient(pdp, actor, name)
        query = Grant.select().where(
            Grant.patient == name, Grant.practitioner == actor.practitioner, live_at(Grant, actor.now)
        )
        rows = [_access_by_grant(grant, True) for grant in query.dicts().execute(pdp.database)]
        rows = _with_people(pdp, rows or _access_by_rule(pdp, name, [actor.practitioner], actor.now))
        if not rows:
            raise NotFound
        return rows[0]


def _access_by_grant(grant: Row, views: bool) -> Row:
    return {
        "practitioner": grant["practitioner"],
        "role": grant["role"],
        "since": grant["started_at"],
        "until": None if grant["ended_at"] == FOREVER else grant["ended_at"],
        "origin": grant["origin"],
        "reason": grant["reason"],
        "grant": grant["id"],
        "standing_share": None,
        "rule": None,
        "view": views,
    }


def _access_by_rule(pdp: PDP, name: str, practitioners: Sequence[str], now: datetime) -> list[Row]:
    """Return the access of those who view a patient without a grant: by a standing share or by another rule."""
    questions = [(("practitioner", practitioner), "view", ("patient", name)) for practitioner in practitioners]
    decisions = pdp.evaluate_many(questions, now=now)
    numbers = [decision.standing_share for decision in decisions if decision.standing_share is not None]
    query = StandingShare.select().where(in_condition(pdp.database, StandingShare.id, numbers))
    shares = {share["id"]: share for share in query.dicts().execute(pdp.database)}
    return [
        _access_by_decision(practitioner, decision, shares.get(decision.standing_share))
        for practitioner, decision in zip(practitioners, decisions, strict=True)
        if decision.allowed
    ]


def _access_by_decision(practitioner: str, decision: Decision, share: Row | None) -> Row:
    return {
        "practitioner": practitioner,
        "role": "viewer",
        "since": None if share is None else share["started_at"],
        "until": decision.until,
        "origin": "rule" if share is None else "standing_share",
        "reason": "",
        "grant": None,
        "standing_share": decision.standing_share,
        "rule": decision.rule,
        "view": True,
    }


def _with_people(pdp: PDP, rows: list[Row]) -> list[Row]:
    """Return the rows with name, login and search key of their practitioner, the owner first, then by name."""
    people = practitioner_queries.people(pdp, [row["practitioner"] for row in rows])
    named = [
        {**row, **{key: people[row["practitioner"]][key] for key in ("name", "login", "search_key")}} for row in rows
    ]
    return sorted(named, key=lambda row: (row["role"] != "owner", row["search_key"], row["practitioner"]))


def managed(pdp: PDP, actor: Actor) -> list[Row]:
    """Return the memberships of the practitioner in the subscriptions that they manage."""
    with database_connection(pdp.database):
        own: list[Row] = practitioner_queries.me(pdp, actor)["memberships"]
        subject = ("practitioner", actor.practitioner)
        questions = [(subject, "manage", ("subscription", membership["subscription"])) for membership in own]
        decisions = pdp.evaluate_many(questions, now=actor.now)
        return [membership for membership, decision in zip(own, decisions, strict=True) if decision.allowed]


def members(pdp: PDP, actor: Actor, subscription: str, place: PagePosition) -> tuple[list[Row], tuple[str, str] | None]:
    """Return a page of the members of a subscription, by name, and the place where the next page begins, if any.

    Raises `Denied` for a practitioner who has a membership there but is no manager, and `NotFound` for everybody else.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "manage", ("subscription", subscription))
        key = peewee.fn.SUBSTR(Practitioner.search_key, 1, LONGEST_SORT_KEY)
        query = (
            Membership.select(Membership.role, Membership.started_at, Membership.ended_at, Practitioner)
            .join(Practitioner)
            .where(
                Membership.subscription == subscription,
                live_at(Membership, actor.now),
                peewee.Tuple(key, Practitioner.id) > peewee.Tuple(place.key, place.after),
            )
            .order_by(key, Practitioner.id, Membership.role)
            .limit(place.limit + 1)
        )
        rows = [
            {**row, "since": row["started_at"], "until": None if row["ended_at"] == FOREVER else row["ended_at"]}
            for row in query.dicts().execute(pdp.database)
        ]
    if len(rows) <= place.limit:
        return rows, None
    last = rows[place.limit - 1]
    return rows[: place.limit], (sort_key(last["search_key"]), last["id"])


def orphaned_patients(
    pdp: PDP, actor: Actor, subscription: str, place: PagePosition
) -> tuple[list[Row], tuple[str, str] | None]:
    """Return a page of the patients whose owner does not work here any more (T14), and the place after it.

    Raises as `members`.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "manage", ("subscription", subscription))
        return practitioner_queries.patients(pdp, replace(actor, tenant=subscription), place, orphaned=True)


def shares(pdp: PDP, actor: Actor, subscription: str, *, limit: int, after: int = 0) -> tuple[list[Row], bool]:
    """Return a page of the live shares of a subscription's patients, the oldest first, and whether there are more.

    Only of patients whose access the practitioner may list. Raises as `members`.
    """
    permitted: list[Row] = []
    with database_connection(pdp.database):
        require_permission(pdp, actor, "manage", ("subscription", subscription))
        subject = ("practitioner", actor.practitioner)
        while len(permitted) <= limit:
            rows = _shares_after(pdp, actor, subscription, limit + 1, after)
            questions = [(subject, "list_access", ("patient", row["patient"])) for row in rows]
            decisions = pdp.evaluate_many(questions, now=actor.now)
            permitted += [row for row, decision in zip(rows, decisions, strict=True) if decision.allowed]
            if len(rows) <= limit:
                break
            after = rows[-1]["id"]
        record_search(pdp, actor, "list_access", ("patient", ""))
        return _with_owners(pdp, actor, permitted[:limit]), len(permitted) > limit


def _shares_after(pdp: PDP, actor: Actor, subscription: str, size: int, after: int) -> list[Row]:
    """Return the next live shares after a grant's number, with name and reference of their patient."""
    query = (
        Grant.select(Grant, Patient.name.alias("patient_name"), Patient.reference.alias("patient_reference"))
        .join(Patient)
        .where(
            Patient.subscription == subscription,
            Grant.role == "viewer",
            Grant.id > after,
            live_at(Grant, actor.now),
        )
        .order_by(Grant.id)
        .limit(size)
    )
    return list(query.dicts().execute(pdp.database))


def _with_owners(pdp: PDP, actor: Actor, rows: list[Row]) -> list[Row]:
    """Return shares as rows of `who_has_access`, with the patient and the names of the viewer and the owner."""
    owners = owners_of(pdp, actor, [row["patient"] for row in rows])
    people = practitioner_queries.people(pdp, [*owners.values(), *(row["practitioner"] for row in rows)])
    return [
        {
            **_access_by_grant(row, True),
            "patient": row["patient"],
            "patient_name": row["patient_name"],
            "patient_reference": row["patient_reference"],
            "name": people[row["practitioner"]]["name"],
            "owner": people[owners[row["patient"]]]["name"],
        }
        for row in rows
    ]
