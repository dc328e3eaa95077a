"""Mail servers on a free port of 127.0.0.1: a real one (aiosmtpd), and ones that misbehave."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.server import free_port


class Inbox:
    """The messages that a mail server has accepted, with their sender and recipients; `refuse` are answers instead."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.refuse: dict[str, str] = {}
        self.port = 0

    async def handle_RCPT(self, _: Any, __: Any, envelope: Envelope, address: str, ___: Any) -> str:  # noqa: N802
        if "RCPT" in self.refuse:
            return self.refuse["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.envelopes.append((str(envelope.mail_from), list(envelope.rcpt_tos)))
        self.messages.append(message)
        return "250 OK"


@contextmanager
def mail_server(**options: Any) -> Iterator[Inbox]:
    """Run aiosmtpd with these options; yield its inbox."""
    inbox = Inbox()
    inbox.port = free_port()
    controller = Controller(inbox, "127.0.0.1", inbox.port, **options)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()


def accept_user(user: str, password: str) -> Callable[..., AuthResult]:
    """Return an authenticator of aiosmtpd that accepts this user alone."""

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        is_right = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=is_right, handled=False)

    return check


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for localhost; return the server's context and the file that clients must trust."""
    key, moment = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(moment - timedelta(days=1)).not_valid_after(moment + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        key, hashes.SHA256()
    )
    trusted, secret = folder / "mail.pem", folder / "mail.key"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, secret)
    return context, trusted


@contextmanager
def broken_server(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Run a server that does this with each connection, until the event at the end; yield its port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        behave(connection, over)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def hang(connection: socket.socket, over: threading.Event) -> None:
    """Say nothing."""
    over.wait(30)


def drip(connection: socket.socket, over: threading.Event) -> None:
    """Send a byte of an endless greeting now and then."""
    while not over.wait(0.05):
        connection.sendall(b"2")


def die_in_the_middle(connection: socket.socket, over: threading.Event) -> None:
    """Answer until the message comes, and close the connection after a part of it."""
    lines = connection.makefile("rb")
    connection.sendall(b"220 mail\r\n")
    for line in lines:
        connection.sendall(b"354 go on\r\n" if line.upper().startswith(b"DATA") else b"250 OK\r\n")
        if line.upper().startswith(b"DATA"):
            lines.readline()
            break


def die_after_accepting(connection: socket.socket, over: threading.Event) -> None:
    """Accept the message, and close the connection at once."""
    lines = connection.makefile("rb")
    connection.sendall(b"220 mail\r\n")
    is_data = False
    for line in lines:
        if is_data:
            if line == b".\r\n":
                connection.sendall(b"250 OK\r\n")
                break
            continue
        is_data = line.upper().startswith(b"DATA")
        connection.sendall(b"354 go on\r\n" if is_data else b"250 OK\r\n")
