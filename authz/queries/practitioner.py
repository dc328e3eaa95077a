"""What a practitioner may see: their patients, who has access, their colleagues, their notices. Reads, through the PDP.

Whatever is listed was permitted first and narrowed down afterwards, by what the reader may read (T23).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from authz.database import database_connection
from authz.database.statements import in_condition, select_in
from authz.domain import FOREVER, Row, normalise_login, to_micros
from authz.errors import Denied, NotFound
from authz.models import Grant, Membership, Notification, Patient, Practitioner, StandingShare, Subscription
from authz.policy.decision import Decision, Ref
from authz.policy.pdp import PDP
from authz.policy.plan import PagePosition
from authz.queries.owned_patients import owned
from authz.record import Actor, RecordedQuestion, record_decisions, search_decision
from authz.texts import describe_patient, matches_search, search_words

_CHUNK = 500
_LARGEST_CHUNK = 16_000
_BELL = 1000


def by_login(pdp: PDP, login: str, tenant: str | None) -> str | None:
    """The id of the practitioner with a login; for a key of one subscription, only of those who have worked there."""
    mark, asked = pdp.database.param, [normalise_login(login)]
    sql = f"SELECT id FROM practitioner WHERE login = {mark}"
    if tenant is not None:  # in the same statement, so that the time does not tell who works elsewhere
        sql += f" AND id IN (SELECT practitioner_id FROM membership WHERE subscription_id = {mark})"
        asked.append(tenant)
    with database_connection(pdp.database):
        return next((str(one) for (one,) in pdp.database.execute_sql(sql, asked).fetchall()), None)


def me(pdp: PDP, actor: Actor) -> Row:
    """The practitioner and their live memberships of live subscriptions."""
    with database_connection(pdp.database):
        columns = (Practitioner.id, Practitioner.login, Practitioner.name)
        (mine,) = (
            Practitioner.select(*columns).where(Practitioner.id == actor.practitioner).dicts().execute(pdp.database)
        )
        lives = Membership.select(Membership.subscription, Membership.role).where(
            Membership.practitioner == actor.practitioner,
            Membership.started_at <= actor.now,
            Membership.ended_at > actor.now,
        )
        held = {row["subscription"]: row["role"] for row in lives.dicts().execute(pdp.database)}
        names = (
            Subscription.select()
            .where(in_condition(pdp.database, Subscription.id, list(held)))
            .order_by(Subscription.id)
        )
        clinics = [
            {"subscription": row["id"], "name": row["name"], "role": held[row["id"]]}
            for row in names.dicts().execute(pdp.database)
            if actor.tenant in (None, row["id"])
        ]
    return {**mine, "memberships": clinics}


def patients(
    pdp: PDP, actor: Actor, place: PagePosition, *, q: str = "", role: str | None = None, left: bool = False
) -> tuple[list[Row], tuple[str, str] | None]:
    """A page of the patients that the practitioner may view, by name, reference and id, or by id alone; and the place
    (sort key and id) after which the next page begins, None if there is no more.

    Each word of `q` occurs in the name or the reference, or `q` is the id; `role` is ``owner`` or ``viewer``. `left`
    lists instead the patients that a manager may transfer because their owner works there no more (T14).
    """
    action, limit = "transfer" if left else "view", place.limit
    found: list[Row] = []
    size = max(limit + 1, _CHUNK) if left else limit + 1
    place = replace(place, words=tuple(search_words(q)), text=q)
    if q.strip() and not place.words:  # signs alone, none of which is in any key
        place = replace(place, words=(q.strip(),))
    with database_connection(pdp.database):
        while len(found) <= limit:
            some = _candidates(pdp, actor, action, role, replace(place, limit=size))
            keys = dict(some)
            told = {row["id"]: row for row in _told(pdp, actor, list(keys), action) if _wanted(row, role, left)}
            found += [{**told[one], "sort_key": key} for one, key in some if one in told]
            if len(some) < size:
                break
            after, key = some[-1]
            place, size = replace(place, after=after, key=key), min(4 * size, _LARGEST_CHUNK)
        _record_search(pdp, actor, action, ("patient", ""), min(len(found), limit))
    more = len(found) > limit
    keys = {row["id"]: row.pop("sort_key") for row in found if row.pop("left") in (True, False)}
    last = found[limit - 1]["id"] if more else ""
    return found[:limit], (keys[last], last) if more else None


def _candidates(pdp: PDP, actor: Actor, action: str, role: str | None, place: PagePosition) -> list[tuple[str, str]]:
    """Ids among which the patients asked for are, with their sort keys, in order: what one owns is found by its grants,
    and what one does not own by the rules other than the owner's (R3), so that neither hides among many of the other.
    """
    if role == "owner":
        return owned(pdp.database, actor, place)
    who, without = ("practitioner", actor.practitioner), "R3" if role == "viewer" else ""
    return pdp.list_resources(who, action, "patient", place, now=actor.now, tenant=actor.tenant, without=without)


def _wanted(row: Row, role: str | None, left: bool) -> bool:
    return role in (None, row["role"]) and (row["left"] or not left)


def _told(pdp: PDP, actor: Actor, ids: Sequence[str], action: str) -> list[Row]:
    """Patients as the practitioner sees them, in the order of their ids."""
    rows = Patient.select().where(in_condition(pdp.database, Patient.id, list(ids))).order_by(Patient.id)
    if actor.tenant is not None:
        rows = rows.where(Patient.subscription == actor.tenant)
    found = list(rows.dicts().execute(pdp.database))
    owned = Grant.select(Grant.patient, Grant.practitioner).where(
        in_condition(pdp.database, Grant.patient, list(ids)),
        Grant.role == "owner",
        Grant.started_at <= actor.now,
        Grant.ended_at > actor.now,
    )
    owners = {row["patient"]: row["practitioner"] for row in owned.dicts().execute(pdp.database)}
    who = ("practitioner", actor.practitioner)
    held = pdp.evaluate_many([(who, action, ("patient", row["id"])) for row in found], now=actor.now)
    works = pdp.evaluate_many(
        [(("practitioner", owners[row["id"]]), "receive", ("patient", row["id"])) for row in found], now=actor.now
    )
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "reference": row["reference"] or None,
            "role": _role(owners[row["id"]], actor, action),
            "owner": owners[row["id"]],
            "until": decision.until,
            "left": not owner.allowed,
        }
        for row, decision, owner in zip(found, held, works, strict=True)
        if decision.allowed
    ]


def _role(owner: str, actor: Actor, action: str) -> str:
    if owner == actor.practitioner:
        return "owner"
    return "viewer" if action == "view" else "manager"


def patient(pdp: PDP, actor: Actor, name: str, *, or_list_access: bool = False) -> Row:
    """One patient with the actions that the practitioner may take.

    Raises `NotFound` unless they may view it; where it is `overseen`, unless they may view it or list its access.
    """
    with database_connection(pdp.database):
        action = "view"
        try:
            _permit(pdp, actor, ("view",), name)
        except NotFound:
            if not or_list_access:
                raise
            action = "list_access"
            _permit(pdp, actor, (action,), name)
        rows = _told(pdp, actor, [name], action)
        if not rows:  # somebody has just taken the right away
            raise NotFound
        del rows[0]["left"]
        actions = pdp.search_actions(("practitioner", actor.practitioner), ("patient", name), now=actor.now)
        return {**rows[0], "actions": actions}


def actions(pdp: PDP, actor: Actor, names: Sequence[str], *of: str) -> dict[str, set[str]]:
    """Which of these actions the practitioner may take on each of these patients, for a list to offer them."""
    asked = [(("practitioner", actor.practitioner), action, ("patient", name)) for name in names for action in of]
    with database_connection(pdp.database):
        answers = pdp.evaluate_many(asked, now=actor.now)
    found: dict[str, set[str]] = {name: set() for name in names}
    for (_, action, (_, name)), decision in zip(asked, answers, strict=True):
        if decision.allowed:
            found[name].add(action)
    return found


def names(pdp: PDP, actor: Actor, ids: Sequence[str]) -> dict[str, str]:
    """How to name those of these patients that the practitioner may know: who view them, or list their access."""
    with database_connection(pdp.database):
        known: set[str] = set()
        for action in ("view", "list_access"):
            asked = [
                RecordedQuestion(("practitioner", actor.practitioner), action, ("patient", one))
                for one in sorted(set(ids) - known)
            ]
            answers = pdp.evaluate_many([(one.subject, one.action, one.resource) for one in asked], now=actor.now)
            record_decisions(pdp.database, actor, zip(asked, answers, strict=True))
            known |= {one.resource[1] for one, decision in zip(asked, answers, strict=True) if decision.allowed}
        which = in_condition(pdp.database, Patient.id, sorted(known))
        named = Patient.select(Patient.id, Patient.name, Patient.reference).where(which).tuples().execute(pdp.database)
        return {one: describe_patient(name, reference) for one, name, reference in named}


def access(pdp: PDP, actor: Actor, name: str) -> list[Row]:
    """The live grants of a patient, the owner's first. Raises `NotFound` or, for who may view only, `Denied`."""
    with database_connection(pdp.database):
        _permit(pdp, actor, ("list_access", "view"), name)
        live = Grant.select().where(Grant.patient == name, Grant.started_at <= actor.now, Grant.ended_at > actor.now)
        return list(live.order_by(Grant.role, Grant.id).dicts().execute(pdp.database))


