"""HTTP requests to the identity provider, with limits for the total time and the size of a response, and no redirects.

A socket timeout counts from one byte to the next, so that a peer that sends a byte now and then could delay a caller
for hours. Here a timer closes the connection when the time is over, whatever the peer does.
"""

import io
import socket
import threading
from contextlib import suppress
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

LARGEST_ANSWER = 1 << 20
"""The largest response body that is read, in bytes."""


class BoundedAdapter(HTTPAdapter):
    """Sends one request at a time, each within `seconds`.

    Raises `requests.RequestException` for a response that takes longer, is larger than `LARGEST_ANSWER` or redirects.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Use connections that report their socket."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self)

    def proxy_manager_for(self, proxy: str, **options: Any) -> object:
        """Use connections that report their socket also through a proxy of the environment."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _pools(self)
        return manager

    def track_socket(self, opened: socket.socket) -> None:
        """Remember a socket, which is closed when the time is over."""
        self._sockets.append(opened)
        if self._over.is_set():
            self._close()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send a request and read its response."""
        timer = threading.Timer(self.seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            response = super().send(request, *args, **{**options, "stream": True, "timeout": self.seconds})
            if response.is_redirect:
                raise requests.TooManyRedirects("the answer is a redirect, which is not followed")
            response.raw = io.BytesIO(self._read_body(response))
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from error
        finally:
            timer.cancel()
            self.close()
        if self._over.is_set():
            raise requests.Timeout(f"the answer took longer than {self.seconds} s")
        return response

    def _read_body(self, response: requests.Response) -> bytes:
        content = bytearray()
        for chunk in response.raw.stream(1 << 16, decode_content=True):
            content += chunk
            if len(content) > LARGEST_ANSWER:
                raise requests.RequestException(f"the answer is larger than {LARGEST_ANSWER} bytes")
        return bytes(content)

    def _end(self) -> None:
        self._over.set()
        self._close()

    def _close(self) -> None:
        for opened in list(self._sockets):
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _pools(adapter: BoundedAdapter) -> dict[str, type]:
    """Return urllib3's pool classes by scheme, with connections that report their socket to an adapter."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            adapter.track_socket(self.sock)

    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            adapter.track_socket(self.sock)

    return {
        "http": type("PlainPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": Plain}),
        "https": type("TlsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": Tls}),
    }


def limit_time(session: requests.Session, seconds: float) -> None:
    """Limit each request of a session to `seconds`."""
    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter(seconds))


def get(url: str, seconds: float) -> bytes:
    """Return the body of a successful response. Raises `requests.RequestException`."""
    with requests.Session() as session:
        limit_time(session, seconds)
        response = session.get(url, headers={"Accept": "application/json"})
        response.raise_for_status()
        return response.content
