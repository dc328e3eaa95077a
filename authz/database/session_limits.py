"""Time limits of a session of PostgreSQL. The server enforces the first three, this process the last."""

from dataclasses import dataclass

from authz.settings import Settings


@dataclass(frozen=True)
class Limits:
    """The limits in milliseconds.

    `statement`: for one statement; `lock`: for the wait for a lock; `idle`: for a transaction whose client does
    nothing; `connection`: for a request that keeps a connection, None for no limit (docs/reference/postgresql.md). The
    defaults are for commands and notebooks: long, but never without an end.
    """

    statement: int = 3_600_000
    lock: int = 10_000
    idle: int = 60_000
    connection: int | None = None

    @classmethod
    def of_service(cls, settings: Settings) -> "Limits":
        """Return the limits of a service with these settings."""
        return cls(
            settings.statement_timeout, settings.lock_timeout, settings.idle_timeout, settings.connection_timeout
        )


LONG = Limits()
