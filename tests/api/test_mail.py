"""The daily e-mail: to whom it goes and how often, what it says, and a mail server that refuses, hangs or dies."""

import multiprocessing
import os
import signal
import smtplib
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from api.mail import outbox
from api.mail import server as mail
from api.mail.outbox import MOST_TRIES, compose, send_mails
from api.mail.server import MailServer, deliver, read_mail_server
from authz.database import Database, close_all, connect
from authz.errors import CaregrantError, InvalidInput
from authz.models import Grant, Mail, Patient, Practitioner
from authz.operations import end_membership, end_share, share
from authz.policy.pdp import PDP
from authz.queries import digest
from authz.queries import notifications as notices
from authz.record import Actor
from authz.settings import Settings
from tests.support import people
from tests.support.acting import POLICY, Clinic, by, login, pdp_of
from tests.support.mail_server import (
    accept_user,
    broken_server,
    certificate,
    die_after_accepting,
    die_in_the_middle,
    drip,
    hang,
    mail_server,
)
from tests.support.people import NOW

DAY = timedelta(days=1)
SENDER = "caregrant@clinic.example"


def at_port(port: int) -> MailServer:
    return MailServer("127.0.0.1", port, "none", SENDER, "https://care.example")


@pytest.fixture
def pdp(database: Database) -> PDP:
    """Return a PDP on the cast, in which Oscar wants e-mails and has an unread notification."""
    people.fill(database)
    pdp = pdp_of(database)
    digest.set_digest(pdp, by("oscar"), True)
    share(pdp, actor=by("alice"), patients=["p-1"], colleague=login("oscar"), reason="secret")
    return pdp


def queue(pdp: PDP, now: datetime = NOW) -> int:
    return digest.queue_digests(pdp, Actor("", now))


def states(pdp: PDP) -> list[tuple[str, int]]:
    """Return the state and the number of tries of each e-mail."""
    return [(row.state, row.tries) for row in Mail.select().order_by(Mail.id).execute(pdp.database)]


def test_an_e_mail_says_how_many_and_names_nobody(pdp: PDP) -> None:
    """The e-mail goes to the login, says how many notifications are unread, where to read them, and nothing else."""
    assert queue(pdp) == 1
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW) == 1
        assert send_mails(pdp, at_port(inbox.port), NOW + DAY) == 0
    (message,) = inbox.messages
    assert inbox.envelopes == [(SENDER, ["oscar@clinic.example"])]
    assert (message["From"], message["To"]) == (SENDER, "oscar@clinic.example")
    assert message["Subject"] == "Caregrant: 1 unread notification"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@clinic.example>")
    text = message.get_content().replace("\r\n", "\n")
    assert "https://care.example/notifications\n" in text
    assert not any(word in message.as_string() for word in ("Alice", "alice", "p-1", "Patient of", "secret", "North"))
    assert states(pdp) == [("sent", 1)]


def send_all(pdp: PDP, now: datetime) -> None:
    """Send each e-mail that waits; there is one."""
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), now) == 1


def test_nobody_gets_an_e_mail_who_did_not_ask(pdp: PDP) -> None:
    """E-mails are off until a practitioner switches them on, and stop when they switch them off."""
    share(pdp, actor=by("alice"), patients=["p-1"], colleague=login("pete"))
    assert queue(pdp) == 1
    assert not digest.is_digest_wanted(pdp, by("pete"))
    digest.set_digest(pdp, by("oscar"), False)
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW) == 0
    assert (inbox.messages, states(pdp)) == ([], [("dropped", 1)])
    assert queue(pdp, NOW + 2 * DAY) == 0


def test_at_most_one_e_mail_a_day(pdp: PDP) -> None:
    """The next e-mail comes after a day, and only about something new, however often it is switched off and on."""
    assert [queue(pdp), queue(pdp)] == [1, 0]
    send_all(pdp, NOW)
    digest.set_digest(pdp, by("oscar"), False)
    digest.set_digest(pdp, by("oscar"), True)
    assert queue(pdp, NOW + DAY) == 0  # nothing is new
    bob = by("bob", 2 * DAY.total_seconds())
    people.add(pdp.database, Patient, id="p-2", subscription="north", name="Second")
    people.add(pdp.database, Grant, patient="p-2", practitioner="bob", role="owner", origin="created")
    share(pdp, actor=bob, patients=["p-2"], colleague=login("oscar"))
    assert queue(pdp, bob.now) == 1
    send_all(pdp, bob.now)
    share(pdp, actor=bob, patients=["p-2"], colleague=login("pete"))
    end_share(pdp, actor=bob, patient="p-2", grant=Clinic(pdp.database).grant("oscar", "p-2"))
    assert queue(pdp, bob.now + DAY - timedelta(seconds=1)) == 0
    assert queue(pdp, bob.now + DAY) == 1


