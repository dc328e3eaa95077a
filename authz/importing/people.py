"""Lines about subscriptions, practitioners and memberships."""

from authz.domain import MEMBERSHIP_ROLES, format_micros
from authz.errors import InvalidInput
from authz.importing.batch import ImportBatch
from authz.importing.lives import Fields, Outcome, require_line_span
from authz.importing.rows import Key, Life
from authz.operations.leaving import PRACTISING


def apply_subscription(batch: ImportBatch, fields: Fields, started: int) -> Outcome:
    """Add or change a subscription, and begin or change its licence; a line without a time zone leaves the zone."""
    subscription, stored = fields["id"], batch.stored.subscriptions
    before = stored.get(subscription)
    wanted = fields["name"], fields.get("time_zone", before[1] if before else "UTC")
    stored[subscription] = wanted
    if before is None:
        batch.new_subscriptions.append((subscription, *wanted))
    elif before != wanted:
        verbs = [verb for verb, old, new in zip(("renamed", "changed"), before, wanted, strict=True) if old != new]
        batch.changed_subscriptions.append((subscription, *wanted, verbs))
    key = (subscription,)
    outcome = batch.put_life("licence", key, batch.stored.licences[key], fields, started)
    return "changed" if before not in (None, wanted) and outcome in ("unchanged", "ended") else outcome


def apply_practitioner(batch: ImportBatch, fields: Fields, _started: int) -> Outcome:
    """Add a practitioner, or change login and name."""
    practitioner, login, name = fields["id"], fields["login"], fields["name"]
    stored = batch.stored
    before = stored.practitioners.get(practitioner)
    if before == (login, name):
        return "unchanged"
    if stored.logins.get(login, practitioner) != practitioner:
        raise InvalidInput(f"the login of {practitioner} is that of {stored.logins[login]}")
    stored.practitioners[practitioner] = (login, name)
    stored.logins[login] = practitioner
    if before is None:
        batch.new_practitioners.append((practitioner, login, name))
        return "new"
    if before[0] != login:
        stored.logins.pop(before[0], None)
    pairs = zip(("login", "name"), before, (login, name), strict=True)
    differing = [field for field, old, new in pairs if old != new]
    batch.changed_practitioners.append((practitioner, login, name, differing))
    return "changed"


def apply_membership(batch: ImportBatch, fields: Fields, started: int) -> Outcome:
    """Begin or change a membership; another role of the same practitioner there ends when this one begins."""
    practitioner, subscription, role = fields["practitioner"], fields["subscription"], fields["role"]
    stored = batch.stored
    stored.require_practitioner(practitioner)
    stored.require_subscription(subscription)
    key = (practitioner, subscription, role)
    belonged, practised = key[:2] in stored.belongs, _practises(batch, practitioner, subscription)
    replaced = [
        (other, life)
        for other in MEMBERSHIP_ROLES
        for life in stored.memberships[practitioner, subscription, other]
        if other != role and life.is_lasting and batch.now < life.ended and life.started < fields["until"]
    ]
    lives = stored.memberships[key]
    is_current = any(life.is_lasting and life.ended > batch.now for life in lives)
    is_known = "started_at" in fields and any(life.started == started for life in lives)
    if replaced and not is_current and not is_known:
        outcome = _replace_roles(batch, key, fields, started, replaced)
    else:
        outcome = batch.put_life("membership", key, lives, fields, started)
    stored.belongs.add((practitioner, subscription))
    practises = practised and _practises(batch, practitioner, subscription)
    if belonged and outcome in ("new", "changed") and not practises:
        _end_shares(batch, practitioner, subscription)
    return outcome


def _replace_roles(
    batch: ImportBatch, key: Key, fields: Fields, started: int, replaced: list[tuple[str, Life]]
) -> Outcome:
    """Begin the membership of a line, and end those in other roles at its start."""
    require_line_span(fields, started)
    for role, life in replaced:
        if life.started >= started:
            raise InvalidInput(f"{key[0]} has the role {role} there from {format_micros(life.started)}")
        life.move_end(started, "")
    batch.begin_life("membership", key, batch.stored.memberships[key], Life(started, fields["until"]))
    return "changed"


def _practises(batch: ImportBatch, practitioner: str, subscription: str) -> bool:
    """Return whether a practitioner is a member or manager now."""
    lives = [life for role in PRACTISING for life in batch.stored.memberships[practitioner, subscription, role]]
    return any(life.started <= batch.now < life.ended for life in lives)


def _end_shares(batch: ImportBatch, practitioner: str, subscription: str) -> None:
    """End what a practitioner holds or gives in a clinic (R11): what this batch has read; `leavers` ends the rest."""
    batch.leavers.add((practitioner, subscription))
    for state in batch.stored.patients.values():
        if state.subscription == subscription:
            for grant in state.grants_of(practitioner):
                if grant.role == "viewer":
                    grant.cut(batch.now)
    for (owner, colleague, clinic), lives in batch.stored.standing_shares.items():
        if clinic == subscription and practitioner in (owner, colleague):
            for life in lives:
                life.cut(batch.now)
