"""The lists for a practitioner: their patients, who has access, their colleagues.

Each list is permitted by the PDP first and then restricted to what the reader may read (T23).
"""

from collections.abc import Sequence
from dataclasses import replace

from authz.database import database_connection
from authz.database.statements import in_condition, select_in
from authz.domain import Row, normalise_login
from authz.errors import NotFound
from authz.models import (
    Grant,
    Membership,
    Patient,
    Practitioner,
    StandingShare,
    Subscription,
    live_at,
)
from authz.policy.decision import Ref
from authz.policy.pdp import PDP
from authz.policy.plan import PagePosition
from authz.queries.owned_patients import owned_patients
from authz.queries.patient_rows import patient_rows
from authz.queries.permission import is_permitted, record_search, require_permission
from authz.record import Actor, RecordedQuestion, record_decisions
from authz.texts import describe_patient, matches_search, search_words

_CHUNK = 500
_LARGEST_CHUNK = 16_000


def by_login(pdp: PDP, login: str, tenant: str | None) -> str | None:
    """Return the id of the practitioner with a login, None if there is none.

    For a key of one subscription there are only those who have worked in that subscription.
    """
    mark, values = pdp.database.param, [normalise_login(login)]
    sql = f"SELECT id FROM practitioner WHERE login = {mark}"
    if tenant is not None:  # in the same statement, so that the time does not tell who works elsewhere
        sql += f" AND id IN (SELECT practitioner_id FROM membership WHERE subscription_id = {mark})"
        values.append(tenant)
    with database_connection(pdp.database):
        rows = pdp.database.execute_sql(sql, values).fetchall()
    return str(rows[0][0]) if rows else None


def me(pdp: PDP, actor: Actor) -> Row:
    """Return the practitioner and their live memberships."""
    with database_connection(pdp.database):
        columns = (Practitioner.id, Practitioner.login, Practitioner.name)
        own = Practitioner.select(*columns).where(Practitioner.id == actor.practitioner)
        (row,) = own.dicts().execute(pdp.database)
        memberships = Membership.select(Membership.subscription, Membership.role).where(
            Membership.practitioner == actor.practitioner, live_at(Membership, actor.now)
        )
        roles = {role["subscription"]: role["role"] for role in memberships.dicts().execute(pdp.database)}
        clinics = Subscription.select(Subscription.id, Subscription.name).where(
            in_condition(pdp.database, Subscription.id, list(roles))
        )
        names = dict(clinics.order_by(Subscription.id).tuples().execute(pdp.database))
    listed = [
        {"subscription": subscription, "name": name, "role": roles[subscription]}
        for subscription, name in names.items()
        if actor.tenant in (None, subscription)
    ]
    return {**row, "memberships": listed}


def patients(
    pdp: PDP, actor: Actor, place: PagePosition, *, q: str = "", role: str | None = None, orphaned: bool = False
) -> tuple[list[Row], tuple[str, str] | None]:
    """Return a page of the patients that the practitioner may view, and the place after which the next page begins.

    The page is ordered by name, reference and id, or by id alone. The place is a sort key and an id, None if there are
    no more patients. Each word of `q` occurs in the name or the reference, or `q` is the id; `role` is ``owner`` or
    ``viewer``. `orphaned` lists instead the patients that a manager may transfer because their owner does not work
    there any more (T14).
    """
    action, limit = "transfer" if orphaned else "view", place.limit
    page: list[tuple[Row, str]] = []
    size = max(limit + 1, _CHUNK) if orphaned else limit + 1
    place = replace(place, words=tuple(search_words(q)), text=q)
    if q.strip() and not place.words:  # signs alone, none of which is in any key
        place = replace(place, words=(q.strip(),))
    with database_connection(pdp.database):
        while len(page) <= limit:
            candidates = _candidates(pdp, actor, action, role, replace(place, limit=size))
            rows = {row["id"]: row for row in patient_rows(pdp, actor, list(dict(candidates)), action)}
            for patient, sort_key in candidates:
                row = rows.get(patient)
                if row is not None and role in (None, row["role"]) and (row["orphaned"] or not orphaned):
                    page.append((row, sort_key))
            if len(candidates) < size:
                break
            after, key = candidates[-1]
            place, size = replace(place, after=after, key=key), min(4 * size, _LARGEST_CHUNK)
        record_search(pdp, actor, action, ("patient", ""), min(len(page), limit))
    for row, _ in page:
        del row["orphaned"]
    following = (page[limit - 1][1], page[limit - 1][0]["id"]) if len(page) > limit else None
    return [row for row, _ in page[:limit]], following


def _candidates(pdp: PDP, actor: Actor, action: str, role: str | None, place: PagePosition) -> list[tuple[str, str]]:
    """Return ids among which the requested patients are, with their sort keys, in order.

    What one owns is found by its grants, and what is shared with one by the policy's role `viewer`, so that neither
    hides among many of the other.
    """
    if role == "owner":
        return owned_patients(pdp.database, actor, place)
    subject = ("practitioner", actor.practitioner)
    if role == "viewer":
        return pdp.list_resources_of_role(subject, role, "patient", place, now=actor.now, tenant=actor.tenant)
    return pdp.list_resources(subject, action, "patient", place, now=actor.now, tenant=actor.tenant)


def patient(pdp: PDP, actor: Actor, name: str, *, or_list_access: bool = False) -> Row:
    """Return one patient with the actions that the practitioner may take.

    Raises `NotFound` unless the practitioner may view the patient or, with `or_list_access`, may list who has access.
    """
    with database_connection(pdp.database):
        resource: Ref = ("patient", name)
        action = "view"
        if not is_permitted(pdp, actor, action, resource):
            action = "list_access"
            if not or_list_access or not is_permitted(pdp, actor, action, resource):
                raise NotFound
        rows = patient_rows(pdp, actor, [name], action)
        if not rows:  # somebody has just taken the right away
            raise NotFound
        del rows[0]["orphaned"]
        actions = pdp.search_actions(("practitioner", actor.practitioner), resource, now=actor.now)
        return {**rows[0], "actions": actions}


