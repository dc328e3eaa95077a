"""What is stored: the facts that policies read, and the record beside them.

Each fact is a row with a life ``[started_at, ended_at)``; ending it moves `ended_at`, and no row is deleted.
The models are bound to no database: a query takes the database that it runs on, so that one process may hold
several. What the database enforces is declared here and, where it takes a trigger, in the migrations.
"""

from datetime import datetime
from typing import Any

import orjson
from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

from authz.domain import (
    END_CAUSES,
    FOREVER_MICROS,
    GRANT_ORIGINS,
    GRANT_ROLES,
    MEMBERSHIP_ROLES,
    VERDICTS,
    from_micros,
    to_micros,
)


class InstantField(BigIntegerField):
    """A UTC instant, stored as whole microseconds since 1970: one form, order and precision on every database."""

    def db_value(self, value: datetime | int | None) -> int | None:
        return to_micros(value) if isinstance(value, datetime) else value

    def python_value(self, value: int | None) -> datetime | None:
        return None if value is None else from_micros(value)


class DocumentField(TextField):
    """A JSON object: text on SQLite, jsonb on PostgreSQL."""

    field_type = "JSON"

    def db_value(self, value: Any) -> str | None:
        return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()

    def python_value(self, value: Any) -> Any:
        return orjson.loads(value) if isinstance(value, str) else value


class IdField(TextField):
    """An opaque identifier, ordered by its bytes on every database so that a page can follow a page."""

    field_type = "OPAQUE_ID"


def _one_of(column: str, words: tuple[str, ...]) -> Any:
    listed = ", ".join(f"'{word}'" for word in words)
    return Check(f"{column} IN ({listed})")


_LIFE = Check("started_at <= ended_at")


class Table(Model):
    """What every table shares: its name in snake case."""

    class Meta:
        legacy_table_names = False


class Fact(Table):
    """A row with a life."""

    started_at = InstantField()
    ended_at = InstantField(default=FOREVER_MICROS)


class Subscription(Table):
    """A clinic, the tenant. It is live while one of its licences is."""

    id = IdField(primary_key=True)
    name = TextField()


class Licence(Fact):
    """A stretch of time for which a subscription is paid, so that it can lapse and resume."""

    id = BigAutoField()
    subscription = ForeignKeyField(Subscription, backref="licences")

    class Meta:
        constraints = (_LIFE,)


class Practitioner(Table):
    """A person who works under subscriptions; `login` is their e-mail in normal form, `search_key` both, folded."""

    id = IdField(primary_key=True)
    login = IdField(unique=True)
    name = TextField()
    search_key = IdField(default="")


class Membership(Fact):
    """A practitioner works under a subscription, in one role."""

    id = BigAutoField()
    practitioner = ForeignKeyField(Practitioner, backref="memberships", index=False)
    subscription = ForeignKeyField(Subscription, backref="memberships")
    role = TextField()

    class Meta:
        constraints = (_LIFE, _one_of("role", MEMBERSHIP_ROLES))
        indexes = ((("practitioner", "subscription"), False),)


class Patient(Fact):
    """A patient of a subscription: an opaque id and a display name, no clinical data.

    `reference` is the clinic's own number of them, unique among the patients that are there, empty if it has none;
    `search_key` is name and reference, folded: lists are searched and ordered by it.
    """

    id = IdField(primary_key=True)
    subscription = ForeignKeyField(Subscription, backref="patients")
    name = TextField()
    reference = IdField(default="")
    search_key = IdField(default="")

    class Meta:
        constraints = (_LIFE,)


class Grant(Fact):
    """A practitioner holds a role on a patient."""

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
            _LIFE,
            _one_of("role", GRANT_ROLES),
            _one_of("origin", GRANT_ORIGINS),
            _one_of("end_cause", ("", *END_CAUSES)),
            Check("length(reason) <= 500"),
        )
        indexes = ((("practitioner", "role", "patient"), False), (("patient", "practitioner"), False))


class StandingShare(Fact):
    """Everything that `owner` owns in this subscription, now and later, is visible to `colleague`."""

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
            _LIFE,
            Check("owner_id <> colleague_id"),
            _one_of("end_cause", ("", *END_CAUSES)),
            Check("length(reason) <= 500"),
        )
        indexes = ((("colleague", "owner"), False), (("owner", "colleague", "subscription"), False))


