"""Ids over real HTTP: what an id holds survives the server's own decoding of paths."""

from urllib.parse import quote

from authz.callers.clients import add_client
from authz.database import close_all, connect
from tests.support import people
from tests.support.acting import login
from tests.support.people import NOW
from tests.support.server import free_port, send, serving

NAMES = [
    "%2F",
    "%",
    "a?b#c",
    "..a",
    "...",
    "a%2e%2e",
    "a\\b",
    "a;b=c&d",
    "a+b",
    "é漢א🌿",
    "'\"<>",
    "a:b@c",
    "~!$()*,[]{}|^`",
]


def test_every_id_is_addressed(sqlite_url: str) -> None:
    """The real server creates, shows, shares and puts each id under its percent-encoded path."""
    database = connect(sqlite_url)
    people.fill(database)
    key = add_client(database, name="app", scopes=["act", "admin"], subscription=None, now=NOW)
    close_all(database)
    admin = {"Authorization": f"Bearer {key}"}
    alice = {**admin, "X-On-Behalf-Of": login("alice")}
    port = free_port()
    with serving("serve", "--workers", "1", "--database", sqlite_url, port=port):
        for name in NAMES:
            path = quote(name, safe="")
            body = {"id": name, "name": "Pat"}
            assert send(port, "POST", "/v1/patients", body, alice)[0] == 201, name
            status, answer = send(port, "GET", f"/v1/patients/{path}", None, alice)
            assert (status, answer["id"]) == (200, name)
            shared = {"colleague": login("oscar")}
            assert send(port, "POST", f"/v1/patients/{path}/shares", shared, alice)[0] == 201, name
            entity = {"properties": {"patient": name}}
            status, answer = send(port, "PUT", f"/v1/entities/document/{path}", entity, admin)
            assert (status, answer["id"]) == (200, name)
