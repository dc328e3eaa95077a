"""The production server: granian's worker processes, each with its own application."""

import gc
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.util import Finalize

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from api import sealer
from api.app import create_app
from api.authzen.metadata import LOOPBACK
from api.gateway import Gateway
from api.gateway.proxies import Proxies
from api.limits import LARGEST_HEAD, LONGEST_TARGET
from api.ops import logs
from api.ops.meters import together
from api.request_context import now
from api.web.session import check
from authz.callers.tokens import Tokens
from authz.database import gather_statistics
from authz.errors import InvalidInput, Unavailable
from authz.policy.pdp import open_pdp
from authz.record import Actor, create_partitions, drain_spool, get_decision_log, record_policy_loaded, set_decision_log
from authz.settings import Settings

_MOST_FILES = 65_536


def serve(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    Raises `PolicyRefused`, `Unavailable` or `InvalidInput` before anything listens: a policy, a database or a port that
    is not there, or settings that contradict each other.
    """
    logs.configure(settings.log_format)
    if settings.development_key and host not in LOOPBACK:
        raise InvalidInput("CAREGRANT_DEVELOPMENT_KEY is for a loopback address; set CAREGRANT_JWKS instead")
    if settings.demo_sign_in and host not in LOOPBACK:
        raise InvalidInput("CAREGRANT_DEMO_SIGN_IN is for a loopback address; set CAREGRANT_OIDC_CLIENT instead")
    Tokens(settings)
    Proxies(settings.trusted_proxies)
    if not settings.public_url and host in LOOPBACK:
        settings = replace(settings, public_url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with open_pdp(settings.database, settings.policies, version=settings.policy_version) as pdp:
        check(settings, pdp)
        set_decision_log(pdp.database, settings.decision_log, fsync=settings.fsync)
        record_policy_loaded(pdp.database, Actor("", now()), pdp.policy, settings.policies)
        settings = replace(settings, policy_version=pdp.version)  # a worker that starts later decides by this or not
        create_partitions(pdp.database, now())
        with suppress(Unavailable):
            drain_spool(pdp.database)
        with suppress(Unavailable):
            gather_statistics(pdp.database)
    _check_free(host, port)
    server = Granian(
        "caregrant",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=1000 * settings.receive_seconds, max_buffer_size=2 * (LARGEST_HEAD + LONGEST_TARGET)
        ),
        websockets=False,
        backpressure=_connections() // workers,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    )
    with tempfile.TemporaryDirectory(prefix="caregrant-metrics-") as counted:
        end_sealing = sealer.start(settings.database, sealer.heartbeat(counted), settings.log_format)
        try:
            server.serve(target_loader=partial(_loaded, settings, os.getpid(), counted), wrap_loader=False)
        finally:
            end_sealing()


def _connections() -> int:
    """Allow as many open files as the system lets this process have; return how many may be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_MOST_FILES, hard) if hard != resource.RLIM_INFINITY else _MOST_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted, soft) // 2


def _check_free(host: str, port: int) -> None:
    """Granian tells of a port that is taken by a panic; say it in a line."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise Unavailable(f"cannot listen on {host} port {port}: {error}") from error


def _loaded(settings: Settings, parent: int, counted: str) -> Gateway:
    """A worker's application. The worker ends with its parent: an orphan would go on answering by an old policy."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    logs.configure(settings.log_format)
    together(counted)
    app = create_app(settings, heartbeat=sealer.heartbeat(counted))
    database = app.extensions["caregrant"].database
    log = get_decision_log(database)
    Finalize(None, log.flush, exitpriority=1)  # a process of multiprocessing leaves atexit out
    proxies = Proxies(settings.trusted_proxies)
    gc.freeze()  # what is loaded now stays: the collector need not look at it again and again
    return Gateway(app, proxies, log, largest=settings.max_body, seconds=settings.receive_seconds)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