def _permit(pdp: PDP, actor: Actor, actions: tuple[str, ...], name: str) -> None:
    """Go on if the first of these actions is permitted; of the others, one makes a refusal open."""
    who, resource = ("practitioner", actor.practitioner), ("patient", name)
    answers = [pdp.evaluate(who, action, resource, now=actor.now, tenant=actor.tenant) for action in actions]
    _record(pdp, actor, actions[0], resource, answers[0])
    if not answers[0].allowed:
        raise Denied(actions[0]) if any(one.allowed for one in answers) else NotFound


def _record(pdp: PDP, actor: Actor, action: str, resource: Ref, decision: Decision) -> None:
    record_decisions(
        pdp.database, actor, [(RecordedQuestion(("practitioner", actor.practitioner), action, resource), decision)]
    )


def _record_search(pdp: PDP, actor: Actor, action: str, resource: Ref, size: int) -> None:
    asked = RecordedQuestion(("practitioner", actor.practitioner), action, resource, size=size)
    record_decisions(pdp.database, actor, [(asked, search_decision(actor, pdp.version))])


def colleagues(pdp: PDP, actor: Actor, *, name: str | None = None, q: str = "") -> list[Row]:
    """Who may receive a patient that the practitioner may transfer or share; without one, who may receive in any of
    their clinics. Never themselves. Raises `NotFound`.
    """
    with database_connection(pdp.database):
        if name is not None:
            _permit(pdp, actor, ("list_access", "view"), name)
            resources: list[Ref] = [("patient", name)]
        else:
            mine = [row["subscription"] for row in me(pdp, actor)["memberships"]]
            who = ("practitioner", actor.practitioner)
            asked: list[Any] = [(who, "receive", ("subscription", one)) for one in mine]
            answers = pdp.evaluate_many(asked, now=actor.now)
            resources = [("subscription", one) for one, may in zip(mine, answers, strict=True) if may.allowed]
        found = {who for one in resources for who in pdp.search_subjects("practitioner", "receive", one, now=actor.now)}
        _record_search(pdp, actor, "receive", ("patient", name or ""), len(found - {actor.practitioner}))
        rows = list(people(pdp, sorted(found - {actor.practitioner})).values())
    return [row for row in rows if matches_search(row["search_key"], q)]


