"""The people of a clinic, working there or not any more, and the patients whom each owns; for its manager (R6, T14).

Each read is permitted by the PDP and recorded. A manager sees the patients whom they may transfer, and opens none.
"""

from dataclasses import replace

import peewee

from authz.database import database_connection
from authz.database.statements import run
from authz.domain import Row, to_micros
from authz.errors import NotFound
from authz.models import Membership, Practitioner, live_at
from authz.policy.pdp import PDP
from authz.policy.plan import PagePosition
from authz.queries.owned_patients import owned_patients
from authz.queries.patient_rows import patient_rows
from authz.queries.permission import record_search, require_permission
from authz.record import Actor
from authz.texts import LONGEST_SORT_KEY, search_words, sort_key

MOST_COUNTED = 1000
_COUNT = f"""SELECT COUNT(*) FROM (SELECT 1 FROM "grant" AS held JOIN patient ON patient.id = held.patient_id
    WHERE held.practitioner_id = {{}} AND held.role = 'owner' AND held.started_at <= {{}} AND held.ended_at > {{}}
    AND patient.subscription_id = {{}} LIMIT {MOST_COUNTED + 1}) AS counted"""


def former_members(
    pdp: PDP, actor: Actor, subscription: str, place: PagePosition
) -> tuple[list[Row], tuple[str, str] | None]:
    """Return a page of the people who worked in a subscription and do not now, by name, and the place after the page.

    Each with `id`, `name`, `login` and `until`, the end of their last membership. Raises as `manager.members`.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "manage", ("subscription", subscription))
        key = peewee.fn.SUBSTR(Practitioner.search_key, 1, LONGEST_SORT_KEY)
        here = Membership.subscription == subscription
        working = Membership.select(Membership.practitioner).where(here, live_at(Membership, actor.now))
        query = (
            Practitioner.select(Practitioner, peewee.fn.MAX(Membership.ended_at).alias("until"))
            .join(Membership)
            .where(
                here,
                Membership.started_at <= actor.now,
                Practitioner.id.not_in(working),
                peewee.Tuple(key, Practitioner.id) > peewee.Tuple(place.key, place.after),
            )
            .group_by(Practitioner.id)
            .order_by(key, Practitioner.id)
            .limit(place.limit + 1)
        )
        rows = list(query.dicts().execute(pdp.database))
    if len(rows) <= place.limit:
        return rows, None
    last = rows[place.limit - 1]
    return rows[: place.limit], (sort_key(last["search_key"]), last["id"])


def member(pdp: PDP, actor: Actor, subscription: str, practitioner: str) -> Row:
    """Return a person of a clinic: `id`, `name`, `login`, whether they are `working` there, and the number of patients.

    `patients` counts the patients whom the person owns there, up to one more than `MOST_COUNTED`. Raises as
    `manager.members`, and `NotFound` for somebody who never worked there.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "manage", ("subscription", subscription))
        columns = (Practitioner.id, Practitioner.name, Practitioner.login)
        here = (Membership.practitioner == practitioner, Membership.subscription == subscription)
        query = Practitioner.select(*columns).join(Membership).where(*here, Membership.started_at <= actor.now).limit(1)
        rows = list(query.dicts().execute(pdp.database))
        if not rows:
            raise NotFound
        working = Membership.select().where(*here, live_at(Membership, actor.now)).exists(pdp.database)
        now = to_micros(actor.now)
        ((patients,),) = run(pdp.database, _COUNT, practitioner, now, now, subscription).fetchall()
    return {**rows[0], "working": working, "patients": patients}


def member_patients(
    pdp: PDP, actor: Actor, subscription: str, practitioner: str, place: PagePosition, *, q: str = ""
) -> tuple[list[Row], tuple[str, str] | None]:
    """Return a page of the patients whom a person owns in a clinic, by name, and the place after the page.

    Only patients that the manager may transfer. Each word of `q` occurs in the name or the reference, or `q` is the id.
    Raises as `manager.members`.
    """
    sought = tuple(search_words(q)) or ((q.strip(),) if q.strip() else ())
    with database_connection(pdp.database):
        require_permission(pdp, actor, "manage", ("subscription", subscription))
        inside = replace(actor, tenant=subscription)
        wanted = replace(place, words=sought, text=q, limit=place.limit + 1)
        keys = owned_patients(pdp.database, replace(inside, practitioner=practitioner), wanted)
        rows = {row["id"]: row for row in patient_rows(pdp, inside, [patient for patient, _ in keys], "transfer")}
        listed = [rows[patient] for patient, _ in keys[: place.limit] if patient in rows]
        record_search(pdp, actor, "transfer", ("patient", ""), len(listed))
    last = keys[place.limit - 1] if len(keys) > place.limit else None
    return listed, None if last is None else (last[1], last[0])
