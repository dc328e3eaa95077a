"""The clock of this process against the clock of the database's server, before anything is written.

The processes of an SQLite file share one machine and one clock: there is nothing to compare.
"""

from collections.abc import Callable
from time import time_ns
from typing import Any

from authz.domain import format_micros
from authz.errors import Unavailable

TOLERANCE_SECONDS = 5
"""How far the two clocks may differ: more than any wait on a network, less than anybody notices on a share."""
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def check_clock(database: Any) -> Callable[[], None]:
    """Ask PostgreSQL for its clock; what is returned raises `Unavailable` if this process's clock is another.

    Inside a pipeline the question is on its way, so that it costs no wait of its own. It is read before the transaction
    ends.
    """
    if database.dialect != "postgresql":
        return lambda: None
    before, asked = time_ns() // 1000, database.execute_sql(_NOW)

    def require_same_clock() -> None:
        ((server,),) = asked.fetchall()
        after, tolerance = time_ns() // 1000, TOLERANCE_SECONDS * 1_000_000
        if not before - tolerance <= server <= after + tolerance:
            raise Unavailable(
                f"this machine's clock says {format_micros(after)}, the database's {format_micros(server)}: "
                f"they differ by more than {TOLERANCE_SECONDS} s, and nothing is written"
            )

    return require_same_clock