def test_while_an_e_mail_waits_no_other_is_made(pdp: PDP) -> None:
    """An e-mail that could not be sent for days is followed by another only a day after it was sent."""
    assert queue(pdp) == 1
    assert send_mails(pdp, at_port(1), NOW) == 0
    bob = by("bob", 2 * DAY.total_seconds())
    people.add(pdp.database, Patient, id="p-2", subscription="north", name="Second")
    people.add(pdp.database, Grant, patient="p-2", practitioner="bob", role="owner", origin="created")
    share(pdp, actor=bob, patients=["p-2"], colleague=login("oscar"))
    assert queue(pdp, bob.now) == 0
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), bob.now) == 1
        assert "2 unread" in inbox.messages[0]["Subject"]
    share(pdp, actor=bob, patients=["p-2"], colleague=login("pete"))
    end_share(pdp, actor=bob, patient="p-2", grant=Clinic(pdp.database).grant("oscar", "p-2"))
    assert queue(pdp, bob.now + DAY - timedelta(seconds=1)) == 0
    assert queue(pdp, bob.now + DAY) == 1


def test_a_turn_ends_before_a_claim_is_over(pdp: PDP, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn delivers nothing more once it has lasted for its time: another service may claim an e-mail then."""
    monkeypatch.setattr(outbox, "_MOST_SECONDS", -1.0)
    queue(pdp)
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW) == 0
    assert (inbox.messages, states(pdp)) == ([], [("waiting", 0)])


def test_nothing_unread_is_no_e_mail(pdp: PDP) -> None:
    """Notifications that were read before the e-mail is sent are not counted; without unread ones, none is sent."""
    assert queue(pdp) == 1
    notices.mark_all_read(pdp, by("oscar"), 10**9)
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW) == 0
    assert (inbox.messages, states(pdp)) == ([], [("dropped", 1)])


def test_a_leaver_gets_no_e_mail(pdp: PDP) -> None:
    """The policy decides what counts: who has left the clinic has nothing unread there."""
    assert queue(pdp) == 1
    end_membership(pdp, actor=by("", 60), subscription="north", practitioner="oscar")
    with mail_server() as inbox:
        later = pdp_of(pdp.database, 120)
        assert send_mails(later, at_port(inbox.port), NOW + timedelta(minutes=2)) == 0
    assert inbox.messages == []


@pytest.mark.parametrize("answer", ["550 no such user", "450 try later"])
def test_a_refused_recipient(pdp: PDP, answer: str, caplog: pytest.LogCaptureFixture) -> None:
    """A recipient whom the server refuses for good is given up; one that is refused for now is tried again later."""
    is_permanent = answer.startswith("5")
    queue(pdp)
    with mail_server() as inbox:
        inbox.refuse["RCPT"] = answer
        assert send_mails(pdp, at_port(inbox.port), NOW) == 0
        assert states(pdp) == [("failed" if is_permanent else "waiting", 1)]
        inbox.refuse.clear()
        assert send_mails(pdp, at_port(inbox.port), NOW + timedelta(minutes=4)) == 0
        assert send_mails(pdp, at_port(inbox.port), NOW + timedelta(minutes=5)) == int(not is_permanent)
    assert "oscar" not in caplog.text
    assert answer[:3] in caplog.text


@pytest.mark.parametrize("behave", [hang, drip, die_in_the_middle, None])
def test_a_server_that_fails_is_tried_again(
    pdp: PDP, monkeypatch: pytest.MonkeyPatch, behave: Callable[..., None] | None
) -> None:
    """A server that hangs, drips, dies in the middle or is not there costs a bounded time; the e-mail waits."""
    monkeypatch.setattr(mail, "_STEP_SECONDS", 0.3)
    monkeypatch.setattr(mail, "_MOST_SECONDS", 1.0)
    queue(pdp)
    began = time.monotonic()
    if behave is None:
        assert send_mails(pdp, at_port(1), NOW) == 0
    else:
        with broken_server(behave) as port:
            assert send_mails(pdp, at_port(port), NOW) == 0
    assert time.monotonic() - began < 5
    assert states(pdp) == [("waiting", 1)]
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW + timedelta(minutes=5)) == 1


def test_an_accepted_e_mail_is_sent(pdp: PDP) -> None:
    """If the server dies after it has accepted the e-mail, the e-mail is not sent again."""
    queue(pdp)
    with broken_server(die_after_accepting) as port:
        assert send_mails(pdp, at_port(port), NOW) == 1
    assert states(pdp) == [("sent", 1)]


def test_tries_are_bounded(pdp: PDP, monkeypatch: pytest.MonkeyPatch) -> None:
    """An e-mail is tried eight times, with growing pauses of at most six hours, and then given up."""

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(outbox, "deliver", refuse)
    queue(pdp)
    now, pauses = NOW, []
    for _ in range(MOST_TRIES):
        send_mails(pdp, at_port(1), now)
        (row,) = Mail.select().execute(pdp.database)
        pauses.append(row.next_at - now)
        now = row.next_at
    assert states(pdp) == [("failed", 8)]
    minutes = [pause // timedelta(minutes=1) for pause in pauses]
    assert minutes == [5, 15, 45, 135, 360, 360, 360, 360]
    assert send_mails(pdp, at_port(1), now + DAY) == 0


def test_services_at_once_send_once(pdp: PDP, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several services queue one e-mail for a practitioner, and send it once."""
    delivered: list[str] = []
    monkeypatch.setattr(outbox, "deliver", lambda _, message: delivered.append(message["To"]))

    def turn(_: int) -> int:
        own = PDP(connect(database_url), pdp.policy)
        try:
            return queue(own) + send_mails(own, at_port(1), NOW)
        except CaregrantError:
            return 0
        finally:
            close_all(own.database)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(turn, range(8)))
    send_mails(pdp, at_port(1), NOW + timedelta(hours=1))
    assert delivered == ["oscar@clinic.example"]
    assert len(states(pdp)) == 1


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _send_and_die(url: str) -> None:
    """Try to send what is due in a process that is killed when it would deliver."""
    with patch.object(outbox, "deliver", _die):
        send_mails(PDP(connect(url), POLICY), at_port(1), NOW)