def colleagues_for_all(pdp: PDP, actor: Actor, names: Sequence[str]) -> list[Row]:
    """Return who may receive every one of these patients, which the practitioner may know. Never themselves.

    One search for each patient, so the cost grows with their number alone.
    """
    with database_connection(pdp.database):
        answers = [
            set(pdp.search_subjects("practitioner", "receive", ("patient", one), now=actor.now)) for one in names
        ]
        sizes = [len(found - {actor.practitioner}) for found in answers]
        who = ("practitioner", "")
        asked = [
            RecordedQuestion(who, "receive", ("patient", one), size=size)
            for one, size in zip(names, sizes, strict=True)
        ]
        record_decisions(pdp.database, actor, [(one, search_decision(actor, pdp.version)) for one in asked])
    common = set.intersection(*answers) - {actor.practitioner} if answers else set()
    return list(people(pdp, sorted(common)).values())


def people(pdp: PDP, names: Sequence[str]) -> dict[str, Row]:
    """Practitioners by id, in the order of their names."""
    if not names:
        return {}
    with database_connection(pdp.database):
        found = select_in(
            pdp.database, "SELECT id, login, name, search_key FROM practitioner WHERE id", sorted(set(names))
        )
    columns = ("id", "login", "name", "search_key")
    return {row[0]: dict(zip(columns, row, strict=True)) for row in sorted(found, key=lambda row: (row[3], row[0]))}


