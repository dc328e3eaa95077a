"""An empty Flask view behind the service's server and gateway: `python -m benchmarks.empty_view PORT WORKERS`."""

import sys
from functools import partial

import flask

from api.gateway import Gateway
from api.gateway.proxies import Proxies
from api.server import make_server
from authz.database import connect
from authz.record import DecisionLog
from authz.settings import Settings


def _load_worker(settings: Settings) -> Gateway:
    app = flask.Flask("empty")

    @app.post("/")
    @app.post("/access/v1/evaluation")
    def answer() -> flask.Response:
        return flask.Response(b'{"decision":true}', content_type="application/json")

    log = DecisionLog(connect("sqlite:///unused.db"), "off")
    return Gateway(app, Proxies(""), log, largest=settings.max_body, seconds=settings.receive_seconds)


def main() -> None:
    """Serve until SIGTERM."""
    port, workers = map(int, sys.argv[1:])
    settings = Settings()
    server = make_server("127.0.0.1", port, workers, receive_seconds=settings.receive_seconds)
    server.serve(target_loader=partial(_load_worker, settings), wrap_loader=False)


if __name__ == "__main__":
    main()
