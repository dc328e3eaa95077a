"""Tables of facts: what policies read, and what practitioners and reviewers see or decide of it."""

from peewee import SQL, BigAutoField, BooleanField, Check, CompositeKey, ForeignKeyField, TextField

from authz.domain import END_CAUSES, FOREVER_MICROS, GRANT_ORIGINS, GRANT_ROLES, MEMBERSHIP_ROLES, VERDICTS
from authz.models.fields import (
    VALID_LIFE,
    DocumentField,
    Fact,
    IdField,
    InstantField,
    StoredModel,
    one_of,
    unique_while_open,
)


class Subscription(StoredModel):
    """A clinic, the tenant; live while one of its licences is live."""

    id = IdField(primary_key=True)
    name = TextField()


class Licence(Fact):
    """A time for which a subscription is paid; a subscription can lapse and resume."""

    id = BigAutoField()
    subscription = ForeignKeyField(Subscription, backref="licences")

    class Meta:
        constraints = (VALID_LIFE,)


class Practitioner(StoredModel):
    """A person who works under subscriptions.

    `login` is their e-mail address in normal form, `search_key` their name and login, folded.
    """

    id = IdField(primary_key=True)
    login = IdField(unique=True)
    name = TextField()
    search_key = IdField(default="")


class Membership(Fact):
    """The work of a practitioner under a subscription, in one role."""

    id = BigAutoField()
    practitioner = ForeignKeyField(Practitioner, backref="memberships", index=False)
    subscription = ForeignKeyField(Subscription, backref="memberships")
    role = TextField()

    class Meta:
        constraints = (VALID_LIFE, one_of("role", MEMBERSHIP_ROLES))
        indexes = ((("practitioner", "subscription"), False),)


class Patient(Fact):
    """A patient of a subscription: an opaque id and a display name, no clinical data.

    `reference` is the clinic's own number of the patient, unique among its open patients, empty if there is none.
    `search_key` is name and reference, folded; lists are searched and ordered by it.
    """

    id = IdField(primary_key=True)
    subscription = ForeignKeyField(Subscription, backref="patients")
    name = TextField()
    reference = IdField(default="")
    search_key = IdField(default="")

    class Meta:
        constraints = (VALID_LIFE,)


class Grant(Fact):
    """A role of a practitioner on a patient."""

    id = BigAutoField()
    patient = ForeignKeyField(Patient, backref="grants", index=False)
    practitioner = ForeignKeyField(Practitioner, backref="grants", index=False)
    role = TextField()
    origin = TextField()
    given_by = IdField(default="")
    reason = TextField(default="")
    ended_by = IdField(default="")
    end_cause = TextField(default="")

    class Meta:
        constraints = (
            VALID_LIFE,
            one_of("role", GRANT_ROLES),
            one_of("origin", GRANT_ORIGINS),
            one_of("end_cause", ("", *END_CAUSES)),
            Check("length(reason) <= 500"),
        )
        indexes = ((("practitioner", "role", "patient"), False), (("patient", "practitioner"), False))


class StandingShare(Fact):
    """A share of everything that `owner` owns in this subscription, now and later, with `colleague`."""

    id = BigAutoField()
    owner = ForeignKeyField(Practitioner, backref="standing_shares_given", index=False)
    colleague = ForeignKeyField(Practitioner, backref="standing_shares", index=False)
    subscription = ForeignKeyField(Subscription, backref="standing_shares")
    content = BooleanField(default=False)
    given_by = IdField(default="")
    reason = TextField(default="")
    ended_by = IdField(default="")
    end_cause = TextField(default="")

    class Meta:
        constraints = (
            VALID_LIFE,
            Check("owner_id <> colleague_id"),
            one_of("end_cause", ("", *END_CAUSES)),
            Check("length(reason) <= 500"),
        )
        indexes = ((("colleague", "owner"), False), (("owner", "colleague", "subscription"), False))


class Entity(Fact):
    """One version of a row of a type that a policy folder declares; `EntityLink` holds its relations.

    `subscription` is the clinic that it belongs to, whose key may change it; empty: it belongs to the operator.
    """

    pk = BigAutoField()
    type = IdField()
    id = IdField()
    properties = DocumentField()
    subscription = IdField(default="")

    class Meta:
        constraints = (VALID_LIFE,)
        indexes = ((("type", "id", "started_at"), False),)


class EntityLink(StoredModel):
    """A relation of one version of an entity: a property and the id of the row that it names, indexed both ways."""

    entity = ForeignKeyField(Entity, backref="links", index=False)
    property = IdField()
    type = IdField()
    target = IdField()

    class Meta:
        primary_key = CompositeKey("entity", "property")
        indexes = ((("target", "type", "property", "entity"), False),)


class Notification(StoredModel):
    """A message to a practitioner about a change that somebody else made; `read_at` is `FOREVER` while it is unread."""

    id = BigAutoField()
    at = InstantField()
    practitioner = ForeignKeyField(Practitioner, index=False)
    kind = TextField()
    patient = IdField()
    colleague = IdField()
    actor = IdField()
    read_at = InstantField(default=FOREVER_MICROS)
    subscription = IdField()

    class Meta:
        indexes = ((("practitioner", "id"), False),)


class Review(StoredModel):
    """The verdict of an access review on one grant or one standing share; never updated.

    A campaign has one verdict for each share.
    """

    id = BigAutoField()
    at = InstantField()
    campaign = IdField()
    subscription = ForeignKeyField(Subscription, index=False)
    grant = ForeignKeyField(Grant, null=True)
    standing_share = ForeignKeyField(StandingShare, null=True)
    reviewer = ForeignKeyField(Practitioner, index=False)
    verdict = TextField()
    due_at = InstantField()

    class Meta:
        constraints = (one_of("verdict", VERDICTS), Check("(grant_id IS NULL) <> (standing_share_id IS NULL)"))
        indexes = ((("campaign", "grant"), True), (("campaign", "standing_share"), True))


Licence.add_index(unique_while_open(Licence, "subscription"))
Membership.add_index(unique_while_open(Membership, "practitioner", "subscription", "role"))
StandingShare.add_index(unique_while_open(StandingShare, "owner", "colleague", "subscription"))
Entity.add_index(unique_while_open(Entity, "type", "id"))
Grant.add_index(unique_while_open(Grant, "patient", "practitioner"))
Grant.add_index(
    Grant.index(
        Grant.patient,
        unique=True,
        where=((Grant.role == "owner") & (Grant.ended_at == FOREVER_MICROS)),
        name="grant_open_owner",
    )
)
Grant.add_index(Grant.index(Grant.practitioner, Grant.role, Grant.started_at, Grant.id, name="grant_newest"))
Patient.add_index(
    Patient.index(Patient.subscription, SQL("substr(search_key, 1, 128)"), Patient.id, name="patient_by_name")
)
Patient.add_index(
    Patient.index(
        Patient.subscription,
        Patient.reference,
        unique=True,
        where=((Patient.reference != "") & (Patient.ended_at == FOREVER_MICROS)),
        name="patient_open_reference",
    )
)
