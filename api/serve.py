"""The production server: granian's worker processes, each with its own application."""

from functools import partial

from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from api.app import create_app
from authz.pdp import open_pdp
from authz.settings import Settings

_THREADS = 4


def serve(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    Raises `PolicyRefused` or `Unavailable` before anything listens.
    """
    open_pdp(settings.database, settings.policies).close()
    server = Granian(
        "caregrant",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=_THREADS,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    )
    server.serve(target_loader=partial(_loaded, settings), wrap_loader=False)


def _loaded(settings: Settings) -> Flask:
    return create_app(settings)
