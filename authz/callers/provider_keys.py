"""The published keys of the identity provider (a JWK set, RFC 7517): cached, renewed, and chosen for a token.

A key that cannot verify a signature here is ignored, for whatever cause: an unknown type or curve, another use, a
malformed value (RFC 7517, section 5). One fetch at a time runs, in its own thread, at most once in half a minute. Only
the request that began the fetch waits for it, for a limited time.
"""

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from authz.callers import outbound
from authz.errors import InvalidInput, Unavailable

_FRESH = timedelta(minutes=10)
_AGAIN = timedelta(seconds=30)
_STALE = timedelta(hours=1)
_FETCH_SECONDS = 5.0
_WAIT_SECONDS = 3.0
_MOST_KEYS = 100
_LONGEST_REASON = 200
_SMALLEST_MODULUS = 2048 // 6
"""The length of an RSA modulus of 2048 bits in base64url; shorter keys are not safe."""
_CURVES = {
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "ES256K": "secp256k1",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
}
_KINDS = ("RSA", "EC", "OKP")
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_NOT_NEEDED = ("key_ops", "x5c", "x5u", "x5t", "x5t#S256")
"""Members of a key that a verification does not need; the library refuses unknown forms of them."""

_log = logging.getLogger("caregrant")


class NoMatchingKey(Exception):
    """No key of the provider matches the header of a token."""


def usable_keys(content: bytes) -> tuple[Key, ...]:
    """Return the keys of a JWK set that can verify a signature. Raises `ValueError` if there are none."""
    document = json.loads(content)
    values = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(values, list):
        raise ValueError("it is not a JWK set (RFC 7517)")
    keys = [key for value in values[:_MOST_KEYS] if (key := _usable_key(value)) is not None]
    if not keys:
        raise ValueError("it has no key that can verify a signature here")
    return tuple(keys)


def _usable_key(value: object) -> Key | None:
    """Return the public part of a key if it can verify signatures, else None."""
    if not isinstance(value, dict) or value.get("kty") not in _KINDS or value.get("use", "sig") != "sig":
        return None
    operations, algorithm = value.get("key_ops"), value.get("alg", "RS256")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    if algorithm not in (*_RSA, *_CURVES) or not isinstance(value.get("kid", ""), str):
        return None
    if value.get("kty") == "RSA" and len(str(value.get("n"))) < _SMALLEST_MODULUS:
        return None
    try:
        key = JWKRegistry.import_key({name: part for name, part in value.items() if name not in _NOT_NEEDED})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return key


def matching_keys(keys: tuple[Key, ...], header: Mapping[str, Any]) -> tuple[Key, ...]:
    """Return the keys that may verify a token with this header: those of its `kid`, or the only one for its algorithm.

    A header without `kid` may mean any key (RFC 7515, section 4.1.4), but only a single one is tried. Raises
    `NoMatchingKey`.
    """
    matching = [key for key in keys if _matches_algorithm(key, header["alg"])]
    if "kid" in header:
        matching = [key for key in matching if key.get("kid") == header["kid"]]
    elif len(matching) > 1:
        matching = []
    if not matching:
        raise NoMatchingKey
    return tuple(matching)


def _matches_algorithm(key: Key, algorithm: str) -> bool:
    if key.get("alg", algorithm) != algorithm:
        return False
    if algorithm in _CURVES:
        return key.get("crv") == _CURVES[algorithm]
    return algorithm in _RSA and key.key_type == "RSA"


@dataclass
class ProviderKeys:
    """The keys at a URL or in a file: fresh for ten minutes, and renewed earlier for a token of an unknown key.

    While the provider cannot be reached, the last keys are used for an hour, and then none.
    """

    source: str
    _keys: tuple[Key, ...] = ()
    _read_at: datetime | None = None
    _tried_at: datetime | None = None
    _fetching: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self, now: datetime, *, unknown_key: bool = False) -> tuple[Key, ...]:
        """Return the keys; `unknown_key` fetches newer ones. Raises `Unavailable` without recent keys."""
        done = self._begin_fetch(now, unknown_key)
        if done is not None:
            done.wait(_WAIT_SECONDS)
        with self._lock:
            if self._read_at is None or now - self._read_at > _STALE:
                raise Unavailable("the identity provider's keys cannot be read")
            return self._keys

    def _begin_fetch(self, now: datetime, unknown_key: bool) -> threading.Event | None:
        """Begin a fetch if one is due; return the event that it sets at its end."""
        with self._lock:
            old = unknown_key or self._read_at is None or now - self._read_at > _FRESH
            tried_lately = self._tried_at is not None and timedelta(0) <= now - self._tried_at < _AGAIN
            if self._fetching or tried_lately or not old:
                return None
            self._fetching, self._tried_at = True, now
        done = threading.Event()
        threading.Thread(target=self._fetch, args=(now, done), name="provider-keys", daemon=True).start()
        return done

    def _fetch(self, now: datetime, done: threading.Event) -> None:
        keys: tuple[Key, ...] = ()
        try:
            keys = usable_keys(_read_source(self.source))
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("the identity provider's keys cannot be read: %s", _describe_fault(error))
        finally:
            with self._lock:
                self._fetching = False
                if keys:
                    self._keys, self._read_at = keys, now
            done.set()


def require_keys_in(path: str) -> None:
    """Raise `InvalidInput` unless a file holds a JWK set with a key that can verify signatures."""
    try:
        usable_keys(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"CAREGRANT_JWKS: the file {path} cannot be used: {_describe_fault(error)}") from error


def _read_source(source: str) -> bytes:
    if source.startswith(("https://", "http://")):
        return outbound.get(source, _FETCH_SECONDS)
    return Path(source).read_bytes()


def _describe_fault(error: Exception) -> str:
    """Describe a fault, without parts of the answer."""
    if isinstance(error, requests.RequestException):
        return f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "it is not JSON"
    return getattr(error, "strerror", None) or str(error)
