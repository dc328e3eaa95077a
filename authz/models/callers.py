"""Tables about callers: apps, what callers have sent or selected, and the secrets of the service."""

from peewee import BigAutoField, BigIntegerField, CompositeKey, ForeignKeyField, IntegerField, TextField

from authz.domain import FOREVER_MICROS
from authz.models.facts import Subscription
from authz.models.fields import IdField, InstantField, StoredModel


class Client(StoredModel):
    """An app that may ask; only a hash of its bearer key is kept.

    `rate` is in requests a minute; null: the usual rate.
    """

    id = BigAutoField()
    name = TextField()
    key_hash = IdField(unique=True)
    scopes = TextField()
    subscription = ForeignKeyField(Subscription, null=True)
    created_at = InstantField()
    revoked_at = InstantField(default=FOREVER_MICROS)
    rate = BigIntegerField(null=True)


class RequestCount(StoredModel):
    """The number of requests that a caller sent in `minute`, the last minute in which the caller sent any."""

    caller = IdField(primary_key=True)
    minute = BigIntegerField()
    requests = BigIntegerField()

    class Meta:
        table_name = "spent"


class IdempotentResponse(StoredModel):
    """The response to a request with an `Idempotency-Key`, for the case that the same request comes again."""

    caller = IdField()
    key = IdField()
    fingerprint = TextField()
    status = IntegerField()
    body = TextField()
    created_at = InstantField()
    subscription = IdField()

    class Meta:
        table_name = "answer"
        primary_key = CompositeKey("caller", "key")


class KeptSelection(StoredModel):
    """The patients that a person has selected on the pages, as lines; `token` is in the cookie of the session."""

    token = IdField(primary_key=True)
    practitioner = IdField()
    patients = TextField()
    kept_at = InstantField(index=True)


class Secret(StoredModel):
    """A value that every process on this database must share, and nobody else may know."""

    name = IdField(primary_key=True)
    value = TextField()
