"""The production server: granian's worker processes, each with its own application."""

import ctypes
import gc
import logging
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
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from api import policy_watch, sealer
from api.app import create_app, open_service_policy
from api.authzen.metadata import LOOPBACK
from api.gateway import STOPS, Gateway
from api.gateway.proxies import Proxies
from api.limits import LARGEST_HEAD, LONGEST_TARGET
from api.mail import mailer
from api.mail.server import read_mail_server
from api.ops import logs
from api.ops.meters import share_counts
from api.request_context import now
from api.web.session import require_valid_settings
from authz.callers.tokens import Tokens
from authz.database import connect, gather_statistics
from authz.errors import InvalidInput, Unavailable
from authz.policy.preparation import require_preparable
from authz.policy.served import open_served_policy
from authz.record import Actor, create_partitions, drain_spool, get_decision_log, record_policy_loaded, set_decision_log
from authz.settings import Settings

_MOST_STOP_SECONDS = 30  # a worker that has not ended by then is killed: a stop waits with a limit
_WATCH_SECONDS = 0.5
_MOST_FILES = 65_536
_M_ARENA_MAX = -8  # of glibc's malloc.h
_log = logging.getLogger("caregrant")


def serve(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; finish the requests under way.

    Raises `PolicyRefused`, `Unavailable` or `InvalidInput` before the service listens, if the policy, the database, the
    port or the settings cannot serve.
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
    read_mail_server(settings)
    served = open_served_policy(settings.database, settings.policies, only=settings.policy_version)
    with served.pdp as pdp:
        require_valid_settings(settings, pdp)
        require_preparable(pdp.policy, pdp.database)
        set_decision_log(pdp.database, settings.decision_log, fsync=settings.fsync)
        record_policy_loaded(pdp.database, Actor("", now()), pdp.policy, settings.policies)
        version = pdp.version  # a worker that starts later reads no other version from the folder
        create_partitions(pdp.database, now())
        with suppress(Unavailable):
            drain_spool(pdp.database)
        with suppress(Unavailable):
            gather_statistics(pdp.database)
    _check_free(host, port)
    _limit_arenas()
    server = make_server(host, port, workers, receive_seconds=settings.receive_seconds)
    server.on_startup(partial(_log_address, host, port, workers, version))
    gc.freeze()  # the processes that are forked share the pages of what is loaded, as long as the collector leaves them
    with tempfile.TemporaryDirectory(prefix="caregrant-metrics-") as folder:
        beat = sealer.heartbeat(folder)
        stop_sealing = sealer.start(settings.database, beat, settings.log_format, fsync=settings.fsync)
        stop_mailing = mailer.start(settings, version)
        os.register_at_fork(  # docs/decisions/0087
            before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, STOPS),
            after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOPS),
        )
        threading.Thread(target=_end_stuck_workers, args=(server,), name="stop", daemon=True).start()
        try:
            server.serve(target_loader=partial(_load_worker, settings, version, os.getpid(), folder), wrap_loader=False)
        finally:
            stop_mailing()
            stop_sealing()
            with suppress(Unavailable):
                drain_spool(connect(settings.database))


def _log_address(host: str, port: int, workers: int, version: str) -> None:
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    _log.info("listening on %s, workers: %s, policy: %s", address, workers, version[:12])


def make_server(host: str, port: int, workers: int, *, receive_seconds: int) -> AbstractServer[Any]:
    """Return the server process, which starts the workers; `receive_seconds` is the deadline of a request's head."""
    return Granian(
        "caregrant",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=1000 * receive_seconds, max_buffer_size=2 * (LARGEST_HEAD + LONGEST_TARGET)
        ),
        websockets=False,
        backpressure=_connections() // workers,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    )


def _end_stuck_workers(server: AbstractServer[Any]) -> None:
    """Kill each worker that has not ended `_MOST_STOP_SECONDS` after granian asked it to, whatever the reason was.

    granian's own limit takes a worker that has just ended for one that has not (docs/decisions/0087).
    """
    ending: dict[Any, float] = {}
    workers: set[Any] = set()
    while True:
        workers |= set(server.wrks)
        for worker in [worker for worker in workers if worker.interrupt_by_parent]:
            since = ending.setdefault(worker, time.monotonic())
            if not worker.is_alive():
                workers.discard(worker)
            elif time.monotonic() - since >= _MOST_STOP_SECONDS:
                number = worker.idx + 1
                _log.warning("worker %s did not end within %s seconds, and is killed", number, _MOST_STOP_SECONDS)
                worker.kill()
                workers.discard(worker)
        time.sleep(_WATCH_SECONDS)


def _limit_arenas() -> None:
    """Let glibc's malloc keep two arenas: else each thread keeps the memory of its largest request.

    Threads that take turns at the interpreter's lock do not wait for an arena. Other C libraries have no such setting.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _connections() -> int:
    """Raise the limit of open files as far as the system permits; return how many of them may be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_MOST_FILES, hard) if hard != resource.RLIM_INFINITY else _MOST_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted, soft) // 2


def _check_free(host: str, port: int) -> None:
    """Raise `Unavailable` if the port is taken; granian would panic."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise Unavailable(f"cannot listen on {host} port {port}: {error}") from error


def _load_worker(settings: Settings, version: str, parent: int, folder: str) -> Gateway:
    """Return the application of a worker process; `folder` holds the shared counts and the sealer's heartbeat.

    `version` is the policy version with which the service started. The worker ends with its parent process: an orphan
    would continue to answer by an old policy.
    """
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    logs.configure(settings.log_format)
    share_counts(folder)
    served = open_service_policy(settings, version)
    app = create_app(settings, heartbeat=sealer.heartbeat(folder), served=served)
    policy_watch.start(served)
    database = app.extensions["caregrant"].database
    log = get_decision_log(database)
    Finalize(None, log.flush, exitpriority=1)  # multiprocessing does not run atexit in its processes
    proxies = Proxies(settings.trusted_proxies)
    gc.freeze()  # the objects of the loaded application stay; the collector need not examine them again
    return Gateway(app, proxies, log, largest=settings.max_body, seconds=settings.receive_seconds)


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
