"""Tables of facts: what policies read, and what practitioners and reviewers see or decide of it."""

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BooleanField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from authz.domain import (
    EMERGENCY_PURPOSES,
    EMERGENCY_VERDICTS,
    END_CAUSES,
    FOREVER_MICROS,
    GRANT_END_CAUSES,
    GRANT_ORIGINS,
    GRANT_ROLES,
    MEMBERSHIP_ROLES,
    VERDICTS,
)
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
    """A clinic, the tenant; live while one of its licences is live.

    `time_zone` is the name of a zone of the IANA database, in which the pages show and read the clinic's days.
    """

    id = IdField(primary_key=True)
    name = TextField()
    time_zone = TextField(default="UTC")


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
    """A role of a practitioner on a patient.

    `undo_until` is the instant until which the practitioner `given_by` may undo the transfer by which this grant began;
    zero for a grant that began otherwise.
    """

    id = BigAutoField()
    patient = ForeignKeyField(Patient, backref="grants", index=False)
    practitioner = ForeignKeyField(Practitioner, backref="grants", index=False)
    role = TextField()
    origin = TextField()
    given_by = IdField(default="")
    reason = TextField(default="")
    ended_by = IdField(default="")
    end_cause = TextField(default="")
    undo_until = InstantField(default=0)

    class Meta:
        constraints = (
            VALID_LIFE,
            one_of("role", GRANT_ROLES),
            one_of("origin", GRANT_ORIGINS),
            one_of("end_cause", ("", *GRANT_END_CAUSES)),
            Check("length(reason) <= 500"),
        )
        indexes = (
            (("practitioner", "role", "patient"), False),
            (("patient", "practitioner"), False),
            (("given_by", "started_at"), False),
        )


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
    """One version of a row of a type that a policy folder declares; `EntityLink` and `EntityTarget` hold its relations.

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


class EntityTarget(StoredModel):
    """A row to which a relation to many, or to several types, leads from one version of an entity."""

    entity = ForeignKeyField(Entity, backref="targets", index=False)
    property = IdField()
    type = IdField()
    target_type = IdField()
    target = IdField()

    class Meta:
        primary_key = CompositeKey("entity", "property", "target_type", "target")
        indexes = ((("target", "target_type", "type", "property", "entity"), False),)


class Notification(StoredModel):
    """A message to a practitioner about a change; `read_at` is `FOREVER` while it is unread.

    The rows of one message about several patients share a `batch`; `size` is the number of these patients in the last
    row, which pages list, and 0 in the others. `grant` or `standing_share` is the share or the owner's grant that the
    message is about, and `until` the end of that share when the message was written (`FOREVER`: none).
    """

    id = BigAutoField()
    at = InstantField()
    practitioner = ForeignKeyField(Practitioner, index=False)
    kind = TextField()
    patient = IdField()
    colleague = IdField()
    actor = IdField()
    read_at = InstantField(default=FOREVER_MICROS)
    subscription = IdField()
    batch = IdField(default="")
    size = IntegerField(default=1)
    grant = BigIntegerField(null=True)
    standing_share = BigIntegerField(null=True)
    until = InstantField(default=FOREVER_MICROS)

    class Meta:
        indexes = ((("practitioner", "id"), False),)


class NoticePosition(StoredModel):
    """The last end of a share, by instant and number, of which notices of one kind were written."""

    kind = IdField(primary_key=True)
    ended_at = InstantField()
    number = BigIntegerField()


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


class Emergency(StoredModel):
    """The emergency access by which a grant began: its purpose, and its review by another person.

    `ends_at` is the end that the grant had when it began. `verdict` is empty, and `reviewed_at` is `FOREVER`, while the
    review is due.
    """

    id = BigAutoField()
    grant = ForeignKeyField(Grant, unique=True)
    subscription = ForeignKeyField(Subscription, index=False)
    purpose = TextField()
    started_at = InstantField()
    ends_at = InstantField()
    due_at = InstantField()
    reviewer = ForeignKeyField(Practitioner, null=True, index=False)
    reviewed_at = InstantField(default=FOREVER_MICROS)
    verdict = TextField(default="")

    class Meta:
        constraints = (
            one_of("purpose", tuple(EMERGENCY_PURPOSES)),
            one_of("verdict", ("", *EMERGENCY_VERDICTS)),
            Check("started_at < ends_at"),
            Check("(verdict = '') = (reviewer_id IS NULL)"),
            Check(f"(verdict = '') = (reviewed_at = {FOREVER_MICROS})"),
        )
        indexes = ((("subscription", "reviewed_at", "id"), False),)


Notification.add_index(
    Notification.index(Notification.practitioner, Notification.id, where=SQL("size > 0"), name="notification_listed")
)
Notification.add_index(
    Notification.index(Notification.batch, Notification.id, where=SQL("batch <> ''"), name="notification_batch")
)
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
for _share, _viewer in ((Grant, "role = 'viewer' AND "), (StandingShare, "")):
    _share.add_index(
        _share.index(
            _share.ended_at,
            _share.id,
            where=SQL(f"{_viewer}end_cause = '' AND ended_at < {FOREVER_MICROS}"),
            name=f"{_share._meta.table_name}_ends",
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
