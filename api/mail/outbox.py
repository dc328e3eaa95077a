"""The outbox: each e-mail is claimed for a try, composed from what is true then, delivered, and settled.

A claim moves the next try into the future before the server is asked, so that two services never send one e-mail at
once, and a process that dies leaves the e-mail to a later try. Between the server's acceptance and the commit of "sent"
a death causes a second delivery; both have one Message-ID.
"""

import logging
import smtplib
import time
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, NamedTuple

from email_validator import validate_email

from api.mail.server import MailServer, deliver
from authz.database import Database, database_connection
from authz.database.statements import run
from authz.domain import to_micros
from authz.policy.pdp import PDP
from authz.queries.digest import is_digest_wanted, record_sent
from authz.queries.notifications import unread
from authz.record import Actor

MOST_TRIES = 8
"""The most tries to deliver an e-mail."""

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=6)
_AT_ONCE = 200
_MOST_SECONDS = 120.0  # with the longest delivery still less than `_FIRST_PAUSE`, for which a claim holds
_KEPT_FOR = timedelta(days=30)
_PERMANENT = 500
_NEXT = """SELECT id, practitioner_id, token, tries FROM mail WHERE state = 'waiting' AND next_at <= {}
    ORDER BY next_at, id LIMIT 1"""
_CLAIM = "UPDATE mail SET tries = tries + 1, next_at = {} WHERE id = {} AND tries = {} AND state = 'waiting'"
_SETTLE = "UPDATE mail SET state = {} WHERE id = {} AND state = 'waiting'"
_LOGIN = "SELECT login FROM practitioner WHERE id = {}"
_FORGET = "DELETE FROM mail WHERE state <> 'waiting' AND at < {}"
_log = logging.getLogger("caregrant")


class ClaimedMail(NamedTuple):
    """An e-mail that this process tries to deliver, for the `tries`-th time."""

    id: int
    practitioner: str
    token: str
    tries: int


def send_mails(pdp: PDP, server: MailServer, now: datetime) -> int:
    """Try each e-mail that is due, at most 200; return how many were sent. Raises `Unavailable`.

    The turn ends if the server cannot be reached or fails, and before a claim could be over while an e-mail is being
    delivered; if the server refuses one recipient, the next e-mail follows.
    """
    sent, began = 0, time.monotonic()
    with database_connection(pdp.database):
        run(pdp.database, _FORGET, to_micros(now - _KEPT_FOR))
    for _ in range(_AT_ONCE):
        if time.monotonic() - began > _MOST_SECONDS:
            break
        mail = _claim(pdp.database, now)
        if mail is None:
            break
        try:
            message = _compose_now(pdp, server, mail, now)
        except ValueError as error:  # the login is no address to which mail can be sent
            _record_failure(pdp.database, mail, error, is_last=True)
            continue
        if message is None:
            _settle(pdp.database, mail, "dropped")
            continue
        try:
            deliver(server, message)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, _),) = error.recipients.values()
            _record_failure(pdp.database, mail, error, is_last=code >= _PERMANENT)
        except (OSError, smtplib.SMTPException) as error:
            refused = isinstance(error, smtplib.SMTPNotSupportedError) or (  # a login beyond ASCII
                isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= _PERMANENT
            )
            _record_failure(pdp.database, mail, error, is_last=refused)
            if not refused:
                break
        else:
            _settle(pdp.database, mail, "sent")
            with database_connection(pdp.database):
                record_sent(pdp.database, mail.practitioner, now)
            sent += 1
    return sent


def _claim(database: Database, now: datetime) -> ClaimedMail | None:
    """Claim the e-mail that has been due the longest, None if no e-mail is due."""
    with database_connection(database):
        while row := run(database, _NEXT, to_micros(now)).fetchone():
            number, practitioner, token, tries = row
            if tries >= MOST_TRIES:  # the process died in the last try
                run(database, _SETTLE, "failed", number)
                continue
            pause = min(_FIRST_PAUSE * 3**tries, _LONGEST_PAUSE)
            if run(database, _CLAIM, to_micros(now + pause), number, tries).rowcount:
                return ClaimedMail(number, practitioner, token, tries + 1)
    return None


def _compose_now(pdp: PDP, server: MailServer, mail: ClaimedMail, now: datetime) -> EmailMessage | None:
    """Return the e-mail as it is true now; None if nothing is unread any more, or the e-mail is not wanted any more.

    Raises `ValueError` if the login is no address of an e-mail.
    """
    actor = Actor(mail.practitioner, now)
    count = unread(pdp, actor) if is_digest_wanted(pdp, actor) else 0
    if not count:
        return None
    with database_connection(pdp.database):
        (login,) = run(pdp.database, _LOGIN, mail.practitioner).fetchone()
    return compose(server, login, count, message_id=mail.token, now=now)


def compose(server: MailServer, login: str, count: int, *, message_id: str, now: datetime) -> EmailMessage:
    """Return the e-mail to a practitioner about their unread notifications; it names nobody.

    `message_id` is the unique part of its Message-ID. The policy of the message refuses a line break in a header.
    """
    noun = "notification" if count == 1 else "notifications"
    address = validate_email(login, check_deliverability=False, globally_deliverable=False)
    message = EmailMessage(policy=SMTP)
    message["From"] = server.sender
    message["To"] = Address(username=address.local_part, domain=address.ascii_domain)
    message["Subject"] = f"Caregrant: {count} unread {noun}"
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{server.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"You have {count} unread {noun} in Caregrant.\n\n"
        f"Sign in to read {'it' if count == 1 else 'them'}:\n{server.url}/notifications\n\n"
        "You get at most one such e-mail a day. You can stop these e-mails on the same page.\n"
    )
    return message


def _settle(database: Database, mail: ClaimedMail, state: str) -> None:
    with database_connection(database):
        run(database, _SETTLE, state, mail.id)


def _record_failure(database: Database, mail: ClaimedMail, error: Exception, *, is_last: bool) -> None:
    """Log a failed try, without the address; give the e-mail up after the last."""
    is_last = is_last or mail.tries >= MOST_TRIES
    following = "it is given up" if is_last else "it is tried again"
    _log.warning("e-mail %s was not sent in try %s, %s: %s", mail.id, mail.tries, following, _describe(error))
    if is_last:
        _settle(database, mail, "failed")


def _describe(error: Exception) -> str:
    """Return the code of the server's answer, or the kind of fault: an answer may repeat the address."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"the recipient is refused ({', '.join(str(code) for code, _ in error.recipients.values())})"
    code: Any = getattr(error, "smtp_code", None)
    return type(error).__name__ if code is None else f"{type(error).__name__} ({code})"
