"""What an owner and a manager oversee: who has access to a patient and through what, who works in a clinic, what is
shared there. Reads, each permitted by the PDP and recorded.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import peewee

from authz.database import database_connection
from authz.database.statements import in_condition
from authz.domain import FOREVER, Row
from authz.errors import Denied, NotFound
from authz.models import Grant, Membership, Patient, Practitioner, StandingShare
from authz.policy.decision import Decision, Ref
from authz.policy.pdp import PDP
from authz.policy.plan import PagePosition
from authz.queries import practitioner as practitioner_queries
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision
from authz.texts import LONGEST_SORT_KEY, sort_key


def who_has_access(pdp: PDP, actor: Actor, name: str) -> list[Row]:
    """Everybody who holds a grant on a patient or views them by a rule, the owner first.

    Each with `role`, `since`, `until`, `origin` (or ``standing_share``, or ``rule``), the numbers of the `grant` and
    the `standing_share`, the `rule`, and whether they may `view` now: the grant of somebody who left stands still.
    Raises as `practitioner_queries.access`.
    """
    with database_connection(pdp.database):
        grants = practitioner_queries.access(pdp, actor, name)
        viewers = pdp.search_subjects("practitioner", "view", ("patient", name), now=actor.now)
        holders = [row["practitioner"] for row in grants]
        others = [one for one in viewers if one not in holders]
        rows = [_by_grant(row, row["practitioner"] in viewers) for row in grants]
        return _with_people(pdp, rows + _by_rule(pdp, name, others, actor.now))


def own_access(pdp: PDP, actor: Actor, name: str) -> Row:
    """Through what the practitioner views a patient: a row as above. Raises `NotFound` unless they view them."""
    with database_connection(pdp.database):
        practitioner_queries.patient(pdp, actor, name)
        held = Grant.select().where(
            Grant.patient == name,
            Grant.practitioner == actor.practitioner,
            Grant.started_at <= actor.now,
            Grant.ended_at > actor.now,
        )
        rows = [_by_grant(row, True) for row in held.dicts().execute(pdp.database)]
        told = _with_people(pdp, rows or _by_rule(pdp, name, [actor.practitioner], actor.now))
        if not told:
            raise NotFound
        return told[0]


def _by_grant(row: Row, views: bool) -> Row:
    return {
        "practitioner": row["practitioner"],
        "role": row["role"],
        "since": row["started_at"],
        "until": None if row["ended_at"] == FOREVER else row["ended_at"],
        "origin": row["origin"],
        "reason": row["reason"],
        "grant": row["id"],
        "standing_share": None,
        "rule": None,
        "view": views,
    }


def _by_rule(pdp: PDP, name: str, who: Sequence[str], now: datetime) -> list[Row]:
    """Those who view a patient without a grant of their own: through a standing share, or whatever the rules permit."""
    asked = [(("practitioner", one), "view", ("patient", name)) for one in who]
    answers = pdp.evaluate_many(asked, now=now)
    numbers = [one.standing_share for one in answers if one.standing_share is not None]
    found = (
        StandingShare.select()
        .where(in_condition(pdp.database, StandingShare.id, numbers))
        .dicts()
        .execute(pdp.database)
    )
    shares = {row["id"]: row for row in found}
    both = zip(who, answers, strict=True)
    return [_told(one, decision, shares.get(decision.standing_share)) for one, decision in both if decision.allowed]


def _told(who: str, decision: Decision, share: Row | None) -> Row:
    return {
        "practitioner": who,
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
    people = practitioner_queries.people(pdp, [row["practitioner"] for row in rows])
    told = [
        {**row, **{key: people[row["practitioner"]][key] for key in ("name", "login", "search_key")}} for row in rows
    ]
    return sorted(told, key=lambda row: (row["role"] != "owner", row["search_key"], row["practitioner"]))


def managed(pdp: PDP, actor: Actor) -> list[Row]:
    """The subscriptions whose memberships the practitioner manages."""
    with database_connection(pdp.database):
        mine: list[Row] = practitioner_queries.me(pdp, actor)["memberships"]
        asked = [
            (("practitioner", actor.practitioner), "manage", ("subscription", one["subscription"])) for one in mine
        ]
        answers = pdp.evaluate_many(asked, now=actor.now)
        return [one for one, decision in zip(mine, answers, strict=True) if decision.allowed]


def members(pdp: PDP, actor: Actor, subscription: str, place: PagePosition) -> tuple[list[Row], tuple[str, str] | None]:
    """A page of those who work under a subscription, by name, and the place after it, None if there is no more.

    Raises `Denied` for who only works there, and `NotFound` for anybody else.
    """
    with database_connection(pdp.database):
        _manage(pdp, actor, subscription)
        key = peewee.fn.SUBSTR(Practitioner.search_key, 1, LONGEST_SORT_KEY)
        found = (
            Membership.select(Membership.role, Membership.started_at, Membership.ended_at, Practitioner)
            .join(Practitioner)
            .where(
                Membership.subscription == subscription,
                Membership.started_at <= actor.now,
                Membership.ended_at > actor.now,
                peewee.Tuple(key, Practitioner.id) > peewee.Tuple(place.key, place.after),
            )
            .order_by(key, Practitioner.id, Membership.role)
            .limit(place.limit + 1)
        )
        rows = list(found.dicts().execute(pdp.database))
    told = [
        {**row, "since": row["started_at"], "until": None if row["ended_at"] == FOREVER else row["ended_at"]}
        for row in rows
    ]
    more = len(told) > place.limit
    last = told[place.limit - 1] if more else {}
    return told[: place.limit], (sort_key(last["search_key"]), last["id"]) if more else None


def _manage(pdp: PDP, actor: Actor, subscription: str) -> None:
    resource: Ref = ("subscription", subscription)
    who = ("practitioner", actor.practitioner)
    decision = pdp.evaluate(who, "manage", resource, now=actor.now)
    record_decisions(pdp.database, actor, [(RecordedQuestion(who, "manage", resource), decision)])
    if not decision.allowed:
        known = [pdp.evaluate(who, action, resource, now=actor.now).allowed for action in ("receive", "audit")]
        raise Denied("manage") if any(known) else NotFound


def left(pdp: PDP, actor: Actor, subscription: str, place: PagePosition) -> tuple[list[Row], tuple[str, str] | None]:
    """A page of the patients whose owner works here no more (T14), and the place after it. Raises as `members`."""
    with database_connection(pdp.database):
        _manage(pdp, actor, subscription)
        return practitioner_queries.patients(pdp, replace(actor, tenant=subscription), place, left=True)


def shares(pdp: PDP, actor: Actor, subscription: str, *, limit: int, after: int = 0) -> tuple[list[Row], bool]:
    """A page of the live shares of a subscription's patients, the oldest first; whether there are more.

    Only of patients whose access the practitioner may list. Raises as `members`.
    """
    found: list[Row] = []
    with database_connection(pdp.database):
        _manage(pdp, actor, subscription)
        who = ("practitioner", actor.practitioner)
        while len(found) <= limit:
            rows = _shared_after(pdp, actor, subscription, limit + 1, after)
            asked = [(who, "list_access", ("patient", row["patient"])) for row in rows]
            answers = pdp.evaluate_many(asked, now=actor.now)
            found += [row for row, decision in zip(rows, answers, strict=True) if decision.allowed]
            if len(rows) <= limit:
                break
            after = rows[-1]["id"]
        asked_all = RecordedQuestion(who, "list_access", ("patient", ""))
        record_decisions(pdp.database, actor, [(asked_all, search_decision(actor, pdp.version))])
        return _with_owners(pdp, actor, found[:limit]), len(found) > limit


def _shared_after(pdp: PDP, actor: Actor, subscription: str, size: int, after: int) -> list[Row]:
    found = (
        Grant.select(Grant, Patient.name.alias("patient_name"), Patient.reference.alias("patient_reference"))
        .join(Patient)
        .where(
            Patient.subscription == subscription,
            Grant.role == "viewer",
            Grant.id > after,
            Grant.started_at <= actor.now,
            Grant.ended_at > actor.now,
        )
        .order_by(Grant.id)
        .limit(size)
    )
    return list(found.dicts().execute(pdp.database))


def _with_owners(pdp: PDP, actor: Actor, rows: list[Row]) -> list[Row]:
    owned = Grant.select(Grant.patient, Grant.practitioner).where(
        in_condition(pdp.database, Grant.patient, [row["patient"] for row in rows]),
        Grant.role == "owner",
        Grant.started_at <= actor.now,
        Grant.ended_at > actor.now,
    )
    owners = dict(owned.tuples().execute(pdp.database))
    people = practitioner_queries.people(pdp, [*owners.values(), *(row["practitioner"] for row in rows)])
    return [
        {
            **_by_grant(row, True),
            "patient": row["patient"],
            "patient_name": row["patient_name"],
            "patient_reference": row["patient_reference"],
            "name": people[row["practitioner"]]["name"],
            "owner": people[owners[row["patient"]]]["name"],
        }
        for row in rows
    ]
