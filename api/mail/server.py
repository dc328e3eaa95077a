"""The mail server: its settings, and the delivery of one message, with a limit for each step and for all of them."""

import signal
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import SplitResult, unquote, urlsplit

from email_validator import EmailNotValidError, validate_email

from api.authzen.metadata import LOOPBACK
from authz.errors import InvalidInput
from authz.private_files import read_secret
from authz.settings import Settings

_STEP_SECONDS = 10.0
_MOST_SECONDS = 60.0
_PORTS = {"smtp": 587, "smtps": 465}
_VARIABLE = "CAREGRANT_SMTP_URL"


@dataclass(frozen=True)
class MailServer:
    """The mail server, the address that e-mails come from, and the URL of the service, which e-mails link to.

    `encryption` is ``smtps``, ``starttls``, or ``none`` for a server on a loopback address.
    """

    host: str
    port: int
    encryption: str
    sender: str
    url: str
    user: str = ""
    password: str = field(default="", repr=False)


def read_mail_server(settings: Settings) -> MailServer | None:
    """Return the mail server of the settings, None if there is none.

    Raises `InvalidInput` for a URL, an address or a combination of settings with which no e-mail could be sent. The
    message does not contain the URL, because the URL may contain a password.
    """
    if not settings.smtp_url:
        return None
    if not settings.mail_from or not settings.public_url:
        raise InvalidInput(f"{_VARIABLE} needs CAREGRANT_MAIL_FROM and CAREGRANT_PUBLIC_URL")
    try:
        sender = validate_email(settings.mail_from, check_deliverability=False, globally_deliverable=False).ascii_email
    except EmailNotValidError as error:
        raise InvalidInput(f"CAREGRANT_MAIL_FROM is no e-mail address: {error}") from error
    if sender is None:
        raise InvalidInput("CAREGRANT_MAIL_FROM must be ASCII before the @")
    try:
        url = urlsplit(read_secret(settings.smtp_url, _VARIABLE))
        host, port = url.hostname, url.port
        (host or "").encode("idna")
    except ValueError as error:
        raise InvalidInput(f"{_VARIABLE} is not a URL") from error
    if url.scheme not in _PORTS or not host or url.path not in ("", "/") or url.fragment:
        raise InvalidInput(f"{_VARIABLE} is not of the form smtps://user:password@host:port or smtp://…")
    user, password = unquote(url.username or ""), unquote(url.password or "")
    if bool(user) != bool(password):
        raise InvalidInput(f"{_VARIABLE} needs a user and a password, or neither")
    if not (user + password).isascii():
        raise InvalidInput(f"{_VARIABLE}: the user and the password must be ASCII")
    port = port or _PORTS[url.scheme]
    return MailServer(host, port, _encryption(url), sender, settings.public_url.rstrip("/"), user, password)


def _encryption(url: SplitResult) -> str:
    """Return how the connection is encrypted. Raises `InvalidInput` for an open connection to another machine."""
    if url.scheme == "smtps" and not url.query:
        return "smtps"
    if url.scheme == "smtp" and url.query == "starttls=no":
        if url.hostname not in LOOPBACK:
            raise InvalidInput(f"{_VARIABLE}: starttls=no is for a loopback address")
        return "none"
    if url.query:
        raise InvalidInput(f"{_VARIABLE}: after the question mark only starttls=no is known, with smtp://")
    return "starttls"


def deliver(server: MailServer, message: EmailMessage) -> None:
    """Deliver a message to its one recipient; return if the server has accepted it.

    Raises `smtplib.SMTPException` or `OSError` if it has not, after at most a minute. It must run in the main thread,
    because the limit of all steps is an alarm: the limit of a step counts from one byte to the next.
    """
    with _deadline(_MOST_SECONDS):
        smtp = _connect(server)
        try:
            if server.encryption == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            if server.user:
                smtp.login(server.user, server.password)
            smtp.send_message(message, from_addr=server.sender)
        except BaseException:
            smtp.close()
            raise
    with suppress(OSError, smtplib.SMTPException), _deadline(_STEP_SECONDS):
        smtp.quit()
    smtp.close()


def _connect(server: MailServer) -> smtplib.SMTP:
    name = urlsplit(server.url).hostname or "localhost"  # the default would look the name up without a limit
    own_name = name if name.isascii() and name.replace(".", "").isalnum() and not name[-1].isdigit() else "localhost"
    if server.encryption == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(server.host, server.port, own_name, timeout=_STEP_SECONDS, context=context)
    return smtplib.SMTP(server.host, server.port, own_name, timeout=_STEP_SECONDS)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block when the time is over."""

    def stop(*_: object) -> None:
        raise TimeoutError("the mail server takes too long")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again: a library may take the first for a failed address
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