class Entity(Fact):
    """One version of a row of a type that a policy directory declares; its relations are in `EntityLink`.

    `subscription` is the clinic that it belongs to and whose key may change it; empty: it is the operator's.
    """

    pk = BigAutoField()
    type = IdField()
    id = IdField()
    properties = DocumentField()
    subscription = IdField(default="")

    class Meta:
        constraints = (_LIFE,)
        indexes = ((("type", "id", "started_at"), False),)


class EntityLink(Table):
    """A relation of one version of an entity: the id of the row that a property points at, indexed both ways."""

    entity = ForeignKeyField(Entity, backref="links", index=False)
    property = IdField()
    type = IdField()
    target = IdField()

    class Meta:
        primary_key = CompositeKey("entity", "property")
        indexes = ((("target", "type", "property", "entity"), False),)


class Client(Table):
    """An app that may ask; its bearer key is kept only as a hash. `rate`: requests a minute, where not the usual."""

    id = BigAutoField()
    name = TextField()
    key_hash = IdField(unique=True)
    scopes = TextField()
    subscription = ForeignKeyField(Subscription, null=True)
    created_at = InstantField()
    revoked_at = InstantField(default=FOREVER_MICROS)
    rate = BigIntegerField(null=True)


class RequestCount(Table):
    """How many requests a caller has sent in the last minute in which there was one."""

    caller = IdField(primary_key=True)
    minute = BigIntegerField()
    requests = BigIntegerField()


class SpoolPosition(Table):
    """How far the spool of answers is taken into this SQLite database: its batch, and the bytes of it.

    `owner` names the database in the spool's head.
    """

    id = IntegerField(primary_key=True)
    owner = IdField()
    batch = IdField()
    taken = BigIntegerField()

    class Meta:
        constraints = (Check("id = 1"),)


class Secret(Table):
    """What every process on this database must know alike, and nobody else."""

    name = IdField(primary_key=True)
    value = TextField()


class Event(Table):
    """The record of one change, appended in the change's own transaction; ids only, never updated.

    `actor` is the practitioner who did it or on whose behalf it was done, `client` the app that asked for it, `reason`
    what they gave for it.
    """

    id = BigAutoField()
    at = InstantField()
    kind = TextField()
    subscription = IdField(default="")
    body = DocumentField()
    patient = IdField(default="")
    actor = IdField(default="")
    client = BigIntegerField(null=True)
    request_id = TextField(default="")
    address = TextField(default="")
    reason = TextField(default="")

    class Meta:
        indexes = ((("subscription", "id"), False), (("patient", "id"), False))


class PolicyText(Table):
    """The text of a policy that served: its files by their names. `version` is the hash of them; never updated."""

    version = IdField(primary_key=True)
    files = DocumentField()


class Notification(Table):
    """What a practitioner is told of a change that somebody made; `read_at` is for ever while unread."""

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


class IdempotentResponse(Table):
    """What a caller's `Idempotency-Key` was answered, for a request that comes again."""

    caller = IdField()
    key = IdField()
    fingerprint = TextField()
    status = IntegerField()
    body = TextField()
    created_at = InstantField()
    subscription = IdField()

    class Meta:
        primary_key = CompositeKey("caller", "key")


class RecordedDecision(Table):
    """The record of one answer given; ids only, never updated.

    `subscription` is the resource's (empty where it has none), `membership` the subject's role there at the instant
    asked about (empty: none); `actor` is the practitioner who asked, themselves or through `client`; `size` is how many
    a search found.
    """

    id = BigAutoField()
    at = InstantField()
    asked_at = InstantField()
    client = ForeignKeyField(Client, null=True, index=False)
    request_id = TextField()
    subject_type = IdField()
    subject = IdField()
    action = IdField()
    resource_type = IdField()
    resource = IdField()
    allowed = BooleanField()
    reason = TextField()
    rule = TextField(default="")
    grant = BigIntegerField(null=True)
    policy_version = IdField()
    actor = IdField(default="")
    address = TextField(default="")
    subscription = IdField(default="")
    membership = TextField(default="")
    purpose = TextField(default="")
    standing_share = BigIntegerField(null=True)
    size = BigIntegerField(null=True)

    class Meta:
        indexes = (
            (("resource_type", "resource", "at"), False),
            (("subscription", "id"), False),
        )