def actions(pdp: PDP, actor: Actor, names: Sequence[str], *of: str) -> dict[str, set[str]]:
    """Return which of the actions `of` the practitioner may take on each of these patients, for a list to offer."""
    subject = ("practitioner", actor.practitioner)
    questions = [(subject, action, ("patient", name)) for name in names for action in of]
    with database_connection(pdp.database):
        decisions = pdp.evaluate_many(questions, now=actor.now)
    permitted: dict[str, set[str]] = {name: set() for name in names}
    for (_, action, (_, name)), decision in zip(questions, decisions, strict=True):
        if decision.allowed:
            permitted[name].add(action)
    return permitted


def names(pdp: PDP, actor: Actor, ids: Sequence[str]) -> dict[str, str]:
    """Return how to name those of these patients that the practitioner may view, or whose access they may list."""
    with database_connection(pdp.database):
        known: set[str] = set()
        for action in ("view", "list_access"):
            questions = [
                RecordedQuestion(("practitioner", actor.practitioner), action, ("patient", patient))
                for patient in sorted(set(ids) - known)
            ]
            pairs = [(question.subject, question.action, question.resource) for question in questions]
            decisions = pdp.evaluate_many(pairs, now=actor.now)
            answers = list(zip(questions, decisions, strict=True))
            record_decisions(pdp.database, actor, answers)
            known |= {question.resource[1] for question, decision in answers if decision.allowed}
        query = Patient.select(Patient.id, Patient.name, Patient.reference)
        query = query.where(in_condition(pdp.database, Patient.id, sorted(known)))
        rows = list(query.tuples().execute(pdp.database))
    return {patient: describe_patient(name, reference) for patient, name, reference in rows}


def access(pdp: PDP, actor: Actor, name: str) -> list[Row]:
    """Return the live grants of a patient, the owner's first.

    Raises `NotFound` or, if the practitioner may only view the patient, `Denied`.
    """
    with database_connection(pdp.database):
        require_permission(pdp, actor, "list_access", ("patient", name))
        live = Grant.select().where(Grant.patient == name, live_at(Grant, actor.now))
        return list(live.order_by(Grant.role, Grant.id).dicts().execute(pdp.database))


def colleagues(pdp: PDP, actor: Actor, *, name: str | None = None, q: str = "") -> list[Row]:
    """Return who may receive the patient `name`, or anything in a clinic of the practitioner; never the practitioner.

    Raises `NotFound` and `Denied` unless the practitioner may list who has access to the patient.
    """
    with database_connection(pdp.database):
        resources: list[Ref] = [("patient", name)] if name is not None else []
        if name is not None:
            require_permission(pdp, actor, "list_access", ("patient", name))
        else:
            own = [membership["subscription"] for membership in me(pdp, actor)["memberships"]]
            resources = [("subscription", subscription) for subscription in _receiving(pdp, actor, own)]
        receivers = {
            receiver
            for resource in resources
            for receiver in pdp.search_subjects("practitioner", "receive", resource, now=actor.now)
        } - {actor.practitioner}
        record_search(pdp, actor, "receive", ("patient", name or ""), len(receivers))
        rows = people(pdp, sorted(receivers)).values()
    return [row for row in rows if matches_search(row["search_key"], q)]


def people(pdp: PDP, names: Sequence[str]) -> dict[str, Row]:
    """Return practitioners by id, in the order of their names."""
    if not names:
        return {}
    columns = ("id", "login", "name", "search_key")
    with database_connection(pdp.database):
        sql = f"SELECT {', '.join(columns)} FROM practitioner WHERE id"
        rows = [dict(zip(columns, row, strict=True)) for row in select_in(pdp.database, sql, sorted(set(names)))]
    return {row["id"]: row for row in sorted(rows, key=lambda row: (row["search_key"], row["id"]))}


def standing_shares(pdp: PDP, actor: Actor) -> list[Row]:
    """Return the live standing shares that the practitioner gave or was given, where they still work."""
    with database_connection(pdp.database):
        query = StandingShare.select().where(
            (StandingShare.owner == actor.practitioner) | (StandingShare.colleague == actor.practitioner),
            live_at(StandingShare, actor.now),
            StandingShare.subscription.in_(receiving_clinics(pdp, actor)),
        )
        rows = list(query.order_by(StandingShare.id).dicts().execute(pdp.database))
        record_search(pdp, actor, "receive", ("subscription", ""), len(rows))
    return rows


def receiving_clinics(pdp: PDP, actor: Actor) -> list[str]:
    """Return the subscriptions in which the practitioner may receive now, as far as the app's key reaches.

    The practitioner is notified of changes in these.
    """
    own = Membership.select(Membership.subscription).where(Membership.practitioner == actor.practitioner).distinct()
    return _receiving(pdp, actor, sorted(name for (name,) in own.tuples().execute(pdp.database)))


def _receiving(pdp: PDP, actor: Actor, subscriptions: Sequence[str]) -> list[str]:
    """Return those of these subscriptions in which the practitioner may receive now."""
    subject = ("practitioner", actor.practitioner)
    questions: list[tuple[Ref, str, Ref]] = [(subject, "receive", ("subscription", name)) for name in subscriptions]
    decisions = pdp.evaluate_many(questions, now=actor.now, tenant=actor.tenant)
    return [name for name, decision in zip(subscriptions, decisions, strict=True) if decision.allowed]
