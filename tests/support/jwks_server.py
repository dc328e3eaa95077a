"""A server of an identity provider's keys, on a port of its own, with the faults that tests need."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal

from joserfc import jwt
from joserfc.jwk import Key, RSAKey
from joserfc.jws import JWSRegistry

Manner = Literal["well", "failing", "silent", "slow", "slow headers", "endless", "redirecting", "no JSON"]


class KeyServer:
    """Serves `keys` (keys, or JWKs as they are) in a manner; counts the requests."""

    def __init__(self) -> None:
        self.keys: list[Any] = [first_key()]
        self.fetched = 0
        self.manner: Manner = "well"
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"keys": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def sign(self, claims: dict[str, Any], key: Key | None = None, **header: Any) -> str:
        """Return a token with these claims; None removes a member of the header."""
        signing = key or self.keys[0]
        fields = {"alg": "RS256", "kid": signing.kid, **header}
        members = {name: value for name, value in fields.items() if value is not None}
        registry = JWSRegistry(algorithms=[members["alg"]], strict_check_header=False)
        return jwt.encode(members, claims, signing, registry=registry)

    def published(self) -> list[dict[str, Any]]:
        return [key if isinstance(key, dict) else key.as_dict(private=False) for key in self.keys]

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@cache
def first_key() -> RSAKey:
    """Return the first key of every server, made once."""
    return new_key()


def new_key() -> RSAKey:
    return RSAKey.generate_key(2048, auto_kid=True)


class _Handler(BaseHTTPRequestHandler):
    keys: ClassVar[KeyServer]

    def do_GET(self) -> None:
        server = self.keys
        server.fetched += 1
        body = json.dumps({"keys": server.published()}).encode()
        if server.manner == "silent":
            server.over.wait()
            return
        if server.manner == "slow headers":
            self._drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000)
            return
        self.send_response({"failing": 500, "redirecting": 302}.get(server.manner, 200))
        if server.manner == "redirecting":
            self.send_header("Location", server.url)
        self.end_headers()
        if server.manner == "slow":
            self._drip(body)
        elif server.manner == "endless":
            self._send_for_ever()
        else:
            self.wfile.write(b"<html>" if server.manner == "no JSON" else body)

    def _drip(self, content: bytes) -> None:
        """Send a byte now and then, until nobody reads."""
        for byte in content:
            if self.keys.over.wait(0.05):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return

    def _send_for_ever(self) -> None:
        while not self.keys.over.is_set():
            try:
                self.wfile.write(b" " * 65_536)
            except OSError:
                return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[KeyServer]:
    """Run the server until the end of the block."""
    server = KeyServer()
    try:
        yield server
    finally:
        server.close()
