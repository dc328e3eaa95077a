"""A closed-loop HTTP client: one thread, many kept connections, each with one request under way."""

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """The result of one turn of load: the number of answers, the seconds, and the latency of each answer in seconds."""

    answers: int
    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """The answers a second."""
        return self.answers / self.seconds

    def percentile(self, percent: float) -> float:
        """Return the latency that this percentage of the answers did not exceed, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def request_bytes(path: str, body: bytes, key: str) -> bytes:
    """Return a POST request with a JSON body and an app's key."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def put_under_load(
    port: int, requests: Sequence[bytes], *, connections: int, seconds: float, rate: float | None = None
) -> Measured:
    """Send the requests in turn, over `connections` connections, for some seconds.

    Each connection has one request under way at a time. `rate`: send no more than so many requests a second; a request
    that had to wait for a free connection counts from the time at which it was due. Raises `RuntimeError` for an answer
    whose status is neither 200 nor 201.
    """
    selector = selectors.DefaultSelector()
    free: list[socket.socket] = []
    due_at: dict[socket.socket, float] = {}
    latencies: list[float] = []
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        free.append(connection)
    began = now = time.perf_counter()
    until, sent = began + seconds, 0
    while due_at or now < until:
        while free and now < until:
            due = now if rate is None else began + sent / rate
            if due > now:
                break
            connection = free.pop()
            due_at[connection] = due
            connection.sendall(requests[sent % len(requests)])
            sent += 1
        wait = 30 if rate is None or not free or now >= until else max(0, began + sent / rate - now)
        for key, _ in selector.select(wait):
            answered = key.fileobj
            assert isinstance(answered, socket.socket)
            _read_answer(answered)
            latencies.append(time.perf_counter() - due_at.pop(answered))
            free.append(answered)
        now = time.perf_counter()
    for connection in free:
        connection.close()
    selector.close()
    return Measured(len(latencies), now - began, latencies)


def ask_once(port: int, request: bytes) -> bytes:
    """Send one request; return the body of its answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        return _read_answer(connection)


def _read_answer(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 20)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
        raise RuntimeError(data.decode(errors="replace"))
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    length = int(lower[at:].partition(b"\r\n")[0])
    while len(body) < length:
        piece = connection.recv(1 << 20)
        if not piece:
            raise RuntimeError("the service closed the connection")
        body += piece
    return body