class MerkleTree(Table):
    """A Merkle tree of the record as far as it has grown: a subscription's, or, of no name, that of no subscription.

    `edge` holds the hashes of its complete subtrees, the largest first.
    """

    name = IdField(primary_key=True)
    size = BigIntegerField()
    edge = BlobField()


class MerkleLeaf(Table):
    """A leaf: the event or the seal that it stands for, and its hash."""

    tree = IdField()
    number = BigIntegerField()
    event = BigIntegerField(null=True)
    seal = BigIntegerField(null=True)
    hash = BlobField()

    class Meta:
        primary_key = CompositeKey("tree", "number")


class MerkleNode(Table):
    """An inner node, of a level that is kept."""

    tree = IdField()
    level = IntegerField()
    number = BigIntegerField()
    hash = BlobField()

    class Meta:
        primary_key = CompositeKey("tree", "level", "number")


class Seal(Table):
    """A batch of decisions that were sealed: those of a subscription and a month with ids from `first` to `last`.

    `upto` is the last decision of any subscription that was sealed with them, `root` the root over their leaves,
    `marks` the first bytes of the hash of each leaf (null: it was sealed before marks were kept).
    """

    id = BigAutoField()
    at = InstantField()
    subscription = IdField()
    month = TextField()
    first = BigIntegerField()
    last = BigIntegerField()
    upto = BigIntegerField(index=True)
    count = BigIntegerField()
    root = BlobField()
    marks = BlobField(null=True)


class Checkpoint(Table):
    """A signed checkpoint that was given out."""

    id = BigAutoField()
    at = InstantField()
    tree = IdField()
    size = BigIntegerField()
    root = BlobField()
    note = TextField()

    class Meta:
        indexes = ((("tree", "size"), False),)


class PersonalSecret(Table):
    """The secret under which a person's fields are committed to."""

    whose = IdField(primary_key=True)
    value = BlobField()


class ErasedField(Table):
    """The commitment that remains of a field that was erased."""

    noun = IdField()
    row = BigIntegerField()
    field = IdField()
    commitment = TextField()

    class Meta:
        primary_key = CompositeKey("noun", "row", "field")


class Review(Table):
    """What an access review decided on one share, a grant or a standing share; never updated. A share is decided on
    once in a campaign.
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
        constraints = (_one_of("verdict", VERDICTS), Check("(grant_id IS NULL) <> (standing_share_id IS NULL)"))
        indexes = ((("campaign", "grant"), True), (("campaign", "standing_share"), True))


FACTS: tuple[type[Model], ...] = (
    Subscription,
    Licence,
    Practitioner,
    Membership,
    Patient,
    Grant,
    StandingShare,
)
"""The built-in types that a policy may speak of."""

PROOF: tuple[type[Model], ...] = (MerkleTree, MerkleLeaf, MerkleNode, Seal, Checkpoint, PersonalSecret, ErasedField)
"""What proves the record."""

MODELS: tuple[type[Model], ...] = (
    *FACTS,
    Entity,
    EntityLink,
    Client,
    Event,
    RecordedDecision,
    Notification,
    IdempotentResponse,
    RequestCount,
    SpoolPosition,
    Secret,
    Review,
    PolicyText,
    *PROOF,
)


def open_only(model: Any, *columns: str) -> Any:
    """A unique index over the rows that have no end: the invariant "at most one open … per …"."""
    return model.index(
        *(getattr(model, column) for column in columns),
        unique=True,
        where=(model.ended_at == FOREVER_MICROS),
        name=f"{model._meta.table_name}_open",
    )


Licence.add_index(open_only(Licence, "subscription"))
Membership.add_index(open_only(Membership, "practitioner", "subscription", "role"))
StandingShare.add_index(open_only(StandingShare, "owner", "colleague", "subscription"))
Entity.add_index(open_only(Entity, "type", "id"))
Grant.add_index(open_only(Grant, "patient", "practitioner"))
Grant.add_index(
    Grant.index(
        Grant.patient,
        unique=True,
        where=((Grant.role == "owner") & (Grant.ended_at == FOREVER_MICROS)),
        name="grant_open_owner",
    )
)
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
Event.add_index(Event.index(Event.at, Event.id, where=(Event.kind == "policy:loaded"), name="event_policy_loaded"))
RecordedDecision.add_index(
    RecordedDecision.index(
        RecordedDecision.standing_share,
        RecordedDecision.at,
        where=RecordedDecision.standing_share.is_null(False),
        name="decision_standing_share_at",
    )
)
