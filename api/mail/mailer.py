"""The mailer: a process beside the service that makes and sends e-mails, if the settings name a mail server.

It is a process of its own because a mail server may let it wait for a minute, for which the sealer has no time.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from api import processes
from api.mail.outbox import send_mails
from api.mail.server import read_mail_server
from api.ops import logs
from api.request_context import now
from authz.database import Limits
from authz.errors import CaregrantError
from authz.policy.served import open_served_policy
from authz.queries.digest import queue_digests
from authz.record import Actor
from authz.settings import Settings

_SECONDS = 10.0
_INTERVAL = 0.2
_log = logging.getLogger("caregrant")


def start(settings: Settings, version: str) -> Callable[[], None]:
    """Keep a mailer running if the settings name a mail server; return the function that stops it.

    `version` is the policy version with which the service started. Raises `InvalidInput` for settings with which no
    e-mail could be sent.
    """
    if read_mail_server(settings) is None:
        return lambda: None

    def make() -> BaseProcess:
        return processes.spawn("mailing", _run, (settings, version, os.getpid()))

    first = make()
    first.start()
    return processes.keep_running(first, make, _SECONDS)


def _run(settings: Settings, version: str, parent: int) -> None:
    """Make and send e-mails every `_SECONDS` until the parent process, the service, has ended, or the start fails."""
    logs.configure(settings.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to every process; the service stops the mailer
    next_time = time.monotonic()
    try:
        server = read_mail_server(settings)
        served = open_served_policy(
            settings.database,
            settings.policies,
            only=settings.policy_version,
            folder_version=version,
            limits=Limits.of_service(settings),
        )
    except CaregrantError as error:
        _log.warning("e-mails are delayed: %s", error)
        return
    assert server is not None
    with served.pdp:
        while os.getppid() == parent:
            if time.monotonic() >= next_time:
                next_time = time.monotonic() + _SECONDS
                served.follow()
                try:
                    queue_digests(served.pdp, Actor("", now()))
                    send_mails(served.pdp, server, now())
                except CaregrantError as error:
                    _log.warning("e-mails are delayed: %s", error)
            time.sleep(_INTERVAL)
