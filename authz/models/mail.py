"""Tables of the daily e-mail: who wants it, and the outbox."""

from peewee import SQL, BigAutoField, BigIntegerField, BooleanField, ForeignKeyField, IntegerField, TextField

from authz.models.facts import Practitioner
from authz.models.fields import IdField, InstantField, StoredModel, one_of

MAIL_STATES = ("waiting", "sent", "failed", "dropped")


class Digest(StoredModel):
    """The wish of a practitioner for a daily e-mail; none: not wanted.

    `next_at` is the earliest instant of the next e-mail, `newest` the last notification of which an e-mail was made.
    """

    practitioner = ForeignKeyField(Practitioner, primary_key=True)
    wanted = BooleanField()
    next_at = InstantField()
    newest = BigIntegerField(default=0)


class Mail(StoredModel):
    """An e-mail to a practitioner that waits, or what became of it; its text is made when it is sent.

    `next_at` is the earliest instant of the next try, `token` the unique part of its Message-ID.
    """

    id = BigAutoField()
    practitioner = ForeignKeyField(Practitioner, index=False)
    at = InstantField()
    token = IdField()
    tries = IntegerField(default=0)
    next_at = InstantField()
    state = TextField(default="waiting")

    class Meta:
        constraints = (one_of("state", MAIL_STATES),)
        indexes = ((("state", "next_at"), False),)


Digest.add_index(Digest.index(Digest.next_at, where=SQL("wanted"), name="digest_due"))