def test_a_killed_mailer_loses_nothing(pdp: PDP, database_url: str) -> None:
    """An e-mail whose process is killed in the middle of a try is sent at the next, with its Message-ID."""
    queue(pdp)
    process = multiprocessing.get_context("spawn").Process(target=_send_and_die, args=(database_url,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert states(pdp) == [("waiting", 1)]
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW + timedelta(minutes=5)) == 1
    (row,) = Mail.select().execute(pdp.database)
    assert inbox.messages[0]["Message-ID"] == f"<{row.token}@clinic.example>"


def test_old_e_mails_are_forgotten(pdp: PDP, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox keeps what became of an e-mail for 30 days."""
    monkeypatch.setattr(outbox, "deliver", lambda *_: None)
    queue(pdp)
    send_mails(pdp, at_port(1), NOW)
    send_mails(pdp, at_port(1), NOW + timedelta(days=29))
    assert states(pdp) == [("sent", 1)]
    send_mails(pdp, at_port(1), NOW + timedelta(days=31))
    assert states(pdp) == []


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_encryption_and_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """The connection is encrypted before user and password are sent, and the server's certificate must be trusted."""
    context, trusted = certificate(tmp_path)
    user = {"authenticator": accept_user("care@clinic", "p:w/d"), "auth_required": True}  # aiosmtpd needs STARTTLS
    starttls = {"tls_context": context, "require_starttls": True, **user}
    options: dict[str, Any] = starttls if scheme == "smtp" else {"ssl_context": context}
    with mail_server(**options) as inbox:
        credentials = "care%40clinic:p%3Aw%2Fd@" if scheme == "smtp" else ""
        url = f"{scheme}://{credentials}localhost:{inbox.port}"
        server = read_mail_server(Settings(smtp_url=url, mail_from=SENDER, public_url="https://care.example"))
        assert server
        assert "p:w/d" not in repr(server)
        message = compose(server, "oscar@clinic.example", 2, message_id="m", now=NOW)
        with pytest.raises(ssl.SSLCertVerificationError):
            deliver(server, message)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        if scheme == "smtp":
            with pytest.raises(smtplib.SMTPAuthenticationError):
                deliver(replace(server, user="wrong"), message)
        deliver(server, message)
    assert [each["Subject"] for each in inbox.messages] == ["Caregrant: 2 unread notifications"]


def test_a_certificate_that_is_not_trusted_is_tried_again(pdp: PDP, tmp_path: Path) -> None:
    """An e-mail waits until the operator has set right what the server's certificate needs."""
    queue(pdp)
    context, _ = certificate(tmp_path)
    with mail_server(ssl_context=context) as inbox:
        server = replace(at_port(inbox.port), encryption="smtps")
        assert send_mails(pdp, server, NOW) == 0
    assert states(pdp) == [("waiting", 1)]


def test_a_server_without_encryption_gets_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not offer STARTTLS is told neither the user nor the message."""
    with mail_server() as inbox:
        server = MailServer("127.0.0.1", inbox.port, "starttls", SENDER, "https://care.example", "u", "p")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            deliver(server, compose(server, "oscar@clinic.example", 2, message_id="m", now=NOW))
    assert inbox.messages == []


@pytest.mark.parametrize(
    "text", ["a@b.example\r\nBcc: x@evil.example", "a\nb@c.example", "<a@b.example>, x@evil.example"]
)
def test_no_header_can_be_added(pdp: PDP, text: str) -> None:
    """A login that would add a header or a recipient is refused when the e-mail is composed, and given up."""
    with pytest.raises(ValueError, match=r".+"):
        compose(at_port(1), text, 1, message_id="m", now=NOW)
    Practitioner.update(login=text).where(Practitioner.id == "oscar").execute(pdp.database)
    queue(pdp)
    with mail_server() as inbox:
        assert send_mails(pdp, at_port(inbox.port), NOW) == 0
    assert (inbox.messages, states(pdp)) == ([], [("failed", 1)])


def test_an_address_beyond_ascii(pdp: PDP) -> None:
    """A domain in another script is written as DNS knows it."""
    with mail_server() as inbox:
        deliver(at_port(inbox.port), compose(at_port(1), "oscar@müller.example", 1, message_id="m", now=NOW))
    assert inbox.envelopes[0][1] == ["oscar@xn--mller-kva.example"]


GOOD: dict[str, Any] = {"smtp_url": "smtps://mail.example", "mail_from": SENDER, "public_url": "https://care.example/"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("mail.example", 465, "smtps")),
        ({"smtp_url": "smtp://mail.example"}, ("mail.example", 587, "starttls")),
        ({"smtp_url": "smtp://127.0.0.1:25?starttls=no"}, ("127.0.0.1", 25, "none")),
    ],
)
def test_settings(changed: dict[str, Any], expected: tuple[str, int, str]) -> None:
    """The URL names the server, its port and how the connection is encrypted."""
    server = read_mail_server(Settings(**{**GOOD, **changed}))
    assert server
    assert (server.host, server.port, server.encryption) == expected
    assert (server.url, read_mail_server(Settings())) == ("https://care.example", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"mail_from": ""},
        {"public_url": ""},
        {"mail_from": "care"},
        {"mail_from": "a@b.example\r\nBcc: c@d.example"},
        {"smtp_url": "http://mail.example"},
        {"smtp_url": "smtp://:hidden@mail.example"},
        {"smtp_url": "smtp://user@mail.example"},
        {"smtp_url": "smtp://u:hidden@mail.example:port"},
        {"smtp_url": "smtp://u:hidden%C3%BC@mail.example"},
        {"smtp_url": "smtp://mail.example?starttls=no"},
        {"smtp_url": "smtps://mail.example?starttls=no"},
        {"smtp_url": "smtps:///"},
        {"smtp_url": "smtps://mail..example"},
        {"smtp_url": "/no/such/file"},
    ],
)
def test_settings_that_could_send_nothing(changed: dict[str, Any]) -> None:
    """Settings with which no e-mail could be sent, or an open one to another machine, are refused at the start."""
    with pytest.raises(InvalidInput) as refused:
        read_mail_server(Settings(**{**GOOD, **changed}))
    assert "hidden" not in str(refused.value)
