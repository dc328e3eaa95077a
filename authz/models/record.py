"""Tables of the record: events, decisions, policy texts, and the Merkle trees that prove them."""

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from authz.models.callers import Client
from authz.models.fields import DocumentField, IdField, InstantField, StoredModel


class Event(StoredModel):
    """The record of one change, appended in the transaction of the change; ids only, never updated.

    `actor` is the practitioner who made the change or for whom it was made, `client` the app that sent the request,
    `reason` the reason that they gave.
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


Event.add_index(
    Event.index(
        Event.at, Event.id, where=Event.kind.in_(("policy:loaded", "policy:activated")), name="event_policy_in_force"
    )
)
Event.add_index(Event.index(Event.id, where=(Event.kind == "policy:activated"), name="event_policy_activated"))


class PolicyText(StoredModel):
    """The text of a policy that was in service: its files by name; never updated. `version` is the hash of the text."""

    version = IdField(primary_key=True)
    files = DocumentField()


class RecordedDecision(StoredModel):
    """The record of one decision that was given to a caller; ids only, never updated.

    `at` is the instant that the question is about, `asked_at` when it was asked. `subscription` is the resource's
    (empty: it has none), `membership` the role of the subject there at `at` (empty: none). `actor` is the practitioner
    who asked, directly or through `client`. `size` is the number of results of a search.
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
        table_name = "decision"
        indexes = (
            (("resource_type", "resource", "at"), False),
            (("subscription", "id"), False),
        )


RecordedDecision.add_index(
    RecordedDecision.index(
        RecordedDecision.standing_share,
        RecordedDecision.at,
        where=RecordedDecision.standing_share.is_null(False),
        name="decision_standing_share_at",
    )
)


class SpoolPosition(StoredModel):
    """The part of the spool that this SQLite database has taken in: the batch, and the bytes of that batch.

    `owner` is the id of this database; the head of the spool file names it too.
    """

    id = IntegerField(primary_key=True)
    owner = IdField()
    batch = IdField()
    taken = BigIntegerField()

    class Meta:
        constraints = (Check("id = 1"),)


class MerkleTree(StoredModel):
    """The size and frontier of one Merkle tree: that of a subscription, or, with no name, that of no subscription.

    `edge` holds the hashes of its complete subtrees, the largest first.
    """

    name = IdField(primary_key=True)
    size = BigIntegerField()
    edge = BlobField()

    class Meta:
        table_name = "tree"


class MerkleLeaf(StoredModel):
    """A leaf: its hash, and the event or the seal that it covers."""

    tree = IdField()
    number = BigIntegerField()
    event = BigIntegerField(null=True)
    seal = BigIntegerField(null=True)
    hash = BlobField()

    class Meta:
        table_name = "leaf"
        primary_key = CompositeKey("tree", "number")


class MerkleNode(StoredModel):
    """An inner node; only some levels are kept."""

    tree = IdField()
    level = IntegerField()
    number = BigIntegerField()
    hash = BlobField()

    class Meta:
        table_name = "node"
        primary_key = CompositeKey("tree", "level", "number")


class Seal(StoredModel):
    """A batch of decisions that were sealed: those of one subscription and month with ids from `first` to `last`.

    `upto` is the last decision of any subscription that was sealed at the same time, `root` the root over the leaves,
    `marks` the first bytes of the hash of each leaf (null: sealed before marks were kept).
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


class Checkpoint(StoredModel):
    """A signed checkpoint that was published."""

    id = BigAutoField()
    at = InstantField()
    tree = IdField()
    size = BigIntegerField()
    root = BlobField()
    note = TextField()

    class Meta:
        indexes = ((("tree", "size"), False),)


class PersonalSecret(StoredModel):
    """The secret key for the commitments to a person's fields."""

    whose = IdField(primary_key=True)
    value = BlobField()


class ErasedField(StoredModel):
    """The commitment to a field that was erased."""

    noun = IdField()
    row = BigIntegerField()
    field = IdField()
    commitment = TextField()

    class Meta:
        table_name = "erased"
        primary_key = CompositeKey("noun", "row", "field")
