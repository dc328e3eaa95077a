"""Under each kind of PostgreSQL fault the service refuses quickly, loses and wrongly permits nothing, and recovers."""

import os
from collections.abc import Callable

import pytest

from tests.support import faults, pgbouncer


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_a_quick_refusal(postgresql_server_url: str, fault: Callable[[float], faults.Outcome]) -> None:
    """A request is carried out or refused with 503; every answer is recorded; the service recovers within seconds."""
    if (fault is faults.disk_full and os.geteuid() != 0) or (
        fault is faults.pooler_gone and pgbouncer.binary() is None
    ):
        if os.environ.get("CI") == "true":
            pytest.fail("this fault needs root or PgBouncer, and CI leaves no test out")
        pytest.skip("this fault needs root, to mount a small disk, or PgBouncer")
    outcome = fault(1.0)
    faults.require_right(outcome)
    assert outcome.done + outcome.refused > 0


def test_a_locked_table_stops_only_what_needs_it(postgresql_server_url: str) -> None:
    """While a table is locked, requests that do not need the table go on, and the others are refused quickly."""
    tables = ("checkpoint", "decision", "event", "grant", "pending_event", "review")
    outcomes = dict(zip(tables, faults.locked(0.9, tables), strict=True))
    for outcome in outcomes.values():
        faults.require_right(outcome)
        assert outcome.slowest < 4.0, outcome
    for table in ("checkpoint", "event", "pending_event", "review"):  # decisions go on
        assert outcomes[table].done > 0, table
    assert outcomes["review"].refused == 0
