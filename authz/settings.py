"""The one reader of the environment: every setting with its type, its default and a sentence.

`SETTINGS` is what `docs/settings.md` must list; a test compares the two.
"""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from authz.errors import InvalidInput

_LARGEST = 2**31 - 1  # what every setting's unit and PostgreSQL's own settings can hold
_HERE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """The directory `name` that comes with this software: inside the wheel, or beside it in a checkout."""
    packaged = _HERE / "data" / name
    return packaged if packaged.is_dir() else _HERE.parent / name


def _setting(default: object, variable: str, sentence: str) -> object:
    return field(default=default, metadata={"variable": variable, "sentence": sentence})


@dataclass(frozen=True)
class Settings:
    """A frozen configuration; `Settings.from_environment` reads one, nothing else does."""

    database: str = _setting(  # type: ignore[assignment]
        "sqlite:///caregrant.db",
        "CAREGRANT_DATABASE",
        "Where the facts are: sqlite:///path or postgresql://user@host/name.",
    )
    policies: str = _setting(  # type: ignore[assignment]
        str(shipped_folder("policies")),
        "CAREGRANT_POLICIES",
        "The directory of the .polar files and types.toml; the shipped policies by default.",
    )
    policy_version: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_POLICY_VERSION",
        "The version of the policies (caregrant policy check --json) that alone is served; none: whatever is there.",
    )
    max_body: int = _setting(  # type: ignore[assignment]
        1_048_576, "CAREGRANT_MAX_BODY", "The largest request body that is read, in bytes."
    )
    receive_seconds: int = _setting(  # type: ignore[assignment]
        10, "CAREGRANT_RECEIVE_SECONDS", "How many seconds a request's head, and then its body, may take to come."
    )
    trusted_proxies: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_TRUSTED_PROXIES",
        "The addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed, with spaces between.",
    )
    rate: int = _setting(  # type: ignore[assignment]
        600_000,
        "CAREGRANT_RATE",
        "How many requests a caller may send in a minute, where its key has no rate of its own; 0: any number.",
    )
    public_url: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_PUBLIC_URL",
        "The https URL at which callers and browsers reach the service; on a loopback address its own.",
    )
    metadata_key: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_METADATA_KEY",
        "The file of the key (a private JWK, P-256) that signs the AuthZEN metadata, made if missing; none: unsigned.",
    )
    jwks: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_JWKS",
        "The identity provider's keys (JWKS): an https URL or a file; without it no practitioner's token counts.",
    )
    issuer: str = _setting(  # type: ignore[assignment]
        "", "CAREGRANT_ISSUER", "The issuer (iss) whose tokens count; needed with CAREGRANT_JWKS."
    )
    audience: str = _setting(  # type: ignore[assignment]
        "caregrant", "CAREGRANT_AUDIENCE", "The audience (aud) that a token must name."
    )
    algorithms: str = _setting(  # type: ignore[assignment]
        "RS256 ES256", "CAREGRANT_ALGORITHMS", "The signature algorithms that count, with spaces between."
    )
    development_key: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_DEVELOPMENT_KEY",
        "The file of the key that caregrant token signs with, made if missing; refused with CAREGRANT_JWKS.",
    )
    oidc_client: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_OIDC_CLIENT",
        "The client id of the pages at the identity provider CAREGRANT_ISSUER; without it nobody signs in there.",
    )
    oidc_secret: str = _setting(  # type: ignore[assignment]
        "", "CAREGRANT_OIDC_SECRET", "The client's secret at the identity provider, or a file that holds it."
    )
    session_key: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_SESSION_KEY",
        "The secret that signs the pages' cookies, 32 characters or more, or a file that holds it.",
    )
    demo_sign_in: bool = _setting(  # type: ignore[assignment]
        False,
        "CAREGRANT_DEMO_SIGN_IN",
        "true: whoever comes may be any of the demonstration clinic's people; caregrant demo --serve sets it.",
    )
    reader: str = _setting(  # type: ignore[assignment]
        "", "CAREGRANT_READER", "Who is recorded as reading the audit; the account of the operating system by default."
    )
    letters: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_LETTERS",
        "The folder of a clinic's own letters to patients; what is not in it is the shipped one.",
    )

    log_format: str = _setting(  # type: ignore[assignment]
        "text", "CAREGRANT_LOG_FORMAT", "How a service writes its log: text or json, one line an entry."
    )
    decision_log: str = _setting(  # type: ignore[assignment]
        "durable",
        "CAREGRANT_DECISION_LOG",
        "When an answer is recorded: durable, before it is given; buffered, within a second after; off, never.",
    )
    fsync: bool = _setting(  # type: ignore[assignment]
        False,
        "CAREGRANT_FSYNC",
        "true: a recorded answer survives a loss of power, as changes always do, not only the death of the process.",
    )
    retention: int = _setting(  # type: ignore[assignment]
        6, "CAREGRANT_RETENTION", "For how many years answers are kept; only then may a month of them be dropped."
    )
    checkpoint_key: str = _setting(  # type: ignore[assignment]
        "",
        "CAREGRANT_CHECKPOINT_KEY",
        "The file of the key that signs checkpoints, out of reach of who can write to the database; who only verifies "
        "has the verifier key in it.",
    )
    statement_timeout: int = _setting(  # type: ignore[assignment]
        5_000,
        "CAREGRANT_STATEMENT_TIMEOUT",
        "How long a statement of the service may take on PostgreSQL, in milliseconds.",
    )
    lock_timeout: int = _setting(  # type: ignore[assignment]
        750,
        "CAREGRANT_LOCK_TIMEOUT",
        "How long a statement of the service waits for a lock on PostgreSQL, in milliseconds.",
    )
    idle_timeout: int = _setting(  # type: ignore[assignment]
        2_000,
        "CAREGRANT_IDLE_TIMEOUT",
        "After how many milliseconds PostgreSQL ends a transaction of the service that does nothing.",
    )
    connection_timeout: int = _setting(  # type: ignore[assignment]
        10_000,
        "CAREGRANT_CONNECTION_TIMEOUT",
        "After how many milliseconds a request loses its connection to PostgreSQL: its server does not answer.",
    )

    def __post_init__(self) -> None:
        for name in ("statement_timeout", "lock_timeout", "idle_timeout", "connection_timeout"):
            if getattr(self, name) < 1:  # 0 is no limit for PostgreSQL
                raise InvalidInput(f"CAREGRANT_{name.upper()} is a number of milliseconds above 0")
        for one in fields(self):
            if type(one.default) is int and not 0 <= getattr(self, one.name) <= _LARGEST:
                raise InvalidInput(f"{one.metadata['variable']} is a whole number from 0 to {_LARGEST}")

    @classmethod
    def from_environment(cls, **given: object) -> "Settings":
        """The settings given by name (those that are not None), else the environment, else the default.

        Raises `InvalidInput` for a value of the wrong type.
        """
        values: dict[str, object] = {}
        for one in fields(cls):
            value = given.get(one.name)
            if value is None:
                value = os.environ.get(one.metadata["variable"]) or None
            if value is not None:
                values[one.name] = _converted(value, one.default, one.metadata["variable"])
        return cls(**values)  # type: ignore[arg-type]

    def export_to_environment(self, **instead: str) -> None:
        """Put these settings, but for those named, into the environment of the processes that this one starts."""
        for one in fields(self):
            value = instead.get(one.name, getattr(self, one.name))
            if value != one.default:
                os.environ[one.metadata["variable"]] = str(value)


def _converted(value: object, default: object, variable: str) -> object:
    if isinstance(default, bool):
        if str(value).lower() not in ("true", "false"):
            raise InvalidInput(f"{variable} is true or false, not {value!r}")
        return str(value).lower() == "true"
    if not isinstance(default, int):
        return str(value)
    try:
        return int(str(value))
    except ValueError as error:
        raise InvalidInput(f"{variable} is a whole number, not {str(value)[:80]!r}") from error


SETTINGS = {one.metadata["variable"]: (one.default, one.metadata["sentence"]) for one in fields(Settings)}
