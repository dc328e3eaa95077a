"""A visitor of the pages without a browser: forms are sent with the token that the pages gave."""

import re
import time
from html import unescape
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def text_of(response: TestResponse) -> str:
    """Return the text of a page, without its tags."""
    body = re.sub(r"<(script|style|svg|datalist).*?</\1>", " ", response.text, flags=re.S)
    body = re.sub(r"</?(a|b|bdi|code|small|time)\b[^>]*>", "", re.sub(r"\s+", " ", body))
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def hidden_fields(text: str) -> dict[str, list[str]]:
    """Return the hidden fields of a page's main form, as a browser sends them; none if the page has no such form."""
    fields: dict[str, list[str]] = {}
    for form in re.findall(r'<form[^>]*class="guarded.*?</form>', text, re.S)[:1]:
        for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form):
            fields.setdefault(name, []).append(unescape(value))
    return fields


class Visitor:
    """A browser with the session of somebody, signed in just now."""

    def __init__(self, flask: Flask, who: str = "") -> None:
        self.client: FlaskClient = flask.test_client()
        if who:
            moment = int(time.time())
            with self.client.session_transaction() as session:
                session.update(by=who, since=moment, seen=moment)

    def get(self, path: str, status: int = 200) -> str:
        """Return the text of a page."""
        response = self.client.get(path, headers={"Accept": "text/html"})
        assert response.status_code == status, response.text
        return text_of(response)

    def token(self) -> str:
        """Return the token of this session's forms."""
        match = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get("/notifications").text)
        match = match or re.search(r'name="csrf_token" value="([^"]+)"', self.client.get("/sharing").text)
        match = match or re.search(r'name="csrf_token" value="([^"]+)"', self.client.get("/").text)
        return match.group(1) if match else ""

    def lock(self, minutes: int) -> None:
        """Set the session's last request back by some minutes."""
        with self.client.session_transaction() as session:
            session["seen"] -= minutes * 60

    def post(self, path: str, **form: Any) -> TestResponse:
        """Open the form at a path, and send it with its hidden fields and these choices."""
        shown = hidden_fields(self.client.get(path, query_string={"patient": form.get("patient", [])}).text)
        data = {"csrf_token": self.token(), **shown, **form}
        return self.client.post(path, data=data, headers={"Accept": "text/html"})

    def done(self, path: str, **form: Any) -> str:
        """Send a form that must be carried out; return the text of the next page."""
        response = self.post(path, **form)
        assert response.status_code == 303, response.text
        return self.get(response.headers["Location"])
