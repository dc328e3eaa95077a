"""How long a session of PostgreSQL may take. The server keeps the first three limits, this process the last."""

from dataclasses import dataclass

from authz.settings import Settings


@dataclass(frozen=True)
class Limits:
    """Milliseconds for a statement, for the wait for a lock, and for a transaction whose client does nothing; and for
    which time a request may hold a connection, None for any (docs/operations.md).

    The defaults are for commands and notebooks: long, and never without an end.
    """

    statement: int = 3_600_000
    lock: int = 10_000
    idle: int = 60_000
    held: int | None = None

    @classmethod
    def of_service(cls, settings: Settings) -> "Limits":
        """The limits of a service that has these settings."""
        return cls(
            settings.statement_timeout, settings.lock_timeout, settings.idle_timeout, settings.connection_timeout
        )


LONG = Limits()
