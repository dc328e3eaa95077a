"""A real identity provider, in a process of its own: signing in and out through its own pages."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from authz.database import Database
from tests.support import people
from tests.support.acting import login
from tests.support.http import service
from tests.support.real_provider import HOME, KEY, sign_in, sign_out
from tests.support.visitor import Visitor


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Run the provider, with alice, whose e-mail is verified, and bob, whose e-mail is not."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    known = [
        {"sub": "alice", "email": login("alice"), "email_verified": True},
        {"sub": "bob", "email": login("bob"), "email_verified": False},
    ]
    users = [word for claims in known for word in ("--user-claims", json.dumps(claims))]
    command: list[str | Path] = [Path(sys.executable).with_name("oidc-provider-mock"), "--port", str(port), *users]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{url}/.well-known/openid-configuration")
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "the provider ended"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError("the provider does not answer")


def test_a_real_provider(sqlite_database: Database, issuer: str) -> None:
    """With a real provider alice signs in, works and signs out; bob, whose e-mail is not verified, cannot."""
    people.fill(sqlite_database)
    flask = service(
        sqlite_database, issuer=issuer, oidc_client="pages", oidc_secret=KEY, public_url=HOME, session_key=KEY
    )
    visitor = Visitor(flask)
    answer, browser = sign_in(visitor, {"sub": "alice"})
    assert answer.headers["Location"] == "/patients", answer.text
    assert "Patient of alice" in visitor.get("/patients")
    sign_out(visitor, browser)
    assert "You are signed out." in visitor.get("/")
    visitor.get("/patients", 303)
    answer, _ = sign_in(Visitor(flask), {"sub": "bob"})
    assert answer.status_code == 403
