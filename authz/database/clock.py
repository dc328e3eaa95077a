"""Compare the clock of this process with the clock of the database server, before anything is written.

The processes that use an SQLite file run on one machine with one clock: there is nothing to compare.
"""

from time import time_ns
from typing import Any

from authz.database.pending import Pending
from authz.domain import format_micros
from authz.errors import Unavailable

TOLERANCE_SECONDS = 5
"""The largest permitted difference of the two clocks: more than a wait on a network, less than a person notices."""
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def check_clock(database: Any) -> Pending[None]:
    """Ask PostgreSQL for its time; the result raises `Unavailable` if the clock of this process differs too much.

    Inside a pipeline the query costs no extra wait. Read the result before the transaction ends.
    """
    if database.dialect != "postgresql":
        return Pending(lambda: None)
    before, cursor = time_ns() // 1000, database.execute_sql(_NOW)

    def require_same_clock() -> None:
        ((server,),) = cursor.fetchall()
        after, tolerance = time_ns() // 1000, TOLERANCE_SECONDS * 1_000_000
        if not before - tolerance <= server <= after + tolerance:
            raise Unavailable(
                f"the clock of this machine says {format_micros(after)}, the clock of the database "
                f"{format_micros(server)}: they differ by more than {TOLERANCE_SECONDS} s, and nothing is written"
            )

    return Pending(require_same_clock)