def standing_shares(pdp: PDP, actor: Actor) -> list[Row]:
    """The live standing shares that the practitioner gave or was given, where they still work."""
    with database_connection(pdp.database):
        found = StandingShare.select().where(
            (StandingShare.owner == actor.practitioner) | (StandingShare.colleague == actor.practitioner),
            StandingShare.started_at <= actor.now,
            StandingShare.ended_at > actor.now,
        )
        found = found.where(StandingShare.subscription.in_(_clinics(pdp, actor)))
        rows = list(found.order_by(StandingShare.id).dicts().execute(pdp.database))
        _record_search(pdp, actor, "receive", ("subscription", ""), len(rows))
    return rows


def _clinics(pdp: PDP, actor: Actor) -> list[str]:
    """The subscriptions where the practitioner may receive now, within the app's bound; they are told of these."""
    mine = Membership.select(Membership.subscription).where(Membership.practitioner == actor.practitioner).distinct()
    names: list[str] = sorted(name for (name,) in mine.tuples().execute(pdp.database))
    asked: list[Any] = [(("practitioner", actor.practitioner), "receive", ("subscription", name)) for name in names]
    answers = pdp.evaluate_many(asked, now=actor.now, tenant=actor.tenant)
    return [name for name, decision in zip(names, answers, strict=True) if decision.allowed]


def _notices(pdp: PDP, actor: Actor) -> tuple[Any, Any]:
    """Which notices are the practitioner's to read: their own, of where they still work."""
    return Notification.practitioner == actor.practitioner, Notification.subscription.in_(_clinics(pdp, actor))


def notifications(pdp: PDP, actor: Actor, *, unread: bool, limit: int, before: int | None) -> tuple[list[Row], bool]:
    """A page of the practitioner's notices, the newest first; whether there are more."""
    with database_connection(pdp.database):
        found = Notification.select().where(*_notices(pdp, actor)).order_by(Notification.id.desc())
        if unread:
            found = found.where(Notification.read_at == FOREVER)
        if before is not None:
            found = found.where(Notification.id < before)
        rows = list(found.limit(limit + 1).dicts().execute(pdp.database))
    return rows[:limit], len(rows) > limit


def unread(pdp: PDP, actor: Actor) -> int:
    """How many of the practitioner's last notices are unread."""
    with database_connection(pdp.database):
        last = Notification.select(Notification.read_at).where(*_notices(pdp, actor))
        last = last.order_by(Notification.id.desc()).limit(_BELL)
        return sum(read_at == FOREVER for (read_at,) in last.tuples().execute(pdp.database))


def mark_all_read(pdp: PDP, actor: Actor, newest: int) -> None:
    """Mark one's own notices as read, up to the `newest` that was seen."""
    with database_connection(pdp.database), pdp.database.atomic():
        seen = (*_notices(pdp, actor), Notification.read_at == FOREVER, Notification.id <= newest)
        Notification.update(read_at=to_micros(actor.now)).where(*seen).execute(pdp.database)


def mark_read(pdp: PDP, actor: Actor, notification: int) -> Row:
    """Mark one's own notice as read; again changes nothing. Raises `NotFound`."""
    with database_connection(pdp.database), pdp.database.atomic():
        mine = (Notification.id == notification, *_notices(pdp, actor))
        unread = Notification.read_at == FOREVER
        Notification.update(read_at=to_micros(actor.now)).where(*mine, unread).execute(pdp.database)
        rows: list[Row] = list(Notification.select().where(*mine).dicts().execute(pdp.database))
    if not rows:
        raise NotFound
    return rows[0]
