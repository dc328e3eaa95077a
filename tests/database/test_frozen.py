"""A service that is frozen (SIGSTOP) amid its writes does not stop another service."""

import os
import random
import signal
import time
from datetime import UTC, datetime

from authz.audit.integrity.verification import verification
from authz.database import close_all, connect
from authz.record import seal
from tests.support.services import OK, Caller, check_nothing_lost, clinic, service, working

FREEZES = int(os.environ.get("CAREGRANT_FREEZES", "5"))
SECONDS = 1.5


def test_a_frozen_service_does_not_stop_another(postgresql_url: str) -> None:
    """While a service is frozen, the other answers each request within a second, and the record is whole."""
    key, chance = clinic(postgresql_url), random.Random(13)
    with service(postgresql_url) as (first_service, _), service(postgresql_url) as (second_service, group):
        frozen = [Caller(second_service, key, f"there{number}") for number in range(4)]
        other = Caller(first_service, key, "here")
        with working(*frozen):
            for turn in range(FREEZES):
                time.sleep(0.1 + 0.3 * chance.random())
                os.killpg(group, signal.SIGSTOP)
                until = time.monotonic() + SECONDS * (1 + turn % 3)
                while time.monotonic() < until:
                    assert other.ask() in OK
                    assert other.change() in OK
                os.killpg(group, signal.SIGCONT)
        assert other.answers.slowest() < 1.0
        assert other.answers.count(*OK) > 20 * FREEZES
    database = connect(postgresql_url)
    check_nothing_lost(database, other, *frozen)
    seal(database, datetime.now(UTC))
    verified = verification(database)
    assert (verified.ok, verified.problem, verified.report.unsealed) == (True, None, 0)
    close_all(database)
