"""The pages with a real identity provider: sign in, sign in unverified, sign out at the provider too.

`scripts/try-keycloak` runs `python -m tests.support.real_provider ISSUER CLIENT SECRET`.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from werkzeug.test import TestResponse

from authz.database import close_all, connect, migrate
from tests.support import people
from tests.support.forms import FormBrowser
from tests.support.http import service
from tests.support.visitor import Visitor, text_of

HOME = "http://127.0.0.1:8000"
KEY = "a session key of thirty-two characters"
SAFE = 400


def sign_in(visitor: Visitor, fields: Mapping[str, str]) -> tuple[TestResponse, FormBrowser]:
    """Sign in through the provider's pages; return the response to the URL that they lead back to."""
    browser = FormBrowser(HOME, fields)
    back = browser.travel(visitor.client.get("/sign-in").headers["Location"])
    return visitor.client.get(back), browser


def sign_out(visitor: Visitor, browser: FormBrowser) -> TestResponse:
    """Sign out here and at the provider, through its pages."""
    return visitor.client.get(browser.travel(visitor.post("/sign-out").headers["Location"]))


def try_sign_ins(flask: Flask, passwords: Mapping[str, str]) -> list[str]:
    """Sign in and out as each person; return what happened, in lines. Only alice must be able to work."""
    lines = []
    for who, password in passwords.items():
        visitor = Visitor(flask)
        answer, browser = sign_in(visitor, {"username": who, "password": password})
        if answer.status_code >= SAFE:
            lines.append(f"{who}: {answer.status_code}, {text_of(answer)[:120]}")
            assert who != "alice", lines
            continue
        assert (who, answer.headers["Location"]) == ("alice", "/patients")
        assert "Patient of alice" in visitor.get("/patients")
        lines.append(f"{who}: signed in through {browser.pages}")
        before = len(browser.pages)
        sign_out(visitor, browser)
        assert "You are signed out." in visitor.get("/")
        lines.append(f"{who}: signed out at the provider too, through {browser.pages[before:] or 'no page'}")
        visitor.get("/patients", 303)
        pages_before = len(browser.pages)
        browser.travel(visitor.client.get("/sign-in").headers["Location"])
        assert len(browser.pages) > pages_before, "the provider let the next person in without a question"
        lines.append("the next person at this browser is asked for a password")
    return lines


def main(issuer: str, client: str, secret: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = connect(f"sqlite:///{Path(folder) / 'clinic.db'}")
        migrate(database)
        people.fill(database)
        flask = service(
            database, issuer=issuer, oidc_client=client, oidc_secret=secret, public_url=HOME, session_key=KEY
        )
        lines = try_sign_ins(flask, {"alice": "password-of-alice", "bob": "password-of-bob"})
        close_all(database)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
