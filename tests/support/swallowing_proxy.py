"""A network that swallows what is sent or what is answered: a TCP proxy before a server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SwallowingProxy:
    """Passes bytes on in both directions, but for what it is to swallow.

    `next` holds beginnings of requests or answers. The first one that comes by is swallowed, with all that follows on
    its connection in that direction; then the second one, and so on.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.next: list[bytes] = []
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._connections += (client, server)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        swallows = False
        try:
            while data := source.recv(65536):
                if not swallows and self.next and data.startswith(self.next[0]):
                    swallows = bool(self.next.pop(0))
                if not swallows:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has closed the connection
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for each in (self._listener, *self._connections):
            each.close()


@contextmanager
def swallowing(port: int) -> Iterator[SwallowingProxy]:
    """Run a proxy before the server at this port."""
    proxy = SwallowingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
