"""The settings: each with its type, default and a sentence; no other module reads the environment.

`docs/reference/settings.md` must list `SETTINGS`; a test compares the two.
"""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from authz.errors import InvalidInput

T = TypeVar("T", str, int, bool)

_LARGEST = 2**31 - 1  # what every setting's unit and PostgreSQL's own settings can hold
_HERE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Return the folder `name` that ships with this software: inside the wheel, or next to `authz` in a checkout."""
    packaged = _HERE / "data" / name
    return packaged if packaged.is_dir() else _HERE.parent / name


def _setting(default: T, variable: str, sentence: str) -> T:
    """Return a dataclass field with a default, its environment variable, and a sentence that describes it."""
    setting: T = field(default=default, metadata={"variable": variable, "sentence": sentence})
    return setting


@dataclass(frozen=True)
class Settings:
    """A frozen configuration; only `Settings.from_environment` reads the environment."""

    database: str = _setting(
        "sqlite:///caregrant.db",
        "CAREGRANT_DATABASE",
        "The database with the facts: sqlite:///path or postgresql://user@host/name.",
    )
    policies: str = _setting(
        str(shipped_folder("policies")),
        "CAREGRANT_POLICIES",
        "The folder of the .polar files and types.toml, until a policy is activated; by default the shipped policies.",
    )
    policy_version: str = _setting(
        "",
        "CAREGRANT_POLICY_VERSION",
        "The only policy version that is served (see caregrant policy check --json); none: any version.",
    )
    max_body: int = _setting(1_048_576, "CAREGRANT_MAX_BODY", "The largest request body that is read, in bytes.")
    receive_seconds: int = _setting(
        10,
        "CAREGRANT_RECEIVE_SECONDS",
        "How many seconds the head of a request, and then its body, may take to arrive.",
    )
    trusted_proxies: str = _setting(
        "",
        "CAREGRANT_TRUSTED_PROXIES",
        "The addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are trusted, separated by spaces.",
    )
    rate: int = _setting(
        600_000,
        "CAREGRANT_RATE",
        "How many requests a caller may send in a minute, if its key has no rate of its own; 0: no limit.",
    )
    public_url: str = _setting(
        "",
        "CAREGRANT_PUBLIC_URL",
        "The https URL at which callers and browsers reach the service; a service on a loopback address needs none.",
    )
    metadata_key: str = _setting(
        "",
        "CAREGRANT_METADATA_KEY",
        "The file of the key (a private JWK, P-256) that signs the AuthZEN metadata, created if missing; none: no "
        "signature.",
    )
    jwks: str = _setting(
        "",
        "CAREGRANT_JWKS",
        "The identity provider's keys (JWKS), an https URL or a file; without it no practitioner's token is accepted.",
    )
    issuer: str = _setting(
        "", "CAREGRANT_ISSUER", "The issuer (iss) whose tokens are accepted; required with CAREGRANT_JWKS."
    )
    audience: str = _setting("caregrant", "CAREGRANT_AUDIENCE", "The audience (aud) that a token must contain.")
    algorithms: str = _setting(
        "RS256 ES256", "CAREGRANT_ALGORITHMS", "The accepted signature algorithms, separated by spaces."
    )
    development_key: str = _setting(
        "",
        "CAREGRANT_DEVELOPMENT_KEY",
        "The file of the key with which caregrant token signs, created if missing; refused together with "
        "CAREGRANT_JWKS.",
    )
    oidc_client: str = _setting(
        "",
        "CAREGRANT_OIDC_CLIENT",
        "The client id of the pages at the identity provider CAREGRANT_ISSUER; without it nobody can sign in.",
    )
    oidc_secret: str = _setting(
        "", "CAREGRANT_OIDC_SECRET", "The client secret at the identity provider, or a file that contains it."
    )
    session_key: str = _setting(
        "",
        "CAREGRANT_SESSION_KEY",
        "The secret that signs the cookies of the pages, 32 characters or more, or a file that contains it.",
    )
    demo_sign_in: bool = _setting(
        False,
        "CAREGRANT_DEMO_SIGN_IN",
        "true: anybody can sign in as any person of the demonstration clinic; caregrant demo --serve sets it.",
    )
    smtp_url: str = _setting(
        "",
        "CAREGRANT_SMTP_URL",
        "The mail server of the daily e-mails, smtps://user:password@host or smtp://… with STARTTLS, or a file that "
        "contains it; none: no e-mails.",
    )
    mail_from: str = _setting(
        "", "CAREGRANT_MAIL_FROM", "The address from which e-mails are sent; required with CAREGRANT_SMTP_URL."
    )
    reader: str = _setting(
        "",
        "CAREGRANT_READER",
        "The name that is recorded as the reader of the audit; by default the account of the operating system.",
    )
    letters: str = _setting(
        "",
        "CAREGRANT_LETTERS",
        "The folder of a clinic's own letters to patients; the shipped letter is used for each that is missing.",
    )

    log_format: str = _setting(
        "text", "CAREGRANT_LOG_FORMAT", "The format of a service's log: text or json, one line for each entry."
    )
    emergency_minutes: int = _setting(
        180,
        "CAREGRANT_EMERGENCY_MINUTES",
        "After how many minutes an emergency access ends by itself, from 5 to 1440, if the policy permits one.",
    )
    decision_log: str = _setting(
        "durable",
        "CAREGRANT_DECISION_LOG",
        "When an answer is recorded: durable, before it is sent; buffered, within a second after; off, never.",
    )
    fsync: bool = _setting(
        False,
        "CAREGRANT_FSYNC",
        "true: a recorded answer survives a loss of power, as changes always do; false: only the death of the process.",
    )
    retention: int = _setting(
        6,
        "CAREGRANT_RETENTION",
        "For how many years decisions are kept; after that time a month of them can be dropped.",
    )
    checkpoint_key: str = _setting(
        "",
        "CAREGRANT_CHECKPOINT_KEY",
        "The file of the key that signs checkpoints, which accounts with write access to the database must not "
        "read; to verify, a file with the verifier key.",
    )
    statement_timeout: int = _setting(
        5_000,
        "CAREGRANT_STATEMENT_TIMEOUT",
        "The time limit of a statement of the service on PostgreSQL, in milliseconds.",
    )
    lock_timeout: int = _setting(
        750,
        "CAREGRANT_LOCK_TIMEOUT",
        "How long a statement of the service waits for a lock on PostgreSQL, in milliseconds.",
    )
    idle_timeout: int = _setting(
        2_000,
        "CAREGRANT_IDLE_TIMEOUT",
        "After how many milliseconds PostgreSQL ends an idle transaction of the service.",
    )
    connection_timeout: int = _setting(
        10_000,
        "CAREGRANT_CONNECTION_TIMEOUT",
        "After how many milliseconds a request loses its connection to PostgreSQL because the server does not answer.",
    )

    def __post_init__(self) -> None:
        for name in ("statement_timeout", "lock_timeout", "idle_timeout", "connection_timeout"):
            if getattr(self, name) < 1:  # 0 is no limit for PostgreSQL
                raise InvalidInput(f"CAREGRANT_{name.upper()} is a number of milliseconds above 0")
        if not 5 <= self.emergency_minutes <= 1440:
            raise InvalidInput("CAREGRANT_EMERGENCY_MINUTES is a number of minutes from 5 to 1440")
        for setting in fields(self):
            if type(setting.default) is int and not 0 <= getattr(self, setting.name) <= _LARGEST:
                raise InvalidInput(f"{setting.metadata['variable']} is a whole number from 0 to {_LARGEST}")

    @classmethod
    def from_environment(cls, **overrides: object) -> "Settings":
        """Return the settings: each from `overrides` if it is not None, else from the environment, else its default.

        Raises `InvalidInput` for a value of the wrong type.
        """
        values: dict[str, Any] = {}
        for setting in fields(cls):
            value = overrides.get(setting.name)
            if value is None:
                value = os.environ.get(setting.metadata["variable"]) or None
            if value is not None:
                values[setting.name] = _converted(value, setting.default, setting.metadata["variable"])
        return cls(**values)

    def export_to_environment(self, **overrides: str) -> None:
        """Set the environment variables of these settings, with overrides, for processes that this one starts."""
        for setting in fields(self):
            value = overrides.get(setting.name, getattr(self, setting.name))
            if value != setting.default:
                os.environ[setting.metadata["variable"]] = str(value)


def _converted(value: object, default: object, variable: str) -> object:
    """Convert a value to the type of the default. Raises `InvalidInput`."""
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


SETTINGS = {
    setting.metadata["variable"]: (setting.default, setting.metadata["sentence"]) for setting in fields(Settings)
}
"""The default and the sentence of each setting, by its environment variable."""
